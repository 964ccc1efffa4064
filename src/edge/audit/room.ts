import { statfsSync } from 'node:fs'

/** How full a spool is. What every sink has passed may be deleted, and fills nothing. */
export type Room = {
  /** bytes that must be kept: from the oldest file on that a sink has not passed */
  held: number
  /** bytes that may still come before something is refused, or dropped */
  left: number
}

/**
 * @param files oldest first, with the number of their first line
 * @param passed the last line that every sink has passed
 * @param limit of the bytes of all files
 * @param free bytes of the disk; a disk that is smaller than the limit is full before anything is deleted for it
 */
export function roomOf(
  files: { first: number; bytes: number }[],
  passed: number,
  limit: number,
  free: number,
): Room {
  let [total, held] = [0, 0]
  files.forEach(({ bytes }, at) => {
    const next = files[at + 1]
    total += bytes
    if (next === undefined || next.first - 1 > passed) held += bytes
  })
  return { held, left: Math.max(0, total + free >= limit ? limit - held : free) }
}

/** Bytes that are free on the disk of a folder, for those who are not its administrator. */
export function freeAt(folder: string): number {
  try {
    const { bavail, bsize } = statfsSync(folder)
    return bavail * bsize
  } catch {
    return 0
  }
}

/** Shares at which an operator is told that it fills, and that it no longer does. */
const [HIGH, LOW] = [0.8, 0.7]

export const percentOf = ({ held, left }: Room): number =>
  held + left === 0 ? 100 : Math.round((100 * held) / (held + left))

/** Whether it fills; one that did does until it is well below. */
export const isFilling = (room: Room, before: boolean): boolean =>
  percentOf(room) >= 100 * (before ? LOW : HIGH)

/** How full a spool is, as an operator is told. */
export type Gauge = {
  room: () => Room
  /** what is to be seen to */
  warning: () => string | undefined
  /** Looks again; what is to be said of it, once when it begins to fill and once when it no longer does. */
  look: () => { code: 'spool_filling' | 'spool_draining'; percent: number } | undefined
}

/** Milliseconds between two looks at how much of the disk is free. */
const LOOK_MS = 1_000

/**
 * @param measure gives the room, by the bytes that are free on the disk
 * @param elapsed milliseconds on a clock that nobody sets
 */
export function createGauge(folder: string, measure: (free: number) => Room, elapsed: () => number): Gauge {
  let free = { at: elapsed(), bytes: freeAt(folder) }
  let filling = false
  const room = () => measure(free.bytes)
  return {
    room,
    warning: () => (filling ? `the spool is ${percentOf(room())} % full` : undefined),
    look() {
      if (elapsed() - free.at >= LOOK_MS) free = { at: elapsed(), bytes: freeAt(folder) }
      if (isFilling(room(), filling) === filling) return undefined
      filling = !filling
      return { code: filling ? 'spool_filling' : 'spool_draining', percent: percentOf(room()) }
    },
  }
}
