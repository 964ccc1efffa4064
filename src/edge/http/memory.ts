import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { groupMemory } from './cgroup.ts'

/** Bytes in use and the most there may be, of what ends the process first. */
export type MemoryState = { used: number; most: number }

const EVERY = 250
/** Milliseconds that a look is good for when somebody asks: many requests may come between two of the timer's. */
const FRESH = 20
/** What a byte of JSON may come to once it is read, as bytes of the heap, and some more. */
const GROWTH = 32
/** Milliseconds between collections that are forced: each stops everything for some tens of milliseconds. */
const COLLECT = 2_000

/**
 * Whether memory is short: of the heap, or of what the container may have. What only waits to be collected is
 * collected first, or a process that takes nothing new would never notice that it may again.
 */
export function watchMemory(
  percent: number,
  read: () => MemoryState[] = readMemory(),
  collect: () => void = collectNow(),
): { short: () => boolean; close: () => void } {
  let short = false
  let collected = Number.NEGATIVE_INFINITY
  const over = () => read().some(({ used, most }) => most > 0 && used > (most * percent) / 100)
  let looked = Number.NEGATIVE_INFINITY
  const look = () => {
    looked = performance.now()
    short = over()
    if (!short || performance.now() - collected < COLLECT) return
    collect()
    collected = performance.now()
    short = over()
  }
  const timer = setInterval(look, EVERY)
  timer.unref()
  return {
    short() {
      if (performance.now() - looked > FRESH) look()
      return short
    },
    close: () => clearInterval(timer),
  }
}

/** As much of the bodies that are wanted as the heap can hold once they are read; one at least. */
export const bodiesFor = (wanted: number, one: number): number =>
  Math.max(one, Math.min(wanted, Math.floor(heapLimit() / GROWTH)))

/** What the young generation may have is in V8's limit, and of no use to what stays. */
const YOUNG = 192 << 20
const heapLimit = (): number => {
  const { heap_size_limit } = getHeapStatistics()
  return Math.max(heap_size_limit - YOUNG, heap_size_limit / 3)
}

/**
 * @param limit bytes that there may be: asked for each time, as a container may be resized while it runs
 * @param inGroup bytes of the group that the limit is of, where there is telling
 */
export function readMemory(
  limit: () => number = () => process.constrainedMemory(),
  inGroup: () => number | undefined = groupMemory() ?? (() => undefined),
): () => MemoryState[] {
  return () => {
    const heap = { used: getHeapStatistics().used_heap_size, most: heapLimit() }
    const most = limit()
    // Without a limit it is 0, or a number that no machine has.
    if (!(most > 0 && most < 2 ** 50)) return [heap]
    // It may be more than the limit: of those that the kernel holds a group to, some can be exceeded (`memory.high`).
    return [heap, { used: inGroup() ?? process.memoryUsage.rss(), most }]
  }
}

function collectNow(): () => void {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc') as () => void
}
