import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs'
import { join } from 'node:path'

/** A file of the log: lines without a hole, named after the sequence number of its first one. */
export type Segment = { first: number; path: string }

const NAME = /^decisions-(\d{16})\.jsonl$/
const SEQ = /,"seq":(\d{1,16})\}\}$/
/** The end of a line that its number is in. */
const SEQ_WITHIN = 40
const CHUNK = 1 << 20

export const segmentName = (first: number): string => `decisions-${String(first).padStart(16, '0')}.jsonl`

/** Oldest first. */
export function listSegments(folder: string): Segment[] {
  return readdirSync(folder)
    .flatMap((name) => {
      const match = NAME.exec(name)
      return match ? [{ first: Number(match[1]), path: join(folder, name) }] : []
    })
    .sort((a, b) => a.first - b.first)
}

/** The number of a stored line, without its end; undefined for what is no line of a log. */
export function seqOf(line: Buffer): number | undefined {
  if (line[0] !== 0x7b) return undefined
  const match = SEQ.exec(line.toString('latin1', Math.max(0, line.length - SEQ_WITHIN)))
  return match ? Number(match[1]) : undefined
}

/** The number of the line that ends at an offset; undefined where none does. */
export function seqBefore(path: string, offset: number): number | undefined {
  const fd = openSync(path, 'r')
  try {
    const bytes = Buffer.alloc(Math.min(SEQ_WITHIN, offset))
    if (readSync(fd, bytes, 0, bytes.length, offset - bytes.length) < bytes.length) return undefined
    const match = bytes.at(-1) === 0x0a ? SEQ.exec(bytes.toString('latin1', 0, bytes.length - 1)) : null
    return match ? Number(match[1]) : undefined
  } finally {
    closeSync(fd)
  }
}

/** The lines of a file from an offset on, without their ends; `whole` is false for a last one that has none. */
export function* linesOf(
  path: string,
  from = 0,
): Generator<{ line: Buffer; offset: number; whole: boolean }> {
  const fd = openSync(path, 'r')
  try {
    let rest = Buffer.alloc(0)
    let offset = from
    let at = from
    const chunk = Buffer.alloc(CHUNK)
    for (let read = readSync(fd, chunk, 0, CHUNK, at); read > 0; read = readSync(fd, chunk, 0, CHUNK, at)) {
      at += read
      const bytes = Buffer.concat([rest, chunk.subarray(0, read)])
      let start = 0
      for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a, start)) {
        yield { line: bytes.subarray(start, end), offset, whole: true }
        offset += end + 1 - start
        start = end + 1
      }
      rest = Buffer.from(bytes.subarray(start))
    }
    if (rest.length > 0) yield { line: rest, offset, whole: false }
  } finally {
    closeSync(fd)
  }
}

/** How a file of the log is found when it is opened again. */
export type Found =
  /** `torn`: bytes after the last whole line, e.g. of a write that a power cut broke off */
  | { ok: true; last: number; size: number; torn: number }
  /** a line that is none, or none of this place, with lines of the log after it: no accident of writing */
  | { ok: false; at: number; why: string }

/** Looks through a file, or what of it is after `known`; a number that is not the one before it and one more is damage. */
export function inspect(
  { first, path }: Segment,
  each: (line: Buffer) => void,
  known = { seq: first - 1, offset: 0 },
): Found {
  let last = known.seq
  let size = known.offset
  let bad = false
  for (const { line, offset, whole } of linesOf(path, known.offset)) {
    const seq = whole ? seqOf(line) : undefined
    if (seq === last + 1 && !bad) {
      last = seq
      size = offset + line.length + 1
      each(line)
    } else if (seq !== undefined)
      return { ok: false, at: last + 1, why: `${path} has line ${seq} in the place of ${last + 1}` }
    else bad = true
  }
  return { ok: true, last, size, torn: sizeOf(path) - size }
}

const sizeOf = (path: string): number => {
  const fd = openSync(path, 'r')
  try {
    return fstatSync(fd).size
  } finally {
    closeSync(fd)
  }
}

/** Every line of a log, for those who only read it: the process that writes it may be gone or go on writing. */
export function* linesOfLog(folder: string): Generator<{ line: Buffer; segment: Segment; whole: boolean }> {
  for (const segment of listSegments(folder))
    for (const { line, whole } of linesOf(segment.path)) yield { line, segment, whole }
}

/** The id of the log in a folder, which is `labels.id` of its events; undefined where there is none. */
export function logId(folder: string): string | undefined {
  try {
    const { id } = JSON.parse(readFileSync(join(folder, 'log.json'), 'utf8'))
    return typeof id === 'string' && id !== '' ? id : undefined
  } catch {
    return undefined
  }
}
