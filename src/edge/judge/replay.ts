import { createHash } from 'node:crypto'
import { markReplayed } from '../../log/event.ts'
import type { Judgement } from '../../pep/ports.ts'
import type { Section } from '../settings.ts'

/** What is done with an assertion whose `jti` was seen before; Pomerium mints one for each request. */
export type ReplaySettings = { mode: 'record' | 'refuse'; entries: number }

/** Out of `plugins.mcp.identity`. */
export const readReplay = (identity: Section): ReplaySettings => ({
  mode: identity.oneOf('replay', ['record', 'refuse'] as const, 'record'),
  entries: identity.integer('replay_entries', 100_000, 1000, 10_000_000),
})

/** A `jti` is a UUID; whatever else it is, it costs no more than this. */
const LONGEST = 64

/**
 * Tells the second use of an assertion, by its `jti`: a signature can be spelt in two ways. Only what was verified is
 * in the table. It is bounded: where it is full, `record` forgets the oldest and `refuse` refuses the new.
 * @param tolerance seconds for which an assertion is believed after it expired
 * @param now seconds since the epoch
 */
export function createReplayGuard(
  { mode, entries }: ReplaySettings,
  tolerance: number,
  now: () => number,
  count: () => void,
): (judged: Judgement) => Judgement {
  const seen = new Map<string, number>()

  const use = (jti: string, expires: number): 'first' | 'again' | 'full' => {
    const key = jti.length > LONGEST ? createHash('sha256').update(jti).digest('base64') : jti
    if (seen.has(key)) return 'again'
    if (seen.size >= entries) sweep()
    if (seen.size >= entries) {
      if (mode === 'refuse') return 'full'
      seen.delete(seen.keys().next().value ?? '')
    }
    seen.set(key, expires + tolerance)
    return 'first'
  }
  /** Those that came first expire first, nearly: clocks and lives differ by little. */
  const sweep = () => {
    const time = now()
    let kept = 0
    for (const [key, until] of seen) {
      if (until < time) seen.delete(key)
      else if (++kept === 100) return
    }
  }

  return (judged) => {
    if (judged.kind !== 'identified' && judged.kind !== 'decided') return judged
    if (!judged.assertion) return judged
    const used = use(judged.assertion.jti, judged.assertion.expires)
    if (used === 'first') return judged
    if (used === 'full') return { kind: 'unavailable', fault: 'replay_table_full' }
    count()
    if (mode === 'refuse') return { kind: 'unidentified', fault: 'assertion_replayed' }
    return judged.kind === 'decided' && judged.line !== undefined
      ? { ...judged, line: markReplayed(judged.line) }
      : judged
  }
}
