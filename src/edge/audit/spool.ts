import { existsSync, fdatasync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { createChain } from '../../log/chain.ts'
import type { OpenLine } from '../../log/event.ts'
import type { JsonObject } from '../../mcp/strict-json.ts'
import type { Keep } from '../../pep/ports.ts'
import { createAwaitingDisk } from './awaiting-disk.ts'
import { keepEnd } from './end.ts'
import { replaceFileLater } from './files.ts'
import { takeLock } from './lock.ts'
import { countLosses } from './losses.ts'
import { CHECKPOINT, checkpointIn, openLog } from './open.ts'
import { createOwnLines } from './own-lines.ts'
import { type LogView, type OpenReader, openReader, type SinkReader } from './reader.ts'
import { createReserve } from './reserve.ts'
import { createRetention } from './retention.ts'
import { createGauge, type Room, roomOf } from './room.ts'
import { createRotation } from './rotation.ts'
import { createSigning } from './signing.ts'
import { openWriter, PATIENCE, SILENT } from './writer.ts'

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
const LOCK = 'decisions.lock'

type Waiting = { line: OpenLine; keep: Keep; done: (durable: boolean) => void }

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
  const { folder, maxBytes, reserveBytes, maxAge, whenFull } = settings
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

  let error: string | undefined
  const failed = (why: string) => {
    error = why
  }
  const chain = createChain(log.tree)
  const signing = createSigning(
    chain,
    sign && ((size, root) => sign(log.id, size, root)),
    settings.checkpointEvery,
    now,
    checkpointIn(folder),
  )
  const writer = openWriter(folder, log, chain, {
    now,
    elapsed,
    fdatasync: sync,
    signed: signing.newest,
    failed,
    onDisk(end) {
      const { seq } = writer.synced()
      durable.reached(seq)
      for (const listener of listeners) listener()
      // Beside the log too, once what it is of is on disk.
      const note = signing.ready(seq)
      if (note !== undefined) keep(() => replaceFileLater(join(folder, CHECKPOINT), note))
      if (end) keep(() => keepEnd(folder, end))
      if (durable.any()) void writer.toDisk()
    },
    notOnDisk() {
      if (durable.any()) losses.refuse(error ?? '')
      durable.refuseAll()
    },
    replaced: () => own.notice('lifecycle', { code: 'segment_replaced', why: error ?? '' }),
  })
  const rotation = createRotation(writer, chain, settings, { now, elapsed }, { failed, over: () => flush() })
  const losses = countLosses(now, told)
  const own = createOwnLines(say, told, signing, losses)
  for (const [event, { cause }] of log.notices) own.notice(event, cause)
  const durable = createAwaitingDisk(PATIENCE, elapsed)
  let keeping: Promise<void> = Promise.resolve()
  const keep = (write: () => Promise<void>) => {
    keeping = keeping.then(write).catch((failure: Error) => failed(failure.message))
  }

  /** what came in this turn */
  let group: Waiting[] = []
  const readers: OpenReader[] = []
  const listeners = new Set<() => void>()
  const limit = maxBytes - reserveBytes
  const retention = createRetention(writer, readers, { limit, maxAge, whenFull }, now, {
    failed,
    notice: own.notice,
  })
  const gauge = createGauge(
    folder,
    (free) => roomOf([...writer.closed(), writer.current()], retention.passed(), limit, free),
    elapsed,
  )
  let closing = false
  let over = false

  /** Why nothing may be done on a `required` line now. */
  const trouble = (bytes: number): string | undefined => {
    if (writer.foreign()) return `another process writes ${writer.current().path}`
    if (writer.failing()) return error ?? 'the disk failed'
    if (!reserve.there()) return error ?? 'the disk is full'
    if (writer.bytes() + bytes > limit) return 'the spool is full (buffer.max_bytes)'
    return writer.slow()
  }
  const write = (entries: Waiting[]): boolean => {
    if (writer.suspect() || writer.foreign()) return false
    const { lines: first, written } = own.next(writer.atHead(), trouble(0) === undefined, closing)
    const lines = [...first, ...entries.map(({ line }) => line)]
    if (lines.length === 0) return true
    const bytes = lines.reduce((sum, line) => sum + line.length, 0)
    if (writer.bytes() + bytes > maxBytes || !writer.append(lines)) return false
    written()
    return true
  }
  /** One write for all that came in this turn. */
  const flush = () => {
    // They wait for the next file.
    if (rotation.underWay()) return
    if (rotation.due()) return rotation.begin()
    const taken = group
    group = []
    const size = taken.reduce((sum, { line }) => sum + line.length, 0)
    if (!reserve.there()) restore(size)
    if (writer.bytes() + size > limit) retention.prune(size)
    const why = trouble(size)
    if (why === undefined) error = undefined
    else if (why !== error) {
      error = why
      if (!writer.suspect() && !writer.foreign()) own.remark({ code: 'records_refused', why })
    }
    let fits = why === undefined ? taken : taken.filter(({ keep }) => keep === 'reserve')
    let written = write(fits)
    if (!written && why === undefined) {
      // The room that was set aside is for those that record what is refused from here on.
      reserve.spend()
      own.remark({ code: 'records_refused', why: error ?? '' })
      fits = taken.filter(({ keep }) => keep === 'reserve')
      written = write(fits)
    }
    const there = new Set(written ? fits : [])
    const onDisk = settings.durability === 'disk'
    for (const entry of taken) {
      if (!there.has(entry)) losses.lose(entry.keep, error ?? '')
      if (there.has(entry) && entry.keep === 'required' && onDisk) durable.add(chain.seq(), entry.done)
      else entry.done(there.has(entry))
    }
    if ([...there].some(({ keep }) => keep === 'required')) losses.taken()
    if (onDisk) void writer.toDisk()
  }
  const restore = (more: number) => {
    try {
      reserve.restore(more)
    } catch (failure) {
      failed((failure as Error).message)
    }
  }

  const tick = () => {
    if (over) return
    if (durable.overdue()) {
      error = SILENT
      losses.refuse(error)
      durable.refuseOverdue()
    }
    if (!writer.answers()) rotation.giveUp()
    retention.prune()
    const change = gauge.look()
    if (change) own.notice('lifecycle', change)
    // A word of the spool's own, an answer to a disk that has room again, a file that is old, or what waited for the next.
    const sign = signing.due(closing) && trouble(0) === undefined
    if (own.any() || error !== undefined || rotation.due() || sign || group.length > 0) flush()
    void writer.toDisk()
  }
  const timer = setInterval(tick, SYNC_MS)
  timer.unref()
  restore(0)

  const view: LogView = {
    folder,
    segments() {
      const { first, path } = writer.current()
      const { segment, offset } = writer.synced()
      return [...writer.closed(), { first, path, bytes: segment === first ? offset : 0 }]
    },
    synced: writer.synced,
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
      if (opened.lost) own.notice('gap', { code: 'records_not_delivered', sink: name, ...opened.lost })
      return opened.reader
    },
    state: () => ({
      seq: chain.seq(),
      synced: writer.synced().seq,
      lost: losses.count(),
      lostEver: losses.ever(),
      error,
      warning: gauge.warning(),
      room: gauge.room(),
      bytes: writer.bytes(),
      maxBytes,
      oldest: (writer.closed()[0] ?? writer.current()).first,
      readers: readers.map(({ reader }) => reader),
    }),
    retain: retention.begin,
    async close() {
      if (over) return
      await new Promise<void>((resolve) => setImmediate(resolve))
      flush()
      closing = true
      flush()
      while (rotation.underWay()) await new Promise<void>((resolve) => setTimeout(resolve, 1))
      const until = elapsed() + PATIENCE
      const lost = () => writer.suspect() && writer.foreign()
      while (writer.synced().seq < chain.seq() && !lost() && elapsed() < until) {
        await patiently(writer.toDisk())
        // A disk that failed is asked again: nobody else has what it did not take.
        if (writer.suspect()) await new Promise<void>((resolve) => setTimeout(resolve, SYNC_MS))
      }
      clearInterval(timer)
      rotation.giveUp()
      await patiently(keeping)
      over = true
      // A disk that is silent to the end.
      durable.refuseAll()
      for (const { done } of group.splice(0)) done(false)
      for (const listener of [...listeners]) listener()
      writer.close()
      reserve.remove()
      unlock()
    },
  }
}

/** A disk that does not answer must not keep the process from its end. */
const patiently = (work: Promise<void>): Promise<unknown> =>
  Promise.race([work, new Promise((resolve) => setTimeout(resolve, PATIENCE).unref())])
