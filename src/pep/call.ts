import { makeHeaders } from '../mcp/headers.ts'
import { writeMessage } from '../mcp/message.ts'
import type { Context } from './handle.ts'
import type { Arrival, Call } from './ports.ts'
import type { Read } from './read.ts'

/**
 * What goes to the upstream once it is allowed: made from the object that was judged.
 * @param expires of the assertion, in seconds since the epoch
 */
export function callOf(context: Context, arrival: Arrival, read: Read, expires?: number): Call {
  const { message, session, era, version, place } = read
  const kind = message?.kind ?? (arrival.verb === 'GET' ? 'open' : 'end')
  const stays = kind === 'open' || read.method?.long === true
  return {
    kind,
    ...(read.id !== null && { id: read.id }),
    method: read.draft.method,
    era,
    version,
    text: message ? writeMessage(message) : '',
    headers: message
      ? { ...makeHeaders(message, era, version), ...read.params }
      : { 'mcp-protocol-version': version },
    ...(session && session.upstream !== '' && { session: session.upstream }),
    ...(place && { lastEventId: place.id }),
    ...(context.settings.forwardsAuthorization &&
      isUpstreamCredential(arrival.authorization) && { authorization: arrival.authorization }),
    ...(read.method?.long && { long: true }),
    // A stream of its own lives for a time; the answer to a call as long as the call.
    ...(stays ? lifeOf(context, arrival, expires) : { signal: arrival.signal }),
  }
}

/** How long a stream may stay: its age, and not much longer than the identity that opened it. */
function lifeOf({ settings, ports }: Context, { signal }: Arrival, expires: number | undefined) {
  const { streamMaxAge, streamAfterExpiry } = settings
  const left =
    expires === undefined || streamAfterExpiry === undefined
      ? streamMaxAge
      : Math.min(streamMaxAge, Math.max(0, expires * 1000 + streamAfterExpiry - ports.now()))
  const stopped = new AbortController()
  return {
    signal: AbortSignal.any([signal, stopped.signal, AbortSignal.timeout(Math.ceil(left))]),
    stop: () => stopped.abort(),
  }
}

/** Pomerium's own credentials are for Pomerium only. */
const isUpstreamCredential = (value: string | undefined): value is string =>
  value !== undefined && !/^pomerium\s|^bearer\s+pomerium-/i.test(value)
