import { closeSync, ftruncateSync, rmSync, writeSync } from 'node:fs'
import type { Chain } from '../../log/chain.ts'
import type { OpenLine } from '../../log/event.ts'
import type { End } from './end.ts'
import { headOf, type OpenedLog } from './open.ts'
import type { Position } from './reader.ts'
import { appendTo, createFile, type LogFile, reopenFile } from './segment-file.ts'

/** The files of a log, oldest first; lines go into the last, and from the kernel onto the disk. */
export type Writer = {
  closed: () => readonly ClosedFile[]
  current: () => LogFile & { opened: number }
  /** of all files */
  bytes: () => number
  /** the last line that is on disk, and where it ends */
  synced: () => Position
  /** whether the next line is the one that a file begins with: a checkpoint, but in the first file of a log */
  atHead: () => boolean
  /** Whether a file can be checked, and a log gone on with, without the files before it. */
  hasHead: (file: LogFile) => boolean
  /** Writes all lines or none, as the next of the chain. */
  append: (lines: OpenLine[]) => boolean
  /** Closes the file and begins the next. Only when all of it is on disk. @throws Error if no file can be made */
  beginFile: () => void
  /** Brings what was written to the disk, in a file of its own if the one it is in cannot be believed. */
  toDisk: () => Promise<void>
  /** Deletes the oldest file. @throws Error if it cannot */
  dropOldest: () => void
  /** another process writes the file: nothing of it is ours to mend */
  foreign: () => boolean
  /** the file cannot be believed: what is not on disk of it is written to a new one before anything else */
  suspect: () => boolean
  /** `suspect`, or the last attempt to bring lines to the disk failed */
  failing: () => boolean
  /** false once the disk does not answer for longer than it may */
  answers: () => boolean
  /** why the disk is not to be waited for */
  slow: () => string | undefined
  close: () => void
}
/** `since`: when it was closed, in milliseconds since the epoch. */
export type ClosedFile = LogFile & { since: number }

export type WriterPorts = {
  /** milliseconds since the epoch */
  now: () => number
  /** milliseconds on a clock that nobody sets */
  elapsed: () => number
  fdatasync: (fd: number, done: (failure: Error | null) => void) => void
  /** the newest checkpoint that was signed, to be kept with how far the log is */
  signed: () => End['signed']
  failed: (why: string) => void
  /** told when more is on disk. @param end how far the log is, where it is time to keep that */
  onDisk: (end: End | undefined) => void
  /** told when what waits for the disk waits in vain */
  notOnDisk: () => void
  /** told when what was not on disk is in a new file */
  replaced: () => void
}

/** Bytes that are kept in memory until they are on disk. */
const UNSYNCED = 32 << 20
/** Bytes after which it is kept how far the log is: no more than that is looked at by the next start. */
const MARK = 4 << 20
/** Milliseconds after which a disk that does not answer is one that fails. */
export const PATIENCE = 2_000
export const SILENT = 'the disk does not answer'

/**
 * @param left the log as it was left
 * @throws Error if its last file cannot be opened, or a first one not be made
 */
