import { createTree, inclusionProof, leafHash, rangesOf, rootFrom, type Tree } from '../../log/merkle.ts'
import { type Checkpoint, isSigned, readNote, type Verifier } from '../../log/note.ts'
import { headOf } from './open.ts'
import { linesOf, listSegments, logId, seqOf } from './segments.ts'

/** What is wrong with a log, and from which line on. */
export type Fault = { seq: number; file: string; why: string }

export type Verified = {
  /** the first of what is wrong; undefined: nothing is */
  fault: Fault | undefined
  id: string | undefined
  /** the lines that are there */
  first: number
  last: number
  /** bytes of a last line that is not whole */
  torn: number
  /** checkpoints that were compared, those of them that are signed, and the last line that a signed one covers */
  checkpoints: number
  signed: number
  covered: number
  /** how the log stands to an older checkpoint */
  older: 'consistent' | 'deleted' | undefined
  inclusion: Inclusion | undefined
}
/** That a line is in the tree of a checkpoint, for whoever has that checkpoint. */
export type Inclusion = {
  seq: number
  leaf: Buffer
  index: number
  size: number
  root: Buffer
  path: Buffer[]
}

export type Wish = {
  verifier?: Verifier | undefined
  older?: Checkpoint | undefined
  /** a decision whose first record is to be proven */
  decision?: string | undefined
}

/**
 * Goes through a log from its oldest line to its newest and ends at the first that is not what was written. Each line
 * has the hash of the one before it, so that an altered one is told from those around it; checkpoints have the tree.
 */
export function verifyLog(folder: string, wish: Wish): Verified {
  const segments = listSegments(folder)
  const start = segments[0]
  const result: Verified = {
    fault: undefined,
    id: logId(folder),
    first: start?.first ?? 0,
    last: 0,
    torn: 0,
    checkpoints: 0,
    signed: 0,
    covered: 0,
    older: undefined,
    inclusion: undefined,
  }
  const end = (seq: number, file: string, why: string): Verified => ({ ...result, fault: { seq, file, why } })
  if (!start) return end(0, folder, 'there is no record')
  const head = headOf(start)
  if (!head) return end(start.first, start.path, 'the oldest file does not say what was before it')
  const tree = createTree(head.size, head.parts)
  const leaves: Buffer[] = []
  let previous: Buffer | undefined
  /** the newest checkpoint that the log itself holds to, and that is signed where a key is given */
  let anchor: { size: number; root: Buffer } | undefined
  let wanted: number | undefined
  if (wish.older && wish.older.size < head.size) result.older = 'deleted'
  const compareOlder = (): boolean => {
    if (wish.older?.size !== tree.size()) return true
    if (!wish.older.root.equals(tree.root())) return false
    result.older = 'consistent'
    return true
  }

  for (const segment of segments) {
    const file = segment.path
    if (segment.first !== tree.size() + 1)
      return end(tree.size() + 1, file, `the file begins with line ${segment.first}: lines are missing`)
    if (!compareOlder())
      return end(tree.size(), file, 'the older checkpoint is of another log, or the log was written anew')
    for (const { line, whole } of linesOf(file)) {
      const seq = tree.size() + 1
      if (!whole && segment === segments.at(-1)) {
        result.torn = line.length
        break
      }
      const found = seqOf(line)
      if (found !== seq) {
        const what = found === undefined ? 'what is no record' : `record ${found}`
        return end(
          seq,
          file,
          `${what} is in the place of record ${seq}: a record was removed, inserted or moved`,
        )
      }
      const custom = customOf(line)
      if (!custom) return end(seq, file, 'the record is not JSON')
      // Before the line itself: what a checkpoint says is of the lines before it.
      if (previous && custom.event.prev !== previous.toString('base64'))
        return end(seq - 1, file, `the record is not what record ${seq} was written after: it was altered`)
      if (custom.event.event === 'checkpoint') {
        const why = checkpointFault(custom.event, tree, wish.verifier)
        if (why !== undefined) return end(seq, file, why)
        result.checkpoints++
        const isNote = typeof custom.event.note === 'string'
        if (isNote) result.signed++
        if (isNote && wish.verifier) result.covered = tree.size()
        if (!wish.verifier || isNote) anchor = { size: tree.size(), root: tree.root() }
      }
      if (custom.decision === wish.decision && wish.decision !== undefined) wanted ??= seq
      previous = leafHash(line)
      leaves.push(previous)
      tree.append(previous)
      if (!compareOlder())
        return end(seq, file, 'the older checkpoint is of another log, or the log was written anew')
    }
  }
  result.last = tree.size()
  if (wish.older && result.older === undefined)
    return end(
      result.last,
      folder,
      `records are missing at the end: the older checkpoint has ${wish.older.size}, the log ${result.last}`,
    )
  if (wish.decision !== undefined) {
    if (wanted === undefined) return end(0, folder, `there is no record of decision ${wish.decision}`)
    const at = anchor && anchor.size >= wanted ? anchor : { size: tree.size(), root: tree.root() }
    const parts = new Map(
      rangesOf(head.size).map(([from, to], i) => [`${from}-${to}`, head.parts[i] as Buffer]),
    )
    const path = inclusionProof(wanted - 1, at.size, (from, to) =>
      to - from === 1 && from >= head.size ? leaves[from - head.size] : parts.get(`${from}-${to}`),
    )
    const leaf = leaves[wanted - 1 - head.size] as Buffer
    if (!rootFrom(leaf, wanted - 1, at.size, path)?.equals(at.root))
      return end(wanted, folder, 'the record is not in the tree of the checkpoint')
    result.inclusion = { seq: wanted, leaf, index: wanted - 1, size: at.size, root: at.root, path }
  }
  return result
}

type Custom = { event?: unknown; prev?: unknown; note?: unknown; tree?: { size?: unknown; root?: unknown } }

function customOf(line: Buffer): { event: Custom; decision: unknown } | undefined {
  try {
    const { custom, decision_id } = JSON.parse(line.toString('utf8'))
    return typeof custom === 'object' && custom !== null
      ? { event: custom, decision: decision_id }
      : undefined
  } catch {
    return undefined
  }
}

function checkpointFault(
  { tree: said, note }: Custom,
  tree: Tree,
  verifier: Verifier | undefined,
): string | undefined {
  const root = tree.root().toString('base64')
  if (said?.size !== tree.size() || said.root !== root)
    return 'the checkpoint is not of the records before it: they, or it, were written anew'
  if (note === undefined) return undefined
  const read = typeof note === 'string' ? readNote(note) : undefined
  if (!read || read.size !== tree.size() || read.root.toString('base64') !== root)
    return 'the signed checkpoint is not of the records before it: they were written anew'
  if (verifier && !isSigned(note as string, verifier)) return 'the checkpoint is not signed with this key'
  return undefined
}
