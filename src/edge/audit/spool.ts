import {
  closeSync,
  existsSync,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { finishLine, type OpenLine } from '../../log/event.ts'
import { createTree, leafHash } from '../../log/merkle.ts'
import type { JsonObject } from '../../mcp/strict-json.ts'
import type { Keep } from '../../pep/ports.ts'
import { type End, keepEnd } from './end.ts'
import { replaceFileLater, syncFolder } from './files.ts'
import { takeLock } from './lock.ts'
import { CHECKPOINT, checkpointIn, openLog } from './open.ts'
import { type LogView, type OpenReader, openReader, type Position, type SinkReader } from './reader.ts'
import { createReserve } from './reserve.ts'
import { freeAt, isFilling, percentOf, type Room, roomOf } from './room.ts'
import { segmentName } from './segments.ts'

/** The record of truth: files of JSON lines, written before what they record takes effect. */
export type Spool = {
  /** of the log in the folder; with `seq` it names a line for good */
  id: string
  /**
   * True once the line is as durable as is asked for: with the kernel (`process`), or on disk (`disk`, for what is
   * `required`). A `required` line that is refused may be on disk all the same; nothing may be done on it.
   */
  record: (line: OpenLine, keep: Keep) => Promise<boolean>
  /** @param start where one begins that was never here before */
  reader: (name: string, start?: 'oldest' | 'newest') => SinkReader
  /** Begins to delete what is old and passed: to be called when every reader is open. */
  retain: () => void
  state: () => SpoolState
  close: () => Promise<void>
}

export type SpoolState = {
  seq: number
  /** the last line that is on disk */
  synced: number
  /** lines that could not be written since the last that could */
  lost: number
  /** lines that could not be written since the start */
  lostEver: number
  /** why `required` lines are refused */
  error: string | undefined
  /** what is to be seen to before they are */
  warning: string | undefined
  bytes: number
  maxBytes: number
  room: Room
  oldest: number
  readers: SinkReader[]
}

export type SpoolSettings = {
  folder: string
  durability: 'process' | 'disk'
  maxBytes: number
  segmentBytes: number
  /** milliseconds after which a file is closed, and after which one that every sink has passed is deleted */
  segmentAge: number
  maxAge: number
  reserveBytes: number
  whenFull: 'refuse' | 'drop_oldest'
  /** milliseconds between signed checkpoints, where lines came */
  checkpointEvery: number
}

export type SpoolPorts = {
  /** a line of the spool's own */
  say: (event: 'gap' | 'lifecycle' | 'checkpoint', more: JsonObject) => OpenLine
  /** milliseconds since the epoch */
  now: () => number
  newId: () => string
  /** milliseconds on a clock that nobody sets */
  elapsed?: () => number
  /** a signed checkpoint of the log with this id; without it there are only those at the start of each file, unsigned */
  sign?: ((id: string, size: number, root: Buffer) => string) | undefined
  /** told once of what goes into the log on the spool's own account, and when `required` lines are refused and taken again */
  told?: (cause: JsonObject & { code: string }) => void
  fdatasync?: (fd: number, done: (failure: Error | null) => void) => void
}

/** Milliseconds within which what the kernel has is on disk. */
const SYNC_MS = 100
/** Milliseconds after which a disk that does not answer is one that fails. */
const PATIENCE = 2_000
/** Bytes that are kept in memory until they are on disk. */
const UNSYNCED = 32 << 20
/** Bytes after which it is kept how far the log is: no more than that is looked at by the next start. */
const MARK = 4 << 20
/** Milliseconds until it is tried again to begin a file. */
const ROTATE_AGAIN = 5_000
const LOCK = 'decisions.lock'
/** Milliseconds between two looks at how much of the disk is free. */
const LOOK_MS = 1_000

type Notice = [event: 'gap' | 'lifecycle', more: { cause: JsonObject & { code: string } }]
type Waiting = { line: OpenLine; keep: Keep; done: (durable: boolean) => void }
type Closed = { first: number; path: string; bytes: number; since: number }
type Open = { first: number; path: string; fd: number; bytes: number; opened: number }

/**
 * @throws Error if the folder cannot be written, or another process writes it
 */
export function openSpool(
  settings: SpoolSettings,
  {
    say,
    now,
    newId,
    elapsed = () => performance.now(),
    sign,
    told = () => undefined,
    fdatasync: sync = fdatasync,
  }: SpoolPorts,
): Spool {
  const { folder, maxBytes, segmentBytes, reserveBytes } = settings
  // One level only: a path whose parent is missing is more often a slip, or a volume that is not mounted.
  if (!existsSync(folder)) mkdirSync(folder, { mode: 0o700 })
  // Two writers would number their lines alike and cut each other's.
  const unlock = takeLock(join(folder, LOCK))
  const reserve = createReserve(join(folder, 'reserve'), reserveBytes)
  const log = (() => {
    try {
      return openLog(folder, newId)
    } catch (error) {
      unlock()
      throw error
    }
  })()
  const tree = createTree(log.tree.size, log.tree.parts)
  let seq = log.tree.size
  let prev = log.tree.last
  let signed = { at: now(), size: log.tree.size }
  /** the newest checkpoint that was signed */
  let newest: End['signed'] = checkpointIn(folder)
  /** bytes since it was last kept how far the log is, and of the last line */
  let unmarked = log.looked
  let lineBytes = 0
  /** signed checkpoints that are not on disk yet */
  let notes: { seq: number; note: string }[] = []
  let keeping: Promise<void> = Promise.resolve()
  /** files before the one that is written */
  const closed: Closed[] = log.segments.slice(0, -1)
  const last = log.segments.at(-1)
  let current: Open = last ? reopen(last, now()) : create(folder, seq + 1, now())
  let synced: Position = { segment: current.first, offset: current.bytes, seq }
  const unsynced: Buffer[] = []
  let unsyncedBytes = 0

  let group: Waiting[] = []
  let durable: { seq: number; since: number; done: (durable: boolean) => void }[] = []
  const readers: OpenReader[] = []
  const listeners = new Set<() => void>()
  const notices: Notice[] = []
  const notice = (event: Notice[0], cause: JsonObject & { code: string }) => {
    notices.push([event, { cause }])
    told(cause)
  }
  for (const [event, { cause }] of log.notices) notice(event, cause)
  let lost: { required: number; other: number; since: number; why: string } | undefined
  let error: string | undefined
  /** the file cannot be believed: what is not on disk of it is written to a new one before anything else */
  let suspect = false
  /** another process writes the file: nothing of it is ours to mend */
  let foreign = false
  let syncing: { since: number; done: Promise<void> } | undefined
  /** whether the last attempt to bring lines to the disk did */
  let believed = true
  /** one attempt to begin a new file; lines wait for it */
  let rotating: object | undefined
  let rotateFrom = 0
  let retaining = false
  let over = false
  let lostEver = 0
  let refused = false
  let filling = false
  let free = { at: elapsed(), bytes: freeAt(folder) }

  const closedBytes = () => closed.reduce((sum, { bytes }) => sum + bytes, 0)
  const total = () => closedBytes() + current.bytes

  /** Why nothing may be done on a `required` line now. */
  const trouble = (bytes: number): string | undefined => {
    if (foreign) return `another process writes ${current.path}`
    if (suspect || !believed) return error ?? 'the disk failed'
    if (!reserve.there()) return error ?? 'the disk is full'
    if (total() + bytes > maxBytes - reserveBytes) return 'the spool is full (buffer.max_bytes)'
    if (unsyncedBytes > UNSYNCED) return 'the disk is too slow'
    if (syncing && elapsed() - syncing.since > PATIENCE) return 'the disk does not answer'
    return undefined
  }

  /** One write; one that fails leaves no part of a line. */
  const put = (lines: OpenLine[]): boolean => {
    let next = seq
    let before = prev
    const leaves: Buffer[] = []
    const texts = lines.map((line) => {
      const text = Buffer.from(finishLine(line, ++next, before), 'utf8')
      before = leafHash(text.subarray(0, -1))
      leaves.push(before)
      return text
    })
    const bytes = Buffer.concat(texts)
    let at = 0
    try {
      if (fstatSync(current.fd).size !== current.bytes) {
        foreign = true
        throw new Error(`another process writes ${current.path}`)
      }
      while (at < bytes.length) at += writeSync(current.fd, bytes, at, bytes.length - at, current.bytes + at)
    } catch (failure) {
      error = (failure as Error).message
      if (at > 0) suspect = !cut(current)
      return false
    }
    seq = next
    current.bytes += bytes.length
    unsynced.push(bytes)
    unsyncedBytes += bytes.length
    unmarked += bytes.length
    lineBytes = texts.at(-1)?.length ?? lineBytes
    for (const leaf of leaves) tree.append(leaf)
    prev = before
    return true
  }

  let closing = false
  const dueToSign = () =>
    sign !== undefined &&
    tree.size() > signed.size &&
    (closing || now() - signed.at >= settings.checkpointEvery) &&
    trouble(0) === undefined
  const checkpoint = (more: JsonObject = {}): OpenLine => {
    const root = tree.root()
    const note = sign?.(log.id, tree.size(), root)
    if (note !== undefined) {
      notes = [...notes, { seq: seq + 1, note }]
      newest = { size: tree.size(), root }
      // The line of a checkpoint alone is none that needs another.
      signed = { at: now(), size: tree.size() + 1 }
    }
    return say('checkpoint', {
      tree: { size: tree.size(), root: root.toString('base64'), ...more },
      ...(note !== undefined && { note }),
    })
  }
  /** Beside the log too, once what it is of is on disk. */
  const keepNote = () => {
    const ready = notes.findLast((entry) => entry.seq <= synced.seq)
    if (!ready) return
    notes = notes.filter((entry) => entry.seq > synced.seq)
    keep(() => replaceFileLater(join(folder, CHECKPOINT), ready.note))
  }
  const keep = (write: () => Promise<void>) => {
    keeping = keeping.then(write).catch((failure: Error) => {
      error = failure.message
    })
  }
  /** How far the log is; undefined while there is little that the next start need not look at. */
  const mark = (target: Position): End | undefined => {
    if (unmarked < MARK || prev === undefined || lineBytes === 0) return undefined
    unmarked = 0
    return { ...target, line: lineBytes, last: prev, parts: tree.parts(), signed: newest }
  }

  const own = (): OpenLine[] => {
    // First: it is of the lines that are there already.
    const head = dueToSign() ? [checkpoint()] : []
    const lines = notices.splice(0).map(([event, more]) => say(event, more))
    if (lost && trouble(0) === undefined) {
      const { required, other, since, why } = lost
      lines.push(
        say('gap', {
          cause: {
            code: 'records_lost',
            lost: required + other,
            required,
            since: new Date(since).toISOString(),
            until: new Date(now()).toISOString(),
            why,
          },
        }),
      )
      lost = undefined
    }
    return [...head, ...lines]
  }
  const refuse = () => {
    if (!refused) told({ code: 'records_refused', why: error ?? '' })
    refused = true
  }
  const lose = ({ keep }: Waiting) => {
    lost ??= { required: 0, other: 0, since: now(), why: error ?? '' }
    lost[keep === 'required' ? 'required' : 'other']++
    lostEver++
    if (keep === 'required') refuse()
  }

  /** One write for all that came in this turn. */
  const flush = () => {
    // They wait for the next file.
    if (rotating) return
    if (dueToRotate()) return void rotate()
    const taken = group
    group = []
    const size = taken.reduce((sum, { line }) => sum + line.length, 0)
    if (!reserve.there()) restore(size)
    if (total() + size > maxBytes - reserveBytes) prune(size)
    const why = trouble(size)
    if (why === undefined) error = undefined
    else if (why !== error) {
      error = why
      if (!suspect && !foreign) notices.push(['lifecycle', { cause: { code: 'records_refused', why } }])
    }
    let fits = why === undefined ? taken : taken.filter(({ keep }) => keep === 'reserve')
    let written = write(fits)
    if (!written && why === undefined) {
      // The room that was set aside is for those that record what is refused from here on.
      reserve.spend()
      notices.push(['lifecycle', { cause: { code: 'records_refused', why: error ?? '' } }])
      fits = taken.filter(({ keep }) => keep === 'reserve')
      written = write(fits)
    }
    const there = new Set(written ? fits : [])
    for (const entry of taken) {
      if (!there.has(entry)) lose(entry)
      if (there.has(entry) && entry.keep === 'required' && settings.durability === 'disk')
        durable.push({ seq, since: elapsed(), done: entry.done })
      else entry.done(there.has(entry))
    }
    if (refused && [...there].some(({ keep }) => keep === 'required')) {
      refused = false
      told({ code: 'records_taken_again' })
    }
    if (settings.durability === 'disk') void bringToDisk()
  }
  const write = (entries: Waiting[]): boolean => {
    if (suspect || foreign) return false
    const before = { notices: [...notices], lost, notes, signed, newest }
    const lines = [...own(), ...entries.map(({ line }) => line)]
    if (lines.length === 0) return true
    const bytes = lines.reduce((sum, line) => sum + line.length, 0)
    if (total() + bytes <= maxBytes && put(lines)) {
      if (before.lost && !lost)
        told({ code: 'records_lost', lost: before.lost.required + before.lost.other, why: before.lost.why })
      return true
    }
    notices.splice(0, notices.length, ...before.notices)
    ;({ lost, notes, signed, newest } = before)
    return false
  }
  const restore = (more: number) => {
    try {
      reserve.restore(more)
    } catch (failure) {
      error = (failure as Error).message
    }
  }

  const dueToRotate = () =>
    !suspect &&
    !foreign &&
    // More than the line that each begins with.
    seq > current.first &&
    elapsed() >= rotateFrom &&
    (current.bytes >= segmentBytes || now() - current.opened >= settings.segmentAge)

  /** A file is whole on disk before the next is begun, so that a hole between two is never an accident. */
  const rotate = async () => {
    const attempt = {}
    rotating = attempt
    while (synced.seq < seq && !suspect) {
      await bringToDisk()
      if (rotating !== attempt) return
    }
    try {
      if (!suspect) beginFile()
    } catch (failure) {
      error = (failure as Error).message
      rotateFrom = elapsed() + ROTATE_AGAIN
    }
    rotating = undefined
    flush()
  }
  const beginFile = () => {
    const next = create(folder, seq + 1, now())
    closeSync(current.fd)
    closed.push({ first: current.first, path: current.path, bytes: current.bytes, since: now() })
    current = next
    synced = { segment: next.first, offset: 0, seq }
    // The file can be checked without those before it, which will be deleted one day.
    put([checkpoint({ parts: tree.parts().map((part) => part.toString('base64')) })])
  }

  const bringToDisk = (): Promise<void> => {
    if (syncing) return syncing.done
    if (suspect) mend()
    if (suspect) refuseWaiting()
    if (suspect || synced.seq === seq) return Promise.resolve()
    const target: Position = { segment: current.first, offset: current.bytes, seq }
    const count = unsynced.length
    const end = mark(target)
    const done = new Promise<void>((resolve) => {
      sync(current.fd, (failure) => {
        syncing = undefined
        if (failure) {
          // What of the file is on disk nobody knows now, and to ask again would be answered with yes.
          error = failure.message
          suspect = true
          believed = false
          refuseWaiting()
        } else {
          for (const bytes of unsynced.splice(0, count)) unsyncedBytes -= bytes.length
          synced = target
          believed = true
          const ready = durable.filter((entry) => entry.seq <= target.seq)
          durable = durable.filter((entry) => entry.seq > target.seq)
          for (const entry of ready) entry.done(true)
          for (const listener of listeners) listener()
          keepNote()
          if (end) keep(() => keepEnd(folder, end))
        }
        resolve()
        if (!suspect && settings.durability === 'disk' && durable.length > 0) void bringToDisk()
      })
    })
    syncing = { since: elapsed(), done }
    return done
  }
  /** Refuses those that wait for a disk that fails. */
  const refuseWaiting = () => {
    if (durable.length > 0) refuse()
    for (const entry of durable.splice(0)) entry.done(false)
  }
  /** What is not on disk, written once more to a new file. */
  const mend = () => {
    if (foreign) return
    try {
      ftruncateSync(current.fd, synced.offset)
      const { path, first, fd } = current
      const empty = synced.offset === 0
      if (empty) rmSync(path)
      const next = create(folder, synced.seq + 1, now())
      closeSync(fd)
      if (!empty) closed.push({ path, first, bytes: synced.offset, since: now() })
      current = next
      synced = { segment: next.first, offset: 0, seq: synced.seq }
      const all = Buffer.concat(unsynced)
      for (let at = 0; at < all.length; ) at += writeSync(next.fd, all, at, all.length - at, at)
      next.bytes = all.length
      suspect = false
      notice('lifecycle', { code: 'segment_replaced', why: error ?? '' })
    } catch (failure) {
      error = (failure as Error).message
    }
  }

  /** Deletes files that every sink has passed and that are too old, or too many; others only if that is what is wanted. */
  const prune = (more = 0) => {
    if (!retaining) return
    const limit = maxBytes - reserveBytes
    const done = passed()
    for (let oldest = closed[0]; oldest; oldest = closed[0]) {
      const end = (closed[1]?.first ?? current.first) - 1
      const old = now() - oldest.since >= settings.maxAge
      const full = total() + more > limit
      const force = full && settings.whenFull === 'drop_oldest'
      if (!(done >= end ? old || full : force)) return
      try {
        rmSync(oldest.path, { force: true })
      } catch (failure) {
        error = (failure as Error).message
        return
      }
      closed.shift()
      const why = full ? 'max_bytes' : 'max_age'
      notice('lifecycle', { code: 'segment_deleted', from: oldest.first, to: end, why })
      for (const { reader, skip } of readers) {
        const gone = skip(end)
        if (gone) notice('gap', { code: 'records_not_delivered', sink: reader.name, ...gone })
      }
    }
  }
  const passed = () => Math.min(...readers.map(({ reader }) => reader.position().seq), synced.seq)
  const room = () => roomOf([...closed, current], passed(), maxBytes - reserveBytes, free.bytes)
  const watch = () => {
    if (elapsed() - free.at >= LOOK_MS) free = { at: elapsed(), bytes: freeAt(folder) }
    if (isFilling(room(), filling) === filling) return
    filling = !filling
    notice('lifecycle', { code: filling ? 'spool_filling' : 'spool_draining', percent: percentOf(room()) })
  }

  const tick = () => {
    if (over) return
    const overdue = durable.filter(({ since }) => elapsed() - since > PATIENCE)
    if (overdue.length > 0) {
      durable = durable.filter((entry) => !overdue.includes(entry))
      error = 'the disk does not answer'
      refuse()
      for (const entry of overdue) entry.done(false)
    }
    if (rotating && syncing && elapsed() - syncing.since > PATIENCE) {
      rotating = undefined
      rotateFrom = elapsed() + ROTATE_AGAIN
    }
    prune()
    watch()
    // A word of the spool's own, an answer to a disk that has room again, or a file that is old.
    if (notices.length > 0 || lost || error !== undefined || dueToRotate() || dueToSign()) flush()
    void bringToDisk()
  }
  const timer = setInterval(tick, SYNC_MS)
  timer.unref()
  restore(0)

  const view: LogView = {
    folder,
    segments: () => [
      ...closed,
      {
        first: current.first,
        path: current.path,
        bytes: synced.segment === current.first ? synced.offset : 0,
      },
    ],
    synced: () => synced,
    closed: () => over,
    listen(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
  return {
    id: log.id,
    record: (line, keep) =>
      new Promise((done) => {
        if (over) done(false)
        else if (group.push({ line, keep, done }) === 1) queueMicrotask(flush)
      }),
    reader(name, start = 'oldest') {
      const opened = openReader(view, name, start, now)
      readers.push(opened)
      if (opened.lost) notice('gap', { code: 'records_not_delivered', sink: name, ...opened.lost })
      return opened.reader
    },
    state: () => ({
      seq,
      synced: synced.seq,
      lost: lost ? lost.required + lost.other : 0,
      lostEver,
      error,
      warning: filling ? `the spool is ${percentOf(room())} % full` : undefined,
      room: room(),
      bytes: total(),
      maxBytes,
      oldest: closed[0]?.first ?? current.first,
      readers: readers.map(({ reader }) => reader),
    }),
    retain() {
      retaining = true
    },
    async close() {
      if (over) return
      await new Promise<void>((resolve) => setImmediate(resolve))
      flush()
      closing = true
      flush()
      while (rotating) await new Promise<void>((resolve) => setTimeout(resolve, 1))
      const until = elapsed() + PATIENCE
      while (synced.seq < seq && !suspect && elapsed() < until)
        await Promise.race([bringToDisk(), new Promise((resolve) => setTimeout(resolve, PATIENCE).unref())])
      clearInterval(timer)
      await keeping
      over = true
      for (const listener of [...listeners]) listener()
      closeSync(current.fd)
      reserve.remove()
      unlock()
    },
  }
}

function reopen(
  { first, path, bytes }: { first: number; path: string; bytes: number },
  opened: number,
): Open {
  const fd = openSync(path, 'r+')
  // Of a write that was broken off.
  if (fstatSync(fd).size > bytes) ftruncateSync(fd, bytes)
  // A process that was killed left its last lines with the kernel.
  fdatasyncSync(fd)
  return { first, path, fd, bytes, opened }
}

function create(folder: string, first: number, opened: number): Open {
  const path = join(folder, segmentName(first))
  const fd = openSync(path, 'wx+', 0o600)
  syncFolder(folder)
  return { first, path, fd, bytes: 0, opened }
}

/** Cuts what a failed write left. */
function cut({ fd, bytes }: Open): boolean {
  try {
    ftruncateSync(fd, bytes)
    return true
  } catch {
    return false
  }
}
