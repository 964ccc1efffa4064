import type { JsonObject } from '../../mcp/strict-json.ts'
import type { OpenReader } from './reader.ts'
import type { Writer } from './writer.ts'

/** What is kept of a log, and for how long. */
export type Kept = {
  /** bytes of all files */
  limit: number
  /** milliseconds since a file was closed */
  maxAge: number
  /** what goes first where there is no room: new records, or old ones that a sink has not passed */
  whenFull: 'refuse' | 'drop_oldest'
}

export type Retention = {
  /** Nothing is deleted before: readers may come that were here before the start. */
  begin: () => void
  /** Deletes what is due. @param more bytes that there should be room for */
  prune: (more?: number) => void
  /** the last line that every reader has passed and that is on disk */
  passed: () => number
}

export function createRetention(
  writer: Pick<Writer, 'closed' | 'current' | 'bytes' | 'synced' | 'hasHead' | 'dropOldest'>,
  readers: readonly OpenReader[],
  kept: Kept,
  now: () => number,
  {
    failed,
    notice,
  }: { failed: (why: string) => void; notice: (event: 'gap' | 'lifecycle', cause: Cause) => void },
): Retention {
  let begun = false
  const passed = () => Math.min(...readers.map(({ reader }) => reader.position().seq), writer.synced().seq)
  const lastOf = (at: number) => (writer.closed()[at + 1] ?? writer.current()).first - 1
  const drop = (why: string): boolean => {
    const [from, to] = [writer.closed()[0]?.first ?? 0, lastOf(0)]
    try {
      writer.dropOldest()
    } catch (failure) {
      failed((failure as Error).message)
      return false
    }
    notice('lifecycle', { code: 'segment_deleted', from, to, why })
    for (const { reader, skip } of readers) {
      const gone = skip(to)
      if (gone) notice('gap', { code: 'records_not_delivered', sink: reader.name, ...gone })
    }
    return true
  }
  return {
    begin() {
      begun = true
    },
    passed,
    prune(more = 0) {
      if (!begun) return
      const done = passed()
      const due = (at: number) => {
        const file = writer.closed()[at]
        return (
          file &&
          dueToDelete({ last: lastOf(at), since: file.since }, done, writer.bytes() + more, now(), kept)
        )
      }
      for (let why = due(0); why !== undefined; why = due(0)) {
        const others = [...writer.closed(), writer.current()].slice(1)
        const { segment, offset } = writer.synced()
        // In the file that is written, what says so may be with the kernel only, and gone after a power cut.
        const onDisk = ({ first }: { first: number }) => first < segment || offset > 0
        // A file that does not say what was before it goes with the one before it, or not yet.
        const besides = others.findIndex((file) => writer.hasHead(file) && onDisk(file))
        if (besides < 0 || due(besides) === undefined) return
        for (let left = besides; left >= 0; left--) if (!drop(why)) return
      }
    },
  }
}
type Cause = JsonObject & { code: string }

/**
 * Whether the oldest file of a log is to be deleted, and why. One that a reader has not passed stays until there is no
 * room, and then still if that is what is wanted.
 * @param oldest its last line, and when it was closed, in milliseconds since the epoch
 * @param passed the last line that every reader has passed and that is on disk
 * @param needed bytes that there should be room for: of the log, and of what is to come
 */
export function dueToDelete(
  oldest: { last: number; since: number },
  passed: number,
  needed: number,
  now: number,
  { limit, maxAge, whenFull }: Kept,
): 'max_bytes' | 'max_age' | undefined {
  const old = now - oldest.since >= maxAge
  const full = needed > limit
  const due = passed >= oldest.last ? old || full : full && whenFull === 'drop_oldest'
  if (!due) return undefined
  return full ? 'max_bytes' : 'max_age'
}
