import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ARCHIVE_LIMITS, type ArchiveLimits, type Content, type Files, isPlain, tooLarge } from './archive.ts'
import { BundleError } from './failure.ts'

/** Reads a bundle from the disk: a gzipped tar, or a folder with its files in it. @throws BundleError */
export async function readFiles(
  name: string,
  path: string,
  limits: ArchiveLimits = ARCHIVE_LIMITS,
): Promise<Content> {
  try {
    const found = await stat(path)
    if (found.isFile()) {
      if (found.size > limits.bytes) throw tooLarge(name, limits)
      return { bytes: await readFile(path) }
    }
    const files: Files = new Map()
    let size = 0
    for (const { file, bytes } of await listed(path)) {
      size += bytes
      if (size > limits.bytes) throw tooLarge(name, limits)
      files.set(file, await readFile(join(path, file)))
    }
    return { files }
  } catch (error) {
    if (error instanceof BundleError) throw error
    throw new BundleError('unreachable', `bundle ${name}: ${(error as Error).message}`)
  }
}

/** What tells that the files are others: names, sizes, times and inodes, without reading them. */
export async function lookAt(path: string): Promise<string> {
  try {
    const found = await stat(path)
    if (found.isFile()) return `${found.size} ${found.mtimeMs} ${found.ino}`
    return (await listed(path)).map(({ file, look }) => `${file} ${look}`).join('\n')
  } catch (error) {
    return `unreadable: ${(error as NodeJS.ErrnoException).code}`
  }
}

/**
 * Plain files below a folder; links are followed, for that is how Kubernetes mounts a ConfigMap. Names that begin with
 * a dot are no part of a bundle, but for its manifest and its signatures.
 */
async function listed(path: string): Promise<{ file: string; bytes: number; look: string }[]> {
  const found: { file: string; bytes: number; look: string }[] = []
  const enter = async (folder: string, depth: number): Promise<void> => {
    for (const name of (await readdir(join(path, folder))).sort()) {
      const file = folder === '' ? name : `${folder}/${name}`
      if (name.startsWith('.') && file !== '.manifest' && file !== '.signatures.json') continue
      if (!isPlain(file)) throw new Error(`the name ${JSON.stringify(file)} is refused`)
      const entry = await stat(join(path, file))
      if (entry.isDirectory()) {
        if (depth > 32) throw new Error(`${file} is too deep`)
        await enter(file, depth + 1)
      } else if (entry.isFile()) {
        found.push({ file, bytes: entry.size, look: `${entry.size} ${entry.mtimeMs} ${entry.ino}` })
        if (found.length > ARCHIVE_LIMITS.files) throw new Error(`more than ${ARCHIVE_LIMITS.files} files`)
      }
    }
  }
  await enter('', 0)
  return found
}
