import { mkdirSync, readFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { replaceFileLater } from './files.ts'
import { linesOf, seqBefore } from './segments.ts'

/** After which line a reader is: `segment` is the number of the first line of its file, `offset` in bytes. */
export type Position = { segment: number; offset: number; seq: number }
/** As it is stored, without its end. */
export type Line = { seq: number; text: string }
export type Batch = { lines: Line[]; next: Position }

/** One sink's way through the log. It sees what is on disk and nothing else; what it has committed it is not given again. */
export type SinkReader = {
  name: string
  /** of the last commit */
  position: () => Position
  /**
   * What is after `from` (the last commit, if it is left out), within limits, at once; one line at least if there is
   * one, however long.
   */
  read: (limits: { lines: number; bytes: number }, from?: Position) => Promise<Batch>
  /** true once there is something after `from`; false when the log was closed, or the signal fired */
  wait: (from?: Position, signal?: AbortSignal) => Promise<boolean>
  /** Keeps, across restarts, that all before is delivered. Never goes back. */
  commit: (next: Position) => Promise<void>
  /** what is not committed; `since`: milliseconds since the epoch when the oldest of it was recorded */
  lag: () => { lines: number; bytes: number; since: number | undefined }
}

/** What a reader sees of the log. */
export type LogView = {
  folder: string
  /** oldest first, with the bytes that are on disk */
  segments: () => { first: number; path: string; bytes: number }[]
  synced: () => Position
  closed: () => boolean
  /** told when more is on disk, or the log is closed; gives back how to stop */
  listen: (listener: () => void) => () => void
}
export type OpenReader = {
  reader: SinkReader
  /** passes over lines that are about to be deleted, up to and with `seq`; the first and last of them */
  skip: (seq: number) => { from: number; to: number } | undefined
}

const NAME = /^[a-z0-9_-]{1,64}$/

/** @throws Error for a name that cannot be a file's */
export function openReader(
  log: LogView,
  name: string,
  start: 'oldest' | 'newest',
  now: () => number,
): OpenReader & { lost: { from: number; to: number } | undefined } {
  if (!NAME.test(name))
    throw new Error(`${name.slice(0, 80)}: a sink's name has 1 to 64 of a-z, 0-9, _ and -`)
  const folder = join(log.folder, 'cursors')
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const path = join(folder, `${name}.json`)
  const kept = keptAt(path)
  let at =
    kept === undefined
      ? start === 'oldest'
        ? firstOf(log)
        : log.synced()
      : (locate(log, kept) ?? firstOf(log))
  const lost = kept !== undefined && at.seq > kept.seq ? { from: kept.seq + 1, to: at.seq } : undefined
  let since = log.synced().seq > at.seq ? now() : undefined
  log.listen(() => {
    since ??= log.synced().seq > at.seq ? now() : undefined
  })
  let writing: Promise<void> = Promise.resolve()

  /** when the line after this one was recorded, once it was read */
  let oldest: { seq: number; time: number } | undefined
  const moved = (next: Position) => {
    at = next
    since = log.synced().seq > at.seq ? now() : undefined
  }
  const reader: SinkReader = {
    name,
    position: () => at,
    async read(limits, from = at) {
      // What a reader was about to read may have had to be deleted.
      const start = from.seq < at.seq ? at : from
      const batch = (await readLines(log, start, limits)) ??
        (await readLines(log, at, limits)) ?? { lines: [], next: at }
      const [first] = batch.lines
      const time = first && timeOf(first.text)
      if (first && time !== undefined) oldest = { seq: first.seq - 1, time }
      return batch
    },
    wait(from = at, signal) {
      return new Promise((resolve) => {
        let stop = () => {}
        const end = (found: boolean) => {
          stop()
          signal?.removeEventListener('abort', aborted)
          resolve(found)
        }
        const aborted = () => end(false)
        const look = () => {
          if (log.synced().seq > from.seq) end(true)
          else if (log.closed()) end(false)
        }
        if (signal?.aborted) return resolve(false)
        signal?.addEventListener('abort', aborted)
        stop = log.listen(look)
        look()
      })
    },
    async commit(next) {
      if (next.seq < at.seq) return
      moved(next)
      // One after the other: an older one must not replace a newer one.
      writing = writing.catch(() => undefined).then(() => replaceFileLater(path, `${JSON.stringify(at)}\n`))
      await writing
    },
    lag() {
      const end = log.synced()
      const bytes = log
        .segments()
        .reduce(
          (sum, { first, bytes: size }) =>
            sum + (first < at.segment ? 0 : first === at.segment ? size - at.offset : size),
          0,
        )
      return {
        lines: end.seq - at.seq,
        bytes: Math.max(0, bytes),
        // Until it was read, when it was seen.
        since: end.seq > at.seq ? (oldest?.seq === at.seq ? oldest.time : since) : undefined,
      }
    },
  }
  return {
    reader,
    lost,
    skip(seq) {
      if (seq <= at.seq) return undefined
      const from = at.seq + 1
      // Should it not be kept, the next start finds the same.
      void reader.commit({ segment: seq + 1, offset: 0, seq }).catch(() => undefined)
      return { from, to: seq }
    },
  }
}

const firstOf = (log: LogView): Position => {
  const first = log.segments()[0]?.first ?? 1
  return { segment: first, offset: 0, seq: first - 1 }
}

/** Milliseconds since the epoch. */
function timeOf(line: string): number | undefined {
  const time = Date.parse(/"timestamp":"([^"]{1,40})"/.exec(line)?.[1] ?? '')
  return Number.isNaN(time) ? undefined : time
}

