import { claimedOwner, type Identity, ownerKey, ownerOf } from '../../pdp/identity.ts'
import type { Question } from '../../pep/ports.ts'

/** An identity whose evaluations were stopped, or aborted, this often in this many milliseconds waits as long. */
export const STRIKES = 3
const WINDOW = 60_000
/** Identities remembered at most. */
const REMEMBERED = 1000

/** The key of whose question it claims to be, before it is verified; what claims nothing has one of its own. */
export function claimed(who: Question['who']): string {
  const owner = 'identity' in who ? ownerOf(who.identity) : claimedOwner(who.assertion)
  return owner ? ownerKey(owner) : ''
}

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
    any: () => strikes.size > 0,
    /** @param who of `claimed` */
    struck: (who: string): boolean => performance.now() - (strikes.get(who)?.at(-1) ?? -WINDOW) < WINDOW,
    /** @param who of `claimed` */
    suspended(who: string): boolean {
      const times = strikes.get(who)
      return times?.length === STRIKES && performance.now() - (times[0] ?? 0) < WINDOW
    },
  }
}
