import { mkdirSync, readdirSync, readFileSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { createTree, leafHash, partsOf } from '../../log/merkle.ts'
import { type Checkpoint, readNote } from '../../log/note.ts'
import type { JsonObject } from '../../mcp/strict-json.ts'
import { keptEnd } from './end.ts'
import { replaceFile, syncFolder } from './files.ts'
import { inspect, linesOf, listSegments, logId, type Segment } from './segments.ts'

/** A log as it was left. */
export type OpenedLog = {
  id: string
  segments: { first: number; path: string; bytes: number; since: number }[]
  tree: { size: number; parts: Buffer[] /** of the last line */; last: Buffer | undefined }
  /** bytes that had to be read for that */
  looked: number
  /** what is to be said of it in its next lines */
  notices: [event: 'gap' | 'lifecycle', more: { cause: JsonObject & { code: string } }][]
}

/**
 * Finds where the log of a folder ends. A line that was broken off is passed over; a log that is damaged otherwise is
 * not gone on with: it is moved into a folder of its own, whole, and a new one is begun.
 */
export function openLog(folder: string, newId: () => string): OpenedLog {
  const segments = listSegments(folder)
  const id = logId(folder)
  if (segments.length === 0) return begin(folder, newId, [])
  const looked = look(folder, segments, checkpointIn(folder))
  if (!looked.ok || id === undefined) {
    const why = looked.ok ? 'log.json, which has its id, is missing' : looked.why
    const kept = setAside(folder, id)
    return begin(folder, newId, [
      [
        'lifecycle',
        { cause: { code: 'previous_log_damaged', why, kept, ...(id !== undefined && { log: id }) } },
      ],
    ])
  }
  const { tree, torn, size } = looked
  const notices: OpenedLog['notices'] =
    torn > 0 ? [['lifecycle', { cause: { code: 'torn_tail_cut', bytes: torn } }]] : []
  return {
    id,
    segments: segments.map(({ first, path }, i) => {
      const { size: bytes, mtimeMs: since } = statSync(path)
      return { first, path, bytes: i === segments.length - 1 ? size : bytes, since }
    }),
    tree,
    looked: looked.bytes,
    notices,
  }
}

function begin(folder: string, newId: () => string, notices: OpenedLog['notices']): OpenedLog {
  const id = newId()
  replaceFile(join(folder, 'log.json'), `${JSON.stringify({ id })}\n`)
  syncFolder(folder)
  return { id, segments: [], tree: { size: 0, parts: [], last: undefined }, looked: 0, notices }
}

type Looked =
  | { ok: true; tree: OpenedLog['tree']; size: number; torn: number; bytes: number }
  | { ok: false; why: string }

/** The newest that was signed, as it was kept beside the log. */
export function checkpointIn(folder: string): Checkpoint | undefined {
  try {
    return readNote(readFileSync(join(folder, CHECKPOINT), 'utf8'))
  } catch {
    return undefined
  }
}
export const CHECKPOINT = 'checkpoint'

/** From where the last file was known, else from the last file that says what was before it, to the end. */
function look(folder: string, segments: Segment[], kept: Checkpoint | undefined): Looked {
  const end = keptEnd(folder, segments.at(-1) as Segment, kept)
  const start = end ? { at: segments.length - 1, size: end.seq, parts: end.parts } : lastHead(segments)
  if (!start) return { ok: false, why: 'no file of it says what was before it' }
  const tree = createTree(start.size, start.parts)
  let found = { last: start.size, size: end?.offset ?? 0, torn: 0 }
  let last = end?.last
  let other = false
  let bytes = 0
  for (const segment of segments.slice(start.at)) {
    const known = end && { seq: end.seq, offset: end.offset }
    if (!known && (segment.first !== found.last + 1 || found.torn > 0))
      return { ok: false, why: `${segment.path} does not go on after line ${found.last}` }
    const seen = inspect(
      segment,
      (line) => {
        last = leafHash(line)
        tree.append(last)
        if (kept?.size === tree.size()) other = !kept.root.equals(tree.root())
      },
      known,
    )
    if (!seen.ok) return seen
    found = seen
    bytes += seen.size - (known?.offset ?? 0)
  }
  if (kept && kept.size > tree.size())
    return { ok: false, why: `its checkpoint has ${kept.size} lines, of which ${tree.size()} are there` }
  if (other) return { ok: false, why: 'it is not what its checkpoint is of' }
  const { size, torn } = found
  return { ok: true, tree: { size: tree.size(), parts: tree.parts(), last }, size, torn, bytes }
}

function lastHead(segments: Segment[]): { at: number; size: number; parts: Buffer[] } | undefined {
  for (let at = segments.length - 1; at >= 0; at--) {
    const head = headOf(segments[at] as Segment)
    if (head) return { at, ...head }
  }
  return undefined
}

/** The tree before a file's first line, as that line has it. */
export function headOf({ first, path }: Segment): { size: number; parts: Buffer[] } | undefined {
  if (first === 1) return { size: 0, parts: [] }
  const line = firstLine(path)
  if (!line) return undefined
  try {
    const { tree } = JSON.parse(line.toString('utf8')).custom
    const parts: Buffer[] = tree.parts.map((part: unknown) => Buffer.from(String(part), 'base64'))
    const sound =
      tree.size === first - 1 &&
      parts.length === partsOf(first - 1) &&
      parts.every(({ length }) => length === 32)
    return sound ? { size: tree.size, parts } : undefined
  } catch {
    return undefined
  }
}

function firstLine(path: string): Buffer | undefined {
  // Left by a return, so that the file is closed.
  for (const { line, whole } of linesOf(path)) return whole ? line : undefined
  return undefined
}

/** @returns the folder that it is kept in */
function setAside(folder: string, id: string | undefined): string {
  const stem = `damaged-${id ?? 'without-id'}`
  const there = new Set(readdirSync(folder))
  let name = stem
  for (let n = 2; there.has(name); n++) name = `${stem}-${n}`
  mkdirSync(join(folder, name), { mode: 0o700 })
  for (const entry of there)
    if (/^(decisions-\d+\.jsonl|log\.json|cursors|checkpoint|end\.json)$/.test(entry))
      renameSync(join(folder, entry), join(folder, name, entry))
  syncFolder(folder)
  return name
}