function keptAt(path: string): Position | undefined {
  try {
    const { segment, offset, seq } = JSON.parse(readFileSync(path, 'utf8'))
    return [segment, offset, seq].every(Number.isSafeInteger) ? { segment, offset, seq } : undefined
  } catch {
    return undefined
  }
}

/** Where the line after `seq` is now; undefined if it is no longer there, or never was. */
function locate(log: LogView, { seq, segment: file, offset: where }: Position): Position | undefined {
  if (seq > log.synced().seq) return undefined
  const segments = log.segments()
  const segment = segments.findLast(({ first }) => first <= seq + 1)
  if (!segment) return undefined
  if (segment.first === seq + 1) return { segment: segment.first, offset: 0, seq }
  // Where it was, mostly; a file that was written anew has it elsewhere.
  if (segment.first === file && where > 0 && where <= segment.bytes && seqBefore(segment.path, where) === seq)
    return { segment: file, offset: where, seq }
  let at = segment.first - 1
  for (const { line, offset } of linesOf(segment.path))
    if (++at === seq) return { segment: segment.first, offset: offset + line.length + 1, seq }
  return undefined
}

/** Undefined if a file is gone that was there a moment ago. */
async function readLines(
  log: LogView,
  from: Position,
  limits: { lines: number; bytes: number },
): Promise<Batch | undefined> {
  const lines: Line[] = []
  let next = from
  let left = limits.bytes
  while (lines.length < limits.lines && next.seq < log.synced().seq) {
    const segments = log.segments()
    const here = segments.find(({ first }) => first === next.segment)
    if (!here) return lines.length > 0 ? { lines, next } : undefined
    if (next.offset >= here.bytes) {
      const after = segments.find(({ first }) => first > next.segment)
      if (!after) break
      next = { segment: after.first, offset: 0, seq: after.first - 1 }
      continue
    }
    const chunk = await chunkOf(here.path, next.offset, here.bytes, Math.max(1, left))
    if (!chunk) return lines.length > 0 ? { lines, next } : undefined
    let used = 0
    for (
      let end = chunk.indexOf(0x0a);
      end >= 0 && lines.length < limits.lines;
      end = chunk.indexOf(0x0a, used)
    ) {
      const size = end + 1 - used
      if (size > left && lines.length > 0) return { lines, next }
      lines.push({ seq: next.seq + 1, text: chunk.toString('utf8', used, end) })
      left -= size
      used = end + 1
      next = { segment: next.segment, offset: next.offset + size, seq: next.seq + 1 }
    }
    if (left <= 0) break
  }
  return { lines, next }
}

const LEAST = 64 << 10

/** Bytes of a file from an offset on, as many as asked for and whole lines of them at least. */
async function chunkOf(
  path: string,
  offset: number,
  end: number,
  wanted: number,
): Promise<Buffer | undefined> {
  const file = await open(path, 'r').catch(() => undefined)
  if (!file) return undefined
  try {
    for (let size = Math.max(LEAST, wanted); ; size *= 2) {
      const length = Math.min(size, end - offset)
      const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(length), 0, length, offset)
      const bytes = buffer.subarray(0, bytesRead)
      if (bytes.includes(0x0a)) return bytes
      if (bytesRead < length || length === end - offset) return undefined
    }
  } finally {
    await file.close()
  }
}
