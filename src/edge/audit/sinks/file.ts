import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises'
import type { Line, Sink } from './sink.ts'

export type FileSettings = {
  path: string
  /** the file is set aside before it grows beyond so many bytes, or is older than so many milliseconds */
  bytes: number
  age: number
  /** how many are kept, with the one that is written */
  files: number
}

/**
 * Lines in a file, for a collector that follows it: `path`, then `path.1` (the newest that is full) and so on. What a
 * failed write left is cut; a batch is on disk when it is taken.
 */
export function createFileSink(
  name: string,
  { path, bytes: most, age, files }: FileSettings,
  render: (line: Line) => string,
  now: () => number = Date.now,
): Sink {
  let file: FileHandle | undefined
  let size = 0
  let since = 0

  const opened = async () => {
    if (file && (await stat(path).catch(() => undefined))?.ino !== (await file.stat()).ino) await closed()
    if (file) return file
    file = await open(path, 'a+', 0o640)
    const found = await file.stat()
    size = await wholeLength(file, found.size)
    // Of a process that was killed: its line comes again.
    if (size < found.size) await file.truncate(size)
    since = size === 0 ? now() : found.birthtimeMs || found.ctimeMs
    return file
  }
  const closed = async () => {
    const had = file
    file = undefined
    await had?.close()
  }
  const rotate = async () => {
    await closed()
    if (files === 1) return rm(path, { force: true })
    await rm(`${path}.${files - 1}`, { force: true })
    for (let i = files - 2; i >= 1; i--)
      await rename(`${path}.${i}`, `${path}.${i + 1}`).catch(() => undefined)
    await rename(path, `${path}.1`)
  }
  return {
    name,
    type: 'file',
    to: path,
    async send(batch) {
      const bytes = Buffer.from(batch.map((line) => `${render(line)}\n`).join(''))
      try {
        await opened()
        if (size > 0 && (size + bytes.length > most || now() - since > age)) await rotate()
        const to = await opened()
        const before = size
        try {
          for (let at = 0; at < bytes.length; ) {
            const { bytesWritten } = await to.write(bytes, at)
            if (bytesWritten === 0) throw new Error('nothing was written')
            at += bytesWritten
          }
          await to.datasync()
        } catch (error) {
          await to.truncate(before).catch(() => undefined)
          throw error
        }
        size = before + bytes.length
        return { kind: 'accepted', said: `${bytes.length} bytes written` }
      } catch (error) {
        await closed().catch(() => undefined)
        return { kind: 'retry', said: (error as Error).message }
      }
    },
    close: closed,
  }
}

/** Bytes up to and with the last line end. */
async function wholeLength(file: FileHandle, size: number): Promise<number> {
  const chunk = Buffer.alloc(64 << 10)
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - chunk.length)
    const { bytesRead } = await file.read(chunk, 0, end - start, start)
    const newline = chunk.subarray(0, bytesRead).lastIndexOf(0x0a)
    if (newline >= 0) return start + newline + 1
    end = start
  }
  return 0
}
