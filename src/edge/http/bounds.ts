import { claimedOwner, type Identity, type Owner, ownerKey, ownerOf } from '../../pdp/identity.ts'
import type { Arrival } from '../../pep/ports.ts'
import type { RefusalReason } from '../../pep/refusal.ts'
import type { Section } from '../settings.ts'

/** How much at a time and a second, of all together and of one identity. */
export type BoundSettings = {
  connections: number
  inFlight: number
  /** of the bodies of all requests in hand */
  inFlightBytes: number
  streams: number
  perSecond: number
  identityInFlight: number
  identityStreams: number
  identityPerSecond: number
  /** percent of the memory that the process may have, beyond which nothing new is taken */
  memoryPercent: number
}

/** What is bounded here, out of `plugins.mcp.limits`. */
export const readBounds = (limits: Section): BoundSettings => ({
  connections: limits.integer('connections', 2048, 1, 100_000),
  inFlight: limits.integer('in_flight', 1024, 1, 100_000),
  inFlightBytes: limits.integer('in_flight_bytes', 64 << 20, 1 << 20, 1 << 30),
  streams: limits.integer('streams', 256, 1, 100_000),
  perSecond: limits.integer('per_second', 10_000, 1, 1_000_000),
  identityInFlight: limits.integer('identity_in_flight', 128, 1, 100_000),
  identityStreams: limits.integer('identity_streams', 20, 1, 100_000),
  identityPerSecond: limits.integer('identity_per_second', 500, 1, 1_000_000),
  memoryPercent: limits.integer('memory_percent', 85, 10, 100),
})

/** The place that one request has. */
export type Place = {
  /** takes room for more bytes of the body; false: there is none */
  hold: (bytes: number) => boolean
  /**
   * Taken for the identity that was verified, or why not; `pep/handle.ts` asks before anything is decided for it. `long`:
   * its answer is a stream that stays, and counts as one from here on (2026-07-28, `subscriptions/listen`).
   */
  admit: (identity: Identity, long?: boolean) => RefusalReason | undefined
  leave: () => void
}

export type Bounds = {
  /** before anything is read but the head */
  enter: (verb: string | undefined) => Place | RefusalReason
  /** before an identity is verified: who has spent what is theirs is refused without the work */
  foresee: (verb: Arrival['verb'], who: Arrival['who']) => RefusalReason | undefined
}

/** Identities that are remembered while they do nothing. */
const REMEMBERED = 10_000
/** Seconds of a rate that may come at once. */
const BURST = 2

type Account = { inFlight: number; streams: number; bucket: Bucket }

/**
 * Counts of what is verified only: whoever can make up an assertion can spend nothing of the one whom it names.
 * @param now milliseconds of a clock that never goes back
 * @param short whether memory is
 */
export function createBounds(settings: BoundSettings, now: () => number, short: () => boolean): Bounds {
  const all = { inFlight: 0, streams: 0, bytes: 0, bucket: createBucket(settings.perSecond, now) }
  const accounts = new Map<string, Account>()

  const accountOf = (owner: Owner): Account => {
    const key = ownerKey(owner)
    const known = accounts.get(key)
    if (known) return known
    const account = { inFlight: 0, streams: 0, bucket: createBucket(settings.identityPerSecond, now) }
    accounts.set(key, account)
    if (accounts.size > REMEMBERED) forget()
    return account
  }
  /** A few that have nothing to remember; one that has something is as many requests in hand, and those are bounded. */
  const forget = () => {
    let left = 100
    for (const [key, { inFlight, streams, bucket }] of accounts) {
      if (left-- === 0) return
      if (inFlight === 0 && streams === 0 && bucket.full()) accounts.delete(key)
    }
  }
  const over = (account: Account, verb: string | undefined): RefusalReason | undefined => {
    if (verb === 'GET' && account.streams >= settings.identityStreams) return 'identity_streams'
    if (verb !== 'GET' && account.inFlight >= settings.identityInFlight) return 'identity_in_flight'
    return account.bucket.empty() ? 'identity_rate' : undefined
  }

  return {
    enter(verb) {
      let of: 'streams' | 'inFlight' = verb === 'GET' ? 'streams' : 'inFlight'
      // What ends a session takes next to nothing, has no body, and gives back what that session holds, here and behind.
      if (verb !== 'DELETE' && short()) return 'low_memory'
      if (all[of] >= settings[of]) return verb === 'GET' ? 'too_many_streams' : 'too_many'
      if (!all.bucket.take()) return 'too_fast'
      all[of]++
      let mine: Account | undefined
      let bytes = 0
      let here = true
      return {
        hold(more) {
          if (!here || all.bytes + more > settings.inFlightBytes) return false
          all.bytes += more
          bytes += more
          return true
        },
        admit(identity, long = false) {
          const account = accountOf(ownerOf(identity))
          const becomes = long && of !== 'streams'
          const reason = over(account, long ? 'GET' : verb)
          if (reason || mine || !here) return reason
          if (becomes && all.streams >= settings.streams) return 'too_many_streams'
          if (becomes) {
            all.inFlight--
            all.streams++
            of = 'streams'
            // What was asked is read, and stays no longer than the question.
            all.bytes -= bytes
            bytes = 0
          }
          account.bucket.take()
          mine = account
          mine[of]++
          return undefined
        },
        leave() {
          if (!here) return
          here = false
          all[of]--
          all.bytes -= bytes
          if (mine) mine[of]--
        },
      }
    },
    foresee(verb, who) {
      if (!who) return undefined
      const owner = 'identity' in who ? ownerOf(who.identity) : claimedOwner(who.assertion)
      const account = owner && accounts.get(ownerKey(owner))
      return account && over(account, verb)
    },
  }
}

type Bucket = { take: () => boolean; empty: () => boolean; full: () => boolean }

/** A token bucket. */
function createBucket(perSecond: number, now: () => number): Bucket {
  const most = perSecond * BURST
  let tokens = most
  let at = now()
  const fill = () => {
    const time = now()
    tokens = Math.min(most, tokens + ((time - at) / 1000) * perSecond)
    at = time
  }
  return {
    take() {
      fill()
      if (tokens < 1) return false
      tokens--
      return true
    },
    empty() {
      fill()
      return tokens < 1
    },
    full() {
      fill()
      return tokens >= most
    },
  }
}
