import { linesOf, listSegments } from './segments.ts'

/**
 * Gives the whole lines of a log that were not given before, oldest first. It only reads: the process that writes may be
 * gone, and files may be deleted meanwhile.
 */
export function createFollower(folder: string): () => Generator<string> {
  let at = { first: 0, offset: 0 }
  return function* () {
    for (const { first, path } of listSegments(folder)) {
      if (first < at.first) continue
      if (first > at.first) at = { first, offset: 0 }
      for (const { line, offset, whole } of linesOf(path, at.offset)) {
        if (!whole) break
        at = { first, offset: offset + line.length + 1 }
        yield line.toString('utf8')
      }
    }
  }
}
