import type { Change } from './activation.ts'
import type { Content } from './archive.ts'
import { BundleError } from './failure.ts'
import { createStore } from './persist.ts'
import type { BundleSettings } from './settings.ts'

/** What of the bundles outlives the process: the highest sequences, and the last good bundle where it is to be kept. */
export type Keeping = {
  /** Reads the sequences. @throws Error if one cannot be read: an older bundle could come in */
  begin: () => Promise<void>
  /** the least sequence that a bundle may have, where one was seen */
  floor: (name: string) => number | undefined
  /** the last good bundle, and the milliseconds since its service last confirmed it */
  last: (name: string) => Promise<{ content: Content; age: number } | undefined>
  /** the bundle is in force */
  keep: (name: string, change: Change) => void
  /** its service said that it is still the newest */
  confirm: (name: string) => void
  /** waits for what is being written */
  close: () => Promise<void>
}

/** Where OPA keeps bundles if it is not told. */
const KEPT = '.opa'

/** @param folder undefined: OPA's own, where a bundle is to be kept */
export function createKeeping(
  settings: BundleSettings,
  folder: string | undefined,
  failed: (name: string, error: BundleError) => void,
): Keeping {
  const persists = (name: string) => {
    const source = settings[name]
    return source?.kind === 'service' && source.persist === true
  }
  const any = Object.keys(settings).some(persists)
  const store = folder === undefined && !any ? undefined : createStore(folder ?? KEPT)
  const floors = new Map<string, number>()
  /** what came from the store need not go there again */
  const kept = new WeakSet<Content>()
  /** names whose bundle in the store is not the one in force: saving that one failed */
  const others = new Set<string>()
  // One after the other: what is older must not be there in the end, nor a part of each.
  let writing: Promise<void> = Promise.resolve()
  const write = (work: () => Promise<void>, otherwise: (error: Error) => void) => {
    writing = writing.then(work).catch(otherwise)
  }
  return {
    async begin() {
      for (const name of Object.keys(settings)) {
        const floor = await store?.floor(name)
        if (floor !== undefined) floors.set(name, floor)
      }
    },
    floor: (name) => floors.get(name),
    async last(name) {
      const last = persists(name) ? await store?.load(name) : undefined
      if (!last) return undefined
      const content = { bytes: last.bytes }
      kept.add(content)
      return { content, age: last.age }
    },
    keep(name, { to, brought }) {
      const sequence = to.sequences[name]
      if (sequence !== undefined) floors.set(name, sequence)
      const content = brought.get(name)
      if (!store) return
      write(
        async () => {
          others.add(name)
          // The number first: with the old bundle and the new number, an older one stays out.
          if (sequence !== undefined) await store.raise(name, sequence)
          if (persists(name) && content && 'bytes' in content && !kept.has(content))
            await store.save(name, content.bytes)
          others.delete(name)
        },
        (error) => {
          const text = `bundle ${name} is active and could not be kept for the next start: ${error.message}`
          failed(name, new BundleError('persistence', text))
        },
      )
    },
    confirm(name) {
      // Where that cannot be written down, it is older than it is at the next start.
      if (store && persists(name))
        write(
          async () => {
            if (!others.has(name)) await store.confirm(name)
          },
          () => undefined,
        )
    },
    close: () => writing,
  }
}
