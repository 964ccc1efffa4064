import type { Delivered } from './activation.ts'
import type { Content } from './archive.ts'
import type { BundleError } from './failure.ts'
import { lookAt, readFiles } from './files.ts'
import type { BundleSource } from './settings.ts'
import type { BundleNews } from './status.ts'

export type WatchPorts = {
  news: BundleNews
  bring: (content: Content) => Promise<Delivered>
  failed: (error: BundleError) => void
  /** the files are there, as they were read */
  seen: () => void
  /** until the next look; false: there is none */
  pause: () => Promise<boolean>
}

/**
 * Reads a bundle from its files, and again when they are others.
 * @returns what became of it at first, and the looks that go on
 */
export async function watchFiles(
  name: string,
  source: Extract<BundleSource, { kind: 'file' }>,
  { news, bring, failed, seen, pause }: WatchPorts,
): Promise<{ first: Delivered; looks: Promise<void> }> {
  const read = async (): Promise<Delivered> => {
    news.requested(name)
    let content: Content
    try {
      content = await readFiles(name, source.path, source.limits)
    } catch (error) {
      failed(error as BundleError)
      return { kind: 'failed', error: error as BundleError }
    }
    news.confirmed(name)
    news.downloaded(name, sizeOf(content))
    return bring(content)
  }
  /** A file that still changes is left until two looks are alike: half of it is no bundle. */
  const look = async (found: string): Promise<void> => {
    let [known, before] = [found, found]
    while (await pause()) {
      const now = await lookAt(source.path)
      if (now === before && now !== known) {
        known = now
        await read()
      } else if (now === known && !now.startsWith('unreadable')) seen()
      before = now
    }
  }
  // Before it is read: what changes meanwhile is another.
  const found = await lookAt(source.path)
  return { first: await read(), looks: look(found) }
}

const sizeOf = (content: Content): number =>
  'bytes' in content
    ? content.bytes.length
    : [...content.files.values()].reduce((sum, bytes) => sum + bytes.length, 0)
