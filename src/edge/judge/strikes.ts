import { claimedOwner, type Identity, ownerKey, ownerOf } from '../../pdp/identity.ts'
import type { Question } from '../../pep/ports.ts'

/** An identity whose evaluations were stopped, or aborted, this often in this many milliseconds waits as long. */
export const STRIKES = 3
const WINDOW = 60_000
/** Identities remembered at most. */
const REMEMBERED = 1000

/** Who spoils the judging threads again and again, and is refused before another evaluation. */
export function createStrikes() {
  const strikes = new Map<string, number[]>()
  return {
    add(identity: Identity | undefined): void {
      if (!identity) return
      const key = ownerKey(ownerOf(identity))
      const times = [...(strikes.get(key) ?? []), performance.now()].slice(-STRIKES)
      // Moved to the end: who struck last is forgotten last.
      strikes.delete(key)
      strikes.set(key, times)
      if (strikes.size > REMEMBERED) strikes.delete(strikes.keys().next().value ?? '')
    },
    suspended(who: Question['who']): boolean {
      if (strikes.size === 0) return false
      const owner = 'identity' in who ? ownerOf(who.identity) : claimedOwner(who.assertion)
      const times = owner && strikes.get(ownerKey(owner))
      return times?.length === STRIKES && performance.now() - (times[0] ?? 0) < WINDOW
    },
  }
}
