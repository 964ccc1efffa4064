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
