import { mkdirSync, readdirSync, readFileSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { createTree, leafHash, partsOf } from '../../log/merkle.ts'
import { type Checkpoint, readNote } from '../../log/note.ts'
import type { JsonObject } from '../../mcp/strict-json.ts'
import { replaceFile, syncFolder } from './files.ts'
import { inspect, linesOf, listSegments, logId, type Segment } from './segments.ts'

/** A log as it was left. */
export type OpenedLog = {
  id: string
  segments: { first: number; path: string; bytes: number; since: number }[]
  tree: { size: number; parts: Buffer[] /** of the last line */; last: Buffer | undefined }
  /** what is to be said of it in its next lines */
  notices: [event: 'gap' | 'lifecycle', more: JsonObject][]
}

/**
 * Finds where the log of a folder ends. A line that was broken off is passed over; a log that is damaged otherwise is
 * not gone on with: it is moved into a folder of its own, whole, and a new one is begun.
 */
export function openLog(folder: string, newId: () => string): OpenedLog {
  const segments = listSegments(folder)
  const id = logId(folder)
  if (segments.length === 0) return begin(folder, newId, [])
  const looked = look(segments, checkpointIn(folder))
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
    notices,
  }
}

function begin(folder: string, newId: () => string, notices: OpenedLog['notices']): OpenedLog {
  const id = newId()
  replaceFile(join(folder, 'log.json'), `${JSON.stringify({ id })}\n`)
  syncFolder(folder)
  return { id, segments: [], tree: { size: 0, parts: [], last: undefined }, notices }
}

type Looked = { ok: true; tree: OpenedLog['tree']; size: number; torn: number } | { ok: false; why: string }

/** The newest that was signed, as it was kept beside the log. */
export function checkpointIn(folder: string): Checkpoint | undefined {
  try {
    return readNote(readFileSync(join(folder, CHECKPOINT), 'utf8'))
  } catch {
    return undefined
  }
}
export const CHECKPOINT = 'checkpoint'

/** From the last file that says what was before it, to the end. */
function look(segments: Segment[], kept: Checkpoint | undefined): Looked {
  const heads = segments.map(headOf)
  const from = heads.findLastIndex((head) => head !== undefined)
  const head = heads[from]
  if (!head) return { ok: false, why: 'no file of it says what was before it' }
  const tree = createTree(head.size, head.parts)
  let end = { last: head.size, size: 0, torn: 0 }
  let last: Buffer | undefined
  let other = false
  for (const segment of segments.slice(from)) {
    if (segment.first !== end.last + 1 || end.torn > 0)
      return { ok: false, why: `${segment.path} does not go on after line ${end.last}` }
    const found = inspect(segment, (line) => {
      last = leafHash(line)
      tree.append(last)
      if (kept?.size === tree.size()) other = !kept.root.equals(tree.root())
    })
    if (!found.ok) return found
    end = found
  }
  if (kept && kept.size > tree.size())
    return { ok: false, why: `its checkpoint has ${kept.size} lines, of which ${tree.size()} are there` }
  if (other) return { ok: false, why: 'it is not what its checkpoint is of' }
  return { ok: true, tree: { size: tree.size(), parts: tree.parts(), last }, size: end.size, torn: end.torn }
}

/** The tree before a file's first line, as that line has it. */
export function headOf({ first, path }: Segment): { size: number; parts: Buffer[] } | undefined {
  if (first === 1) return { size: 0, parts: [] }
  const next = linesOf(path).next()
  if (next.done || !next.value.whole) return undefined
  try {
    const { tree } = JSON.parse(next.value.line.toString('utf8')).custom
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

/** @returns the folder that it is kept in */
function setAside(folder: string, id: string | undefined): string {
  const stem = `damaged-${id ?? 'without-id'}`
  const there = new Set(readdirSync(folder))
  let name = stem
  for (let n = 2; there.has(name); n++) name = `${stem}-${n}`
  mkdirSync(join(folder, name), { mode: 0o700 })
  for (const entry of there)
    if (/^(decisions-\d+\.jsonl|log\.json|cursors|checkpoint)$/.test(entry))
      renameSync(join(folder, entry), join(folder, name, entry))
  syncFolder(folder)
  return name
}