export function openWriter(
  folder: string,
  left: Pick<OpenedLog, 'segments' | 'looked'>,
  chain: Chain,
  { now, elapsed, fdatasync, signed, failed, onDisk, notOnDisk, replaced }: WriterPorts,
): Writer {
  const closed: ClosedFile[] = left.segments.slice(0, -1)
  const last = left.segments.at(-1)
  let current = last ? reopenFile(last, now()) : createFile(folder, chain.seq() + 1, now())
  let synced: Position = { segment: current.first, offset: current.bytes, seq: chain.seq() }
  const unsynced: Buffer[] = []
  let unsyncedBytes = 0
  /** bytes since it was last kept how far the log is, and of the last line */
  let unmarked = left.looked
  let lineBytes = 0
  let suspect = false
  let foreign = false
  let believed = true
  let syncing: { since: number; done: Promise<void> } | undefined

  /** How far the log is; undefined while there is little that the next start need not look at. */
  const mark = (target: Position): End | undefined => {
    const hash = chain.last()
    if (unmarked < MARK || hash === undefined || lineBytes === 0) return undefined
    unmarked = 0
    return { ...target, line: lineBytes, last: hash, parts: chain.parts(), signed: signed() }
  }
  const hasHead = (file: LogFile): boolean => {
    // What begins an empty file will.
    if (file.bytes === 0) return true
    try {
      file.head ??= headOf(file) !== undefined
    } catch {
      file.head = false
    }
    return file.head
  }
  const follow = (next: typeof current, bytes: number) => {
    const { first, path, fd } = current
    if (bytes > 0) closed.push({ first, path, bytes, since: now(), head: hasHead(current) })
    current = next
    synced = { segment: next.first, offset: 0, seq: synced.seq }
    letGo(fd)
  }
  /** What is not on disk, written once more to a new file. */
  const mend = () => {
    if (foreign) return
    try {
      ftruncateSync(current.fd, synced.offset)
      if (synced.offset === 0) rmSync(current.path, { force: true })
      const next = createFile(folder, synced.seq + 1, now())
      follow(next, synced.offset)
      const all = Buffer.concat(unsynced)
      for (let at = 0; at < all.length; ) at += writeSync(next.fd, all, at, all.length - at, at)
      next.bytes = all.length
      suspect = false
      replaced()
    } catch (failure) {
      failed((failure as Error).message)
    }
  }
  const toDisk = (): Promise<void> => {
    if (syncing) return syncing.done
    if (suspect) mend()
    if (suspect) notOnDisk()
    if (suspect || synced.seq === chain.seq()) return Promise.resolve()
    const target: Position = { segment: current.first, offset: current.bytes, seq: chain.seq() }
    const count = unsynced.length
    const end = mark(target)
    const done = new Promise<void>((resolve) => {
      fdatasync(current.fd, (failure) => {
        syncing = undefined
        if (failure) {
          // What of the file is on disk nobody knows now, and to ask again would be answered with yes.
          failed(failure.message)
          suspect = true
          believed = false
          notOnDisk()
        } else {
          for (const bytes of unsynced.splice(0, count)) unsyncedBytes -= bytes.length
          synced = target
          believed = true
          onDisk(end)
        }
        resolve()
      })
    })
    syncing = { since: elapsed(), done }
    return done
  }
  const answers = () => !syncing || elapsed() - syncing.since <= PATIENCE

  return {
    closed: () => closed,
    current: () => current,
    atHead: () => current.bytes === 0 && current.first > 1,
    hasHead,
    bytes: () => closed.reduce((sum, { bytes }) => sum + bytes, current.bytes),
    synced: () => synced,
    append(lines) {
      const { bytes, last: length, taken } = chain.link(lines)
      const begins = current.bytes === 0
      const written = appendTo(current, bytes)
      if (!written.ok) {
        failed(written.why)
        if (written.left === 'foreign') foreign = true
        if (written.left === 'part') suspect = true
        return false
      }
      taken()
      if (begins) current.head = true
      unsynced.push(bytes)
      unsyncedBytes += bytes.length
      unmarked += bytes.length
      lineBytes = length
      return true
    },
    beginFile: () => follow(createFile(folder, chain.seq() + 1, now()), current.bytes),
    toDisk,
    dropOldest() {
      const [oldest] = closed
      if (!oldest) return
      rmSync(oldest.path, { force: true })
      closed.shift()
    },
    foreign: () => foreign,
    suspect: () => suspect,
    failing: () => suspect || !believed,
    answers,
    slow() {
      if (unsyncedBytes > UNSYNCED) return 'the disk is too slow'
      return answers() ? undefined : SILENT
    },
    close: () => letGo(current.fd),
  }
}

/** It is closed whatever comes of that (close(2)), and what of it is not on disk is known. */
function letGo(fd: number): void {
  try {
    closeSync(fd)
  } catch {}
}
