import { readFileSync, rmSync } from 'node:fs'
import type { Tally } from '../../pep/ports.ts'
import { replaceFileLater } from './files.ts'

/** What was counted and is not recorded yet, from when to when, in milliseconds since the epoch. */
export type Counted = { since: number; until: number; counts: { tally: Tally; count: number }[] }

/** Counts that outlive the process that made them. */
export type KeptCounts = {
  /** of a process that could not record them any more */
  left: Counted | undefined
  keep: (counted: Counted) => Promise<void>
  /** they are recorded */
  clear: () => Promise<void>
}

/** @param path of a file that is there only while there is something in it */
export function openCounts(path: string): KeptCounts {
  // One after the other: what is cleared must not come back by a write that was slower.
  let last: Promise<void> = Promise.resolve()
  const after = (next: () => Promise<void> | void) => {
    last = last.then(next).catch(() => undefined)
    return last
  }
  return {
    left: read(path),
    keep: (counted) => after(() => replaceFileLater(path, `${JSON.stringify(counted)}\n`)),
    clear: () => after(() => rmSync(path, { force: true })),
  }
}

function read(path: string): Counted | undefined {
  try {
    const { since, until, counts } = JSON.parse(readFileSync(path, 'utf8')) as Counted
    const sound = counts.every(({ tally, count }) => typeof tally.code === 'string' && count > 0)
    return sound && Number.isFinite(since) && Number.isFinite(until) ? { since, until, counts } : undefined
  } catch {
    return undefined
  }
}
