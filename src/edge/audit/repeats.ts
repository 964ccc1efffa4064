import type { OpenLine } from '../../log/event.ts'
import type { JsonObject } from '../../mcp/strict-json.ts'
import type { Keep, Ports, Tally } from '../../pep/ports.ts'

/** Bytes of refusals that are recorded one by one: as many at once, and as many more a second. */
const BURST = 1 << 20
const A_SECOND = 4 << 10
/** Milliseconds between the records of what was counted. */
const EVERY = 30_000
/** Kinds that are counted apart; those of more are counted without their method and subject. */
const KINDS = 1_000

export type Counting = {
  record: Ports['record']
  /** writes what was counted */
  close: () => Promise<void>
}

/**
 * Records what comes one by one, but counts what would fill the log: refusals beyond a budget of bytes of their own, and
 * messages of the protocol that nobody was asked about. One `repeat` record for each kind and interval says how many.
 */
export function countRepeats(
  record: (line: OpenLine, keep: Keep) => Promise<boolean>,
  say: (more: JsonObject) => OpenLine,
  now: () => number,
  budget = { burst: BURST, aSecond: A_SECOND, every: EVERY },
): Counting {
  let left = budget.burst
  let at = now()
  let since = now()
  let counts = new Map<string, { tally: Tally; count: number }>()

  const affords = (bytes: number): boolean => {
    const time = now()
    left = Math.min(budget.burst, left + (Math.max(0, time - at) / 1000) * budget.aSecond)
    at = time
    if (left < bytes) return false
    left -= bytes
    return true
  }
  const count = (tally: Tally) => {
    const { code, method, subject } = tally
    const whole = JSON.stringify([code, method, subject])
    const key = counts.has(whole) || counts.size < KINDS ? whole : JSON.stringify([code])
    const entry = counts.get(key) ?? { tally: key === whole ? tally : { code, few: tally.few }, count: 0 }
    entry.count++
    counts.set(key, entry)
  }
  const flush = async () => {
    const ended = [...counts.values()]
    const from = new Date(since).toISOString()
    counts = new Map()
    since = now()
    const until = new Date(since).toISOString()
    const lines = ended.map(({ tally: { code, method, subject, few }, count: times }) =>
      say({
        disposition: few ? 'rejected' : 'allowed',
        cause: { code },
        count: times,
        since: from,
        until,
        ...(method !== undefined && { method }),
        ...(subject !== undefined && { subject }),
      }),
    )
    await Promise.all(lines.map((line) => record(line, 'reserve')))
  }
  const timer = setInterval(() => void flush(), budget.every)
  timer.unref()
  return {
    async record(line, keep, tally) {
      if (tally === undefined || (tally.few && affords(line.length))) return record(line, keep)
      count(tally)
      return true
    },
    close() {
      clearInterval(timer)
      return flush()
    },
  }
}
