import { HEADER_MISMATCH } from '../mcp/error.ts'
import {
  ASSUMED_VERSION,
  classify,
  type Era,
  LATEST_LEGACY,
  LEGACY_VERSIONS,
  makeHeaders,
} from '../mcp/headers.ts'
import {
  type Notification,
  type Request,
  type RpcId,
  readMessage,
  withProtocolMeta,
  writeMessage,
} from '../mcp/message.ts'
import { type Method, methodOf } from '../mcp/methods.ts'
import { mirrorParams } from '../mcp/param-headers.ts'
import { isObject, type JsonObject, parseStrictBytes } from '../mcp/strict-json.ts'
import { claimedOwner, type Owner, ownerKey, ownerOf } from '../pdp/identity.ts'
import { type Draft, draftOf, draftOfStream, keyedDigest, type Setting } from '../pdp/input.ts'
import type { Context, Exchange } from './handle.ts'
import type { Answered, Place } from './place.ts'
import type { Arrival, Call } from './ports.ts'
import type { RefusalReason } from './refusal.ts'
import type { Session } from './session.ts'

/** What an arrival is, before anybody is asked about it. Without a message it is the opening of a stream or an end. */
export type Read = {
  message: Request | Notification | undefined
  method: Method | undefined
  id: RpcId | null
  draft: Draft
  era: Era
  version: string
  session: Session | undefined
  /** where a stream is resumed */
  place?: Place
  /** `mcp-param-*` of the upstream request */
  params?: Record<string, string>
  /** why it is refused as soon as it is known who asks */
  refusal?: RefusalReason
}
export type ReadResult =
  | { ok: true; read: Read }
  | { ok: false; reason: RefusalReason; id: RpcId | null; era?: Era; data?: JsonObject }

/** Strict JSON, exactly one message, of a known era and method, on no session or one that we sealed. */
export function readPost(context: Context, exchange: Exchange): ReadResult {
  const { arrival } = exchange
  const parsed = parseStrictBytes(arrival.body, context.settings.limits)
  if (!parsed.ok) return { ok: false, reason: parsed.fault, id: null }
  const one = readMessage(parsed.value)
  if (!one.ok) return { ok: false, reason: one.fault, id: one.id }
  // No request of the upstream is delivered yet, so there is none that a response could answer.
  if (one.message.kind === 'response') return { ok: false, reason: 'unexpected_response', id: null }
  const message = withProtocolMeta(one.message)
  const id = message.kind === 'request' ? message.id : null

  let classified = classify(message, arrival.headers, undefined)
  // A handshake starts a session and a modern request has none: an id that comes with them is dropped.
  const sessionless = message.method === 'initialize' || (classified.ok && classified.era === 'modern')
  const session = sessionless ? undefined : openSession(context, arrival)
  if (session === 'unknown') return { ok: false, reason: 'unknown_session', id }
  if (session) classified = classify(message, arrival.headers, session.version)
  if (!classified.ok) {
    const { fault: reason, code, data } = classified
    return {
      ok: false,
      reason,
      id,
      ...(data && { data }),
      ...(code === HEADER_MISMATCH && { era: 'modern' }),
    }
  }
  const { era, version } = classified
  // A handshake names the revision that it would like, which may be none of ours.
  const revision = message.method === 'initialize' && era === 'legacy' ? LATEST_LEGACY : version
  const method = methodOf('to_server', message.method, revision)
  if (!method || !context.settings.eras.includes(era) || NOT_YET.test(message.method)) {
    return { ok: false, reason: 'unknown_method', id, era }
  }
  if (method.shape !== message.kind) return { ok: false, reason: 'wrong_shape', id }
  const owner = claimedKey(arrival)
  const setting = settingOf(context, exchange, version, session)
  if (message.params.inputResponses !== undefined || message.params.requestState !== undefined)
    return { ok: false, reason: 'unsupported_input_response', id }
  if (message.params.task !== undefined) return { ok: false, reason: 'unsupported_task', id }
  const drafted = draftOf(message, setting, {
    facts: (tool) => context.tools.lookup(owner, tool),
    digest: (value) => keyedDigest(context.settings.digestKey, value),
  })
  if (!drafted.ok) return { ok: false, reason: drafted.fault, id }
  const params = paramsOf(context, owner, message, era, arrival)
  const refusal = drafted.ambiguous
    ? 'ambiguous_argument'
    : params === undefined
      ? 'header_mismatch'
      : session === undefined && method.ofSession
        ? 'no_session'
        : undefined
  const read = { message, method, id, draft: drafted.draft, era, version, session, params: params ?? {} }
  return { ok: true, read: refusal ? { ...read, refusal } : read }
}

