import {
  closeSync,
  existsSync,
  fdatasync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { finishLine, type OpenLine } from '../../log/event.ts'
import { takeLock } from './lock.ts'

/** The record of truth: one file of JSON lines, written before what it records takes effect. */
export type Spool = {
  path: string
  /** true once the line is with the kernel; it is on disk within `SYNC_MS` */
  record: (line: OpenLine) => Promise<boolean>
  /** called after bytes were appended */
  onAppend: (listener: () => void) => void
  state: () => { seq: number; lost: number; error: string | undefined }
  /** bytes of a torn last line that were cut at the start */
  torn: number
  close: () => Promise<void>
}

const SYNC_MS = 100
const FILE = 'decisions.jsonl'
const LOCK = 'decisions.lock'

/**
 * @param folder made if only itself is missing; readable by the owner only
 * @param gap the record of lines that could not be written, before the next one that can
 * @throws Error if the folder cannot be written, or another process writes it
 */
export function openSpool(folder: string, gap: (lost: number) => OpenLine): Spool {
  // One level only: a path whose parent is missing is more often a slip, or a volume that is not mounted.
  if (!existsSync(folder)) mkdirSync(folder, { mode: 0o700 })
  // Two writers would number their lines alike and cut each other's.
  const unlock = takeLock(join(folder, LOCK))
  const path = join(folder, FILE)
  const fd = openSync(path, 'a+', 0o600)
  const whole = wholeLength(fd)
  const torn = fstatSync(fd).size - whole
  if (torn > 0) ftruncateSync(fd, whole)

  let seq = 0
  let lost = 0
  let error: string | undefined
  let group: { line: OpenLine; done: (durable: boolean) => void }[] = []
  let dirty = false
  /** the end of the file is not the end of a line */
  let broken = false
  const listeners: (() => void)[] = []

  /** One write for all that came in this turn. A write that fails leaves no part of a line. */
  const flush = () => {
    const taken = group
    group = []
    let next = seq
    const lines =
      lost > 0 ? [gap(lost), ...taken.map((entry) => entry.line)] : taken.map((entry) => entry.line)
    const text = lines.map((line) => finishLine(line, ++next)).join('')
    const bytes = Buffer.from(broken ? `\n${text}` : text, 'utf8')
    let before = 0
    let at = 0
    try {
      before = fstatSync(fd).size
      while (at < bytes.length) at += writeSync(fd, bytes, at)
      seq = next
      lost = 0
      error = undefined
      dirty = true
      broken = false
    } catch (failure) {
      error = (failure as Error).message
      lost += taken.length
      if (at > 0 && !undo(fd, before, at)) broken = true
    }
    for (const entry of taken) entry.done(error === undefined)
    if (error === undefined) for (const listener of listeners) listener()
  }

  const sync = () =>
    new Promise<void>((resolve) => {
      if (!dirty) return resolve()
      dirty = false
      fdatasync(fd, (failure) => {
        if (failure) error = failure.message
        resolve()
      })
    })
  const timer = setInterval(() => void sync(), SYNC_MS)
  timer.unref()

  return {
    path,
    torn,
    record: (line) =>
      new Promise((done) => {
        if (group.push({ line, done }) === 1) queueMicrotask(flush)
      }),
    onAppend: (listener) => void listeners.push(listener),
    state: () => ({ seq, lost, error }),
    async close() {
      clearInterval(timer)
      await new Promise<void>((resolve) => setImmediate(resolve))
      await sync()
      closeSync(fd)
      unlock()
    },
  }
}

/** Cuts what a failed write left; not if the file has grown or shrunk otherwise, as that is not ours to cut. */
function undo(fd: number, before: number, written: number): boolean {
  try {
    if (fstatSync(fd).size !== before + written) return false
    ftruncateSync(fd, before)
    return true
  } catch {
    return false
  }
}

/** Bytes up to and with the last line end. */
function wholeLength(fd: number): number {
  const { size } = fstatSync(fd)
  const chunk = Buffer.alloc(64 << 10)
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - chunk.length)
    const read = readSync(fd, chunk, 0, end - start, start)
    const newline = chunk.subarray(0, read).lastIndexOf(0x0a)
    if (newline >= 0) return start + newline + 1
    end = start
  }
  return 0
}
