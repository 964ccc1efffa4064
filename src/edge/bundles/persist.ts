import { mkdir, open, readFile, rename, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** The last good bundles and the highest sequences, on disk as OPA keeps them: `bundles/<name>/bundle.tar.gz`. */
export type Store = {
  /** the last good bundle, and the milliseconds since its service last confirmed it */
  load: (name: string) => Promise<{ bytes: Uint8Array; age: number } | undefined>
  save: (name: string, bytes: Uint8Array) => Promise<void>
  /** its service said that it is still the newest */
  confirm: (name: string) => Promise<void>
  floor: (name: string) => Promise<number | undefined>
  raise: (name: string, sequence: number) => Promise<void>
}

const BUNDLE = 'bundle.tar.gz'
const SEQUENCE = 'sequence'

export function createStore(folder: string): Store {
  const within = (name: string, file: string) => join(folder, 'bundles', encodeURIComponent(name), file)
  const put = async (name: string, file: string, bytes: Uint8Array | string) => {
    const path = within(name, file)
    await mkdir(join(path, '..'), { recursive: true, mode: 0o700 })
    const part = `${path}.part`
    await writeFile(part, bytes, { mode: 0o600, flush: true })
    await rename(part, path)
    // The name too must survive a power cut: an older sequence would let older content in.
    const directory = await open(join(path, '..'), 'r')
    await directory.sync().finally(() => directory.close())
  }
  return {
    async load(name) {
      const path = within(name, BUNDLE)
      try {
        const bytes = await readFile(path)
        return { bytes, age: Math.max(0, Date.now() - (await stat(path)).mtimeMs) }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
        throw error
      }
    },
    save: (name, bytes) => put(name, BUNDLE, bytes),
    async confirm(name) {
      const now = new Date()
      await utimes(within(name, BUNDLE), now, now)
    },
    async floor(name) {
      const text = await readFile(within(name, SEQUENCE), 'utf8').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return undefined
        throw error
      })
      if (text === undefined) return undefined
      if (!/^\d{1,16}\n$/.test(text)) throw new Error(`${within(name, SEQUENCE)} is not a number`)
      return Number(text)
    },
    raise: (name, sequence) => put(name, SEQUENCE, `${sequence}\n`),
  }
}
