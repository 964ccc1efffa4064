import { mkdir, open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { idOf, type Line } from './sink.ts'

/** What a receiver never takes, with the reason: kept for a person, on disk before the sink goes on. */
export type DeadLetters = {
  /** @returns why it could not be kept */
  put: (sink: string, line: Line, why: string) => Promise<string | undefined>
}

/** `<folder>/<sink>.jsonl`: `{at, sink, why, event_id, line}`; `line` is the record as it was. */
export function openDeadLetters(folder: string, limit: number, now: () => number = Date.now): DeadLetters {
  return {
    async put(sink, line, why) {
      const path = join(folder, `${sink}.jsonl`)
      const letter = {
        at: new Date(now()).toISOString(),
        sink,
        why: why.slice(0, 1000).toWellFormed(),
        event_id: idOf(line),
        line: line.text,
      }
      try {
        await mkdir(folder, { recursive: true, mode: 0o700 })
        const size = await stat(path).then(
          (found) => found.size,
          () => 0,
        )
        const bytes = Buffer.from(`${JSON.stringify(letter)}\n`)
        // A sink that refuses everything must be seen, not fill the disk of the record.
        if (size + bytes.length > limit) return `${path} has reached ${limit} bytes; move it away`
        const file = await open(path, 'a', 0o600)
        try {
          const { bytesWritten } = await file.write(bytes)
          if (bytesWritten < bytes.length) {
            await file.truncate(size)
            return `${path}: the disk is full`
          }
          await file.datasync()
        } finally {
          await file.close()
        }
      } catch (error) {
        return (error as Error).message
      }
      return undefined
    },
  }
}
