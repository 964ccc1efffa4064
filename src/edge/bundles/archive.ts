import { createGunzip } from 'node:zlib'
import { extract } from 'tar-stream'
import { BundleError } from './failure.ts'

/** What a bundle is made of: a gzipped tar as it came, or the files of a folder. */
export type Content = { bytes: Uint8Array } | { files: Files }
/** by name, without a leading slash */
export type Files = Map<string, Uint8Array>

export type ArchiveLimits = {
  /** of all files together, uncompressed */
  bytes: number
  files: number
}
export const ARCHIVE_LIMITS: ArchiveLimits = { bytes: 64 << 20, files: 10_000 }

/** Beyond `RATIO_FROM` bytes nothing that people write is compressed this well. */
const RATIO = 200
const RATIO_FROM = 16 << 20

/**
 * Files of a gzipped tar, in memory. Anything but plain files and folders with plain names is refused.
 * @throws BundleError
 */
export async function unpack(
  name: string,
  content: Content,
  limits: ArchiveLimits = ARCHIVE_LIMITS,
): Promise<Files> {
  if ('files' in content) {
    let size = 0
    for (const bytes of content.files.values()) size += bytes.length
    if (size > limits.bytes) throw tooLarge(name, limits)
    return content.files
  }
  const files: Files = new Map()
  const tar = extract()
  const gunzip = createGunzip()
  let size = 0
  let broken: Error | undefined
  gunzip.on('data', (chunk: Buffer) => {
    size += chunk.length
    if (size > limits.bytes) gunzip.destroy(tooLarge(name, limits))
    else if (size > RATIO_FROM && size > content.bytes.length * RATIO)
      gunzip.destroy(
        new BundleError('too_large', `bundle ${name}: it unpacks to more than ${RATIO} times its size`),
      )
    else if (!tar.write(chunk)) {
      gunzip.pause()
      tar.once('drain', () => gunzip.resume())
    }
  })
  gunzip.on('end', () => tar.end(undefined))
  gunzip.on('error', (error) => {
    broken = error
    tar.destroy(error)
  })
  gunzip.end(content.bytes)
  const no = (text: string) => new BundleError('malformed', `bundle ${name}: ${text}`)
  try {
    for await (const entry of tar) {
      const { type } = entry.header
      const path = entry.header.name.replace(/^\.?\//, '')
      const parts: Buffer[] = []
      for await (const chunk of entry) parts.push(chunk as Buffer)
      if (type === 'directory') continue
      if (type !== 'file') throw no(`${JSON.stringify(path)} is a ${type}, not a file`)
      if (!isPlain(path) || files.has(path)) throw no(`the name ${JSON.stringify(path)} is refused`)
      if (files.size >= limits.files)
        throw new BundleError('too_large', `bundle ${name}: more than ${limits.files} files`)
      files.set(path, Buffer.concat(parts))
    }
  } catch (error) {
    gunzip.destroy()
    if (broken instanceof BundleError) throw broken
    if (error instanceof BundleError) throw error
    throw no(`not a gzipped tar, or not a whole one (${(broken ?? (error as Error)).message})`)
  }
  return files
}

export const isPlain = (path: string): boolean =>
  !path.split('/').some((part) => ['', '.', '..', '__proto__'].includes(part))

export const tooLarge = (name: string, limits: ArchiveLimits) =>
  new BundleError('too_large', `bundle ${name}: more than ${limits.bytes} bytes unpacked (size_limit_bytes)`)
