import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { leafHash, partsOf } from '../../log/merkle.ts'
import type { Checkpoint } from '../../log/note.ts'
import { replaceFileLater } from './files.ts'
import type { Position } from './reader.ts'
import { type Segment, seqOf } from './segments.ts'

/**
 * How far a log was, with the tree of all lines up to there: kept beside it now and then, so that a start looks only at
 * what came after.
 */
export type End = Position & {
  /** bytes of the last line, with its end, and its hash */
  line: number
  last: Buffer
  parts: Buffer[]
  /** the newest signed checkpoint up to there */
  signed: { size: number; root: Buffer } | undefined
}

const NAME = 'end.json'
const base64 = (bytes: Buffer) => bytes.toString('base64')

export async function keepEnd(folder: string, { last, parts, signed, ...rest }: End): Promise<void> {
  const kept = {
    ...rest,
    last: base64(last),
    parts: parts.map(base64),
    ...(signed && { signed: { size: signed.size, root: base64(signed.root) } }),
  }
  await replaceFileLater(join(folder, NAME), `${JSON.stringify(kept)}\n`)
}

/**
 * What was kept, if it is of this file and the line that it ends with is there, where it was: then nothing before it was
 * put in or taken out. That nothing was altered is for `verify` to say.
 * @param checkpoint as it is kept beside the log: one that is not what was signed up to there is to be looked into
 */
export function keptEnd(
  folder: string,
  { first, path }: Segment,
  checkpoint: Checkpoint | undefined,
): End | undefined {
  const end = read(join(folder, NAME))
  if (!end || end.segment !== first || end.line > end.offset || end.seq < first) return undefined
  if (end.parts.length !== partsOf(end.seq) || end.parts.some(({ length }) => length !== 32)) return undefined
  if (checkpoint && checkpoint.size <= end.seq) {
    const { signed } = end
    if (signed?.size !== checkpoint.size || !signed.root.equals(checkpoint.root)) return undefined
  }
  const line = bytesOf(path, end.offset - end.line, end.line)
  if (line?.indexOf(0x0a) !== end.line - 1) return undefined
  const text = line.subarray(0, -1)
  return seqOf(text) === end.seq && leafHash(text).equals(end.last) ? end : undefined
}

function read(path: string): End | undefined {
  try {
    const { segment, offset, seq, line, last, parts, signed } = JSON.parse(readFileSync(path, 'utf8'))
    if (![segment, offset, seq, line].every((value) => Number.isSafeInteger(value) && value > 0))
      return undefined
    return {
      segment,
      offset,
      seq,
      line,
      last: Buffer.from(String(last), 'base64'),
      parts: parts.map((part: unknown) => Buffer.from(String(part), 'base64')),
      signed: signed && { size: signed.size, root: Buffer.from(String(signed.root), 'base64') },
    }
  } catch {
    return undefined
  }
}

/** Undefined where there are not so many. */
function bytesOf(path: string, from: number, length: number): Buffer | undefined {
  const fd = openSync(path, 'r')
  try {
    // What was kept may be damaged: no more is asked for than there is.
    if (from + length > fstatSync(fd).size) return undefined
    const bytes = Buffer.alloc(length)
    return readSync(fd, bytes, 0, length, from) === length ? bytes : undefined
  } finally {
    closeSync(fd)
  }
}
