/** Places that are waited for, in turn. */
export type Slots = {
  /** false: none came free within `ms` milliseconds, or who asked has gone */
  take: (ms: number, signal: AbortSignal) => Promise<boolean>
  giveBack: () => void
}

/** As many at a time as there are connections, so that none waits in the pool, where nobody could tell it why. */
export function createSlots(most: number): Slots {
  let free = most
  const waiting = new Set<() => void>()
  return {
    take(ms, signal) {
      if (signal.aborted) return Promise.resolve(false)
      if (free > 0) {
        free--
        return Promise.resolve(true)
      }
      return new Promise((resolve) => {
        const end = (taken: boolean) => {
          clearTimeout(timer)
          waiting.delete(given)
          signal.removeEventListener('abort', gone)
          resolve(taken)
        }
        const given = () => end(true)
        const gone = () => end(false)
        const timer = setTimeout(gone, ms)
        waiting.add(given)
        signal.addEventListener('abort', gone, { once: true })
      })
    },
    giveBack() {
      const [next] = waiting
      if (next) next()
      else free++
    },
  }
}