/** What a call mirrors into headers; undefined where headers and body disagree. Other messages and eras have none. */
function paramsOf(
  context: Context,
  owner: string,
  { method, params }: Request | Notification,
  era: Era,
  { headers }: Arrival,
): Record<string, string> | undefined {
  if (method !== 'tools/call' || era !== 'modern') return {}
  const declared = context.tools.lookup(owner, String(params.name))?.params
  return mirrorParams(
    declared,
    isObject(params.arguments) ? params.arguments : {},
    headers.none ? undefined : (headers.params ?? {}),
  )
}

/** Refused until what they bring is decided in full. */
const NOT_YET = /^(?:subscriptions\/listen|(?:notifications\/)?tasks\/.*)$/

/**
 * GET opens the stream of a session, or one that is resumed; DELETE ends a session. All of it is legacy. A server without
 * sessions has no stream that is one client's alone, but for the rest of one that it began.
 */
export function readStream(context: Context, exchange: Exchange): ReadResult {
  const { arrival } = exchange
  const no = (reason: RefusalReason): ReadResult => ({ ok: false, reason, id: null })
  const session = openSession(context, arrival)
  const { protocolVersion, lastEventId } = arrival.headers
  const resumes = arrival.verb === 'GET' && lastEventId !== undefined
  if (session === 'unknown') return no('unknown_session')
  if (session === undefined && !resumes) return no('no_session')
  if (protocolVersion !== undefined && !LEGACY_VERSIONS.includes(protocolVersion))
    return no('unsupported_version')
  const version = session?.version ?? protocolVersion ?? ASSUMED_VERSION
  const setting = settingOf(context, exchange, version, session)
  const draft = draftOfStream(arrival.verb === 'GET' ? 'stream/open' : 'session/end', setting)
  const read: Read = {
    message: undefined,
    method: undefined,
    id: null,
    draft,
    era: 'legacy',
    version,
    session,
  }
  if (!resumes) return { ok: true, read }
  const owner = session?.owner ?? claimedOwnerOf(arrival)
  const place = owner && context.sealer.places.open(lastEventId, { upstream: session?.upstream ?? '', owner })
  if (!place) return { ok: true, read: { ...read, refusal: 'unknown_event' } }
  draft.params = { lastEventId: keyedDigest(context.settings.digestKey, lastEventId) }
  if (place.call) draft.parent = parentOf(place.call)
  return { ok: true, read: { ...read, place } }
}

const parentOf = ({ decision_id, method, name }: Answered): NonNullable<Draft['parent']> => ({
  decision_id,
  method,
  ...(method === 'tools/call' && name !== undefined && { tool: name }),
})

/** What goes to the upstream once it is allowed: made from the object that was judged. */
export function callOf(context: Context, arrival: Arrival, read: Read): Call {
  const { message, session, era, version, place } = read
  return {
    kind: message?.kind ?? (arrival.verb === 'GET' ? 'open' : 'end'),
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
    // A stream of its own lives for a time; the answer to a call as long as the call.
    signal: message
      ? arrival.signal
      : AbortSignal.any([arrival.signal, AbortSignal.timeout(context.settings.streamMaxAge)]),
  }
}

/** Pomerium's own credentials are for Pomerium only. */
const isUpstreamCredential = (value: string | undefined): value is string =>
  value !== undefined && !/^pomerium\s|^bearer\s+pomerium-/i.test(value)

function openSession(context: Context, arrival: Arrival): Session | undefined | 'unknown' {
  const { sessionId } = arrival.headers
  return sessionId === undefined ? undefined : (context.sealer.open(sessionId) ?? 'unknown')
}

function settingOf(
  context: Context,
  exchange: Exchange,
  version: string,
  session: Session | undefined,
): Setting {
  const { server, digestKey } = context.settings
  const { headers, http } = exchange.arrival
  return {
    decision_id: exchange.decision_id,
    time_ms: exchange.started,
    server,
    protocol_version: version,
    ...(session?.client && { client: session.client }),
    ...(session && headers.sessionId && { mcp_session: keyedDigest(digestKey, headers.sessionId) }),
    http,
  }
}

function claimedOwnerOf({ who }: Arrival): Owner | undefined {
  if (!who) return undefined
  return 'identity' in who ? ownerOf(who.identity) : claimedOwner(who.assertion)
}

function claimedKey(arrival: Arrival): string {
  const owner = claimedOwnerOf(arrival)
  return owner ? ownerKey(owner) : ''
}
