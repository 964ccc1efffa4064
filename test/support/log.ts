import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import { listSegments } from '../../src/edge/audit/segments.ts'

/** All that a log has, as it is stored. */
export const logText = (folder: string): string =>
  listSegments(folder)
    .map(({ path }) => readFileSync(path, 'utf8'))
    .join('')

/** Gives the whole lines that a log has gained since it was last asked. */
export function createTail(folder: string): () => string[] {
  let at = { first: 0, offset: 0 }
  let rest = ''
  return () => {
    const chunk = Buffer.alloc(1 << 20)
    for (const { first, path } of listSegments(folder)) {
      if (first < at.first) continue
      if (first > at.first) at = { first, offset: 0 }
      const fd = openSync(path, 'r')
      for (let size = 1; size > 0; at.offset += size) {
        size = readSync(fd, chunk, 0, chunk.length, at.offset)
        rest += chunk.toString('latin1', 0, size)
      }
      closeSync(fd)
    }
    const lines = rest.split('\n')
    rest = lines.pop() ?? ''
    return lines.map((line) => Buffer.from(line, 'latin1').toString('utf8'))
  }
}
