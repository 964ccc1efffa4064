import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Bytes in use and the most there may be, of what ends the process first. */
export type MemoryState = { used: number; most: number }

const EVERY = 250
/** Milliseconds between collections that are forced: each stops everything for some tens of milliseconds. */
const COLLECT = 2_000

/**
 * Whether memory is short: of the heap, or of what the container may have. What only waits to be collected is
 * collected first, or a process that takes nothing new would never notice that it may again.
 */
export function watchMemory(
  percent: number,
  read: () => MemoryState[] = readMemory,
  collect: () => void = collectNow(),
): { short: () => boolean; close: () => void } {
  let short = false
  let collected = Number.NEGATIVE_INFINITY
  const over = () => read().some(({ used, most }) => most > 0 && used > (most * percent) / 100)
  const look = () => {
    short = over()
    if (!short || performance.now() - collected < COLLECT) return
    collect()
    collected = performance.now()
    short = over()
  }
  const timer = setInterval(look, EVERY)
  timer.unref()
  return { short: () => short, close: () => clearInterval(timer) }
}

function readMemory(): MemoryState[] {
  const { used_heap_size, heap_size_limit } = getHeapStatistics()
  const limit = process.constrainedMemory()
  const heap = { used: used_heap_size, most: heap_size_limit }
  // Without a limit it is 0, or a number that no machine has.
  if (!(limit > 0 && limit < 2 ** 50)) return [heap]
  return [heap, { used: process.memoryUsage.rss(), most: limit }]
}

function collectNow(): () => void {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc') as () => void
}
