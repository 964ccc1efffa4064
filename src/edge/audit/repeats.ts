import type { OpenLine } from '../../log/event.ts'
import type { JsonObject } from '../../mcp/strict-json.ts'
import type { Keep, Ports, Tally } from '../../pep/ports.ts'
import type { Counted, KeptCounts } from './counts.ts'

/** Bytes of refusals that are recorded one by one: as many at once, and as many more a second. */
const BURST = 1 << 20
const A_SECOND = 4 << 10
/** Milliseconds between the records of what was counted, and until what was counted outlives the process. */
const EVERY = 30_000
const KEPT_WITHIN = 1_000
/** Kinds that are counted apart; those of more are counted without their method and subject. */
const KINDS = 1_000

export type Counting = {
  record: Ports['record']
  /** writes what was counted */
  close: () => Promise<void>
}

/**
 * Records what comes one by one, but counts what would fill the log: refusals beyond a budget of bytes of their own, and
 * messages of the protocol that nobody was asked about. One `repeat` record for each kind and interval says how many; a
 * process that was killed leaves its counts to the next, but for those of its last second.
 */
export function countRepeats(
  record: (line: OpenLine, keep: Keep) => Promise<boolean>,
  say: (more: JsonObject) => OpenLine,
  now: () => number,
  kept: KeptCounts,
  budget = { burst: BURST, aSecond: A_SECOND, every: EVERY, keptWithin: KEPT_WITHIN },
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
  const write = async ({ counts: ended, since: from, until }: Counted) => {
    const lines = ended.map(({ tally: { code, method, subject, few }, count: times }) =>
      say({
        disposition: few ? 'rejected' : 'allowed',
        cause: { code },
        count: times,
        since: new Date(from).toISOString(),
        until: new Date(until).toISOString(),
        ...(method !== undefined && { method }),
        ...(subject !== undefined && { subject }),
      }),
    )
    await Promise.all(lines.map((line) => record(line, 'reserve')))
  }
  let changed = false
  const counted = (): Counted => ({ since, until: now(), counts: [...counts.values()] })
  const flush = async () => {
    const ended = counted()
    counts = new Map()
    since = ended.until
    changed = false
    await begun
    await write(ended)
    // After it: what a process that dies between the two leaves is recorded twice, not lost.
    if (ended.counts.length > 0) await kept.clear()
    if (counts.size > 0) changed = true
  }
  // What a process before left is not to be written over before it is recorded.
  let ready = false
  const keep = () => {
    if (!changed || !ready) return
    changed = false
    void kept.keep(counted())
  }
  const begin = async () => {
    if (kept.left) await write(kept.left).then(kept.clear)
    ready = true
  }
  const begun = begin()
  const timers = [setInterval(() => void flush(), budget.every), setInterval(keep, budget.keptWithin)]
  for (const timer of timers) timer.unref()
  return {
    async record(line, keep, tally) {
      if (tally === undefined || (tally.few && affords(line.length))) return record(line, keep)
      count(tally)
      changed = true
      return true
    },
    async close() {
      for (const timer of timers) clearInterval(timer)
      await begun
      await flush()
    },
  }
}
