import { type Outcome, outcomeEvent, rejectEvent, revisionOf } from '../log/event.ts'
import { errorText } from '../mcp/error.ts'
import { type Notification, type Request, type Response, type RpcId, writeMessage } from '../mcp/message.ts'
import { methodOf } from '../mcp/methods.ts'
import { policyError, type Reason } from '../pdp/decision.ts'
import { type Identity, ownerKey, ownerOf } from '../pdp/identity.ts'
import { canonicalUri } from '../pdp/uri.ts'
import type { Item } from '../pdp/visible.ts'
import { denialMessage } from './denial.ts'
import { readUpstream, type Screened, screen } from './filter.ts'
import { type Context, type Exchange, refuse } from './handle.ts'
import { answeredOf, requestOf, thingOf } from './place.ts'
import type { Answer, Call, Reply, StreamItem, UpstreamFrame } from './ports.ts'
import type { Read } from './read.ts'
import { REFUSALS, type Refusal, type RefusalReason } from './refusal.ts'

/** An exchange whose message was let through. */
export type Passed = { exchange: Exchange; read: Read; call: Call; identity: Identity }

/** What came back, filtered, and the record of how it ended. */
export async function deliver(context: Context, passed: Passed, reply: Reply): Promise<Answer> {
  const { decision_id } = passed.exchange
  const { message } = passed.read
  switch (reply.kind) {
    case 'failed':
      return fail(context, passed, reply.fault)
    case 'status':
      return passStatus(context, passed, reply.status)
    case 'accepted':
      // A request that is only accepted would leave its client waiting for ever.
      if (message?.kind === 'request') return fail(context, passed, 'upstream_malformed')
      finish(context, passed, { end: 'complete', status: 202 })
      return { kind: 'accepted', status: message ? 202 : 200, decision_id }
    case 'message': {
      const response = message?.kind === 'request' ? (reply.message ?? readUpstream(reply.body)) : undefined
      if (message?.kind !== 'request' || response?.kind !== 'response')
        return fail(context, passed, 'upstream_malformed')
      if (!passes(context, reply.status)) return fail(context, passed, faultOf(reply.status))
      const screened = await screenFor(context, passed, message, response)
      finish(context, passed, { ...outcomeOf(screened), status: reply.status, bytes: reply.body.length })
      const { text, version } = textOf(context, passed, message, screened)
      return {
        kind: 'message',
        status: reply.status,
        text,
        decision_id,
        ...sealed(context, passed, version, reply.session),
      }
    }
    case 'stream':
      return deliverStream(context, passed, streamOf(context, passed, reply.frames), reply.session)
  }
}

/** The session id travels in a header and needs the version that the result names, so a handshake is one message. */
async function deliverStream(
  context: Context,
  passed: Passed,
  items: AsyncGenerator<VersionedItem>,
  session: string | undefined,
): Promise<Answer> {
  const { decision_id } = passed.exchange
  if (passed.call.method !== 'initialize')
    return { kind: 'stream', items, decision_id, cut: passed.call.signal }
  let last: VersionedItem | undefined
  // What the client could resume from it learns with the session, too late: the answer is one message.
  for await (const item of items) if (item.text !== '') last = item
  if (!last) return refuse(context, passed.exchange, 'upstream_failed', passed.read)
  return {
    kind: 'message',
    status: 200,
    text: last.text,
    decision_id,
    ...sealed(context, passed, last.version, session),
  }
}

type VersionedItem = StreamItem & { version?: string | undefined }

/** Messages for the client out of those of the upstream: until the response, the end, or the stream's age. */
async function* streamOf(
  context: Context,
  passed: Passed,
  frames: AsyncIterable<UpstreamFrame>,
): AsyncGenerator<VersionedItem> {
  const { arrival } = passed.exchange
  const request = askedIn(passed)
  const resumed = passed.read.place !== undefined
  let resumable = resumed
  const outcome = { frames: 0, dropped: 0, bytes: 0, status: 200 }
  const declinable = createAllowance(context.ports.now)
  let fault: RefusalReason = 'upstream_failed'
  let ending: Partial<Outcome> & { end: Outcome['end'] } = { end: 'client_gone' }
  try {
    for await (const { data, ...mark } of frames) {
      // The last chunk may have held more than was to be delivered.
      if (passed.call.signal.aborted) break
      const place = placeOf(context, passed, mark)
      if (data === '') {
        resumable ||= place.id !== undefined
        if (place.id !== undefined || place.retry !== undefined) yield { text: '', final: false, ...place }
        continue
      }
      outcome.frames++
      outcome.bytes += Buffer.byteLength(data)
      const message = readUpstream(data)
      if (message?.kind === 'notification' && (await passesOn(context, passed, message))) {
        resumable ||= place.id !== undefined
        yield { text: writeMessage(message), final: false, ...place }
      } else if (
        message?.kind === 'response' &&
        request &&
        // Some replay more than the one stream.
        (!resumed || message.id === request.id)
      ) {
        const screened = await screenFor(context, passed, request, message)
        ending = outcomeOf(screened)
        yield { ...textOf(context, passed, request, screened), final: true, ...place }
        return
      } else {
        outcome.dropped++
        context.ports.count('dropped')
        if (message?.kind !== 'request') continue
        if (!declinable()) {
          fault = 'upstream_malformed'
          break
        }
        await decline(context, passed, message)
      }
    }
    const cut = fault !== 'upstream_failed'
    ending =
      resumable && request && !cut
        ? { end: 'resumable' }
        : request || cut
          ? { end: 'upstream_failed', ...(cut && { cause: { code: fault } }) }
          : { end: 'complete' }
  } catch {
    ending = { end: 'upstream_failed' }
  } finally {
    if (arrival.signal.aborted) ending = { ...ending, end: 'client_gone' }
    else if (passed.call.signal.aborted) ending = { end: 'cut' }
    finish(context, passed, { ...outcome, ...ending })
  }
  // The client waits for this id; a stream that only ends would have it wait on, unless it can resume it: the upstream
  // may end a stream before the response (2025-11-25, "Streamable HTTP", polling).
  if (request && (!resumable || fault !== 'upstream_failed'))
    yield { text: failureText(passed, fault, request.id), final: true }
}

/** The request that an answer is waited for: of the message, or of the call whose stream is resumed. */
function askedIn({ read }: Passed): Request | undefined {
  if (read.message?.kind === 'request') return read.message
  return read.place?.call && requestOf(read.place.call)
}

/** The place in the stream, sealed for the client. */
function placeOf(
  context: Context,
  { exchange, read, identity }: Passed,
  { id, retry }: Omit<UpstreamFrame, 'data'>,
): Pick<StreamItem, 'id' | 'retry'> {
  if (read.era === 'modern') return {}
  const holder = { upstream: read.session?.upstream ?? '', owner: ownerOf(identity) }
  const asked = read.message?.kind === 'request' ? read.message : undefined
  const call = asked ? answeredOf(exchange.decision_id, asked) : read.place?.call
  const place = id === undefined || (asked && !call) ? undefined : { id, ...(call && { call }) }
  const sealed = place && context.sealer.places.seal(place, holder)
  return { ...(sealed !== undefined && { id: sealed }), ...(retry !== undefined && { retry }) }
}

/** Whether a notification of the upstream is for this client. What it names must be what the client may see. */
async function passesOn(
  context: Context,
  passed: Passed,
  { method, params }: Notification,
): Promise<boolean> {
  const row = methodOf('to_client', method, passed.read.version)
  if (row?.treatment === 'protocol') return row.shape === 'notification'
  if (method !== 'notifications/resources/updated') return false
  const key = typeof params.uri === 'string' ? canonicalUri(params.uri) : undefined
  if (key === undefined) return false
  const judged = await visibleTo(context, passed, [{ kind: 'resource', key }])
  return judged.kind === 'visible' && judged.visible.length === 1
}

function visibleTo(context: Context, { exchange, read, identity }: Passed, items: Item[]) {
  const call = read.place?.call
  return context.ports.judge({
    ask: 'visible',
    who: { identity },
    draft: { ...read.draft, ...(call && { kind: 'request', method: call.method }), items },
    trace: exchange.arrival.trace,
  })
}

function screenFor(
  context: Context,
  passed: Passed,
  request: Request,
  response: Response,
): Promise<Screened> {
  const call = passed.read.place?.call
  return screen(response, {
    request,
    late: call && thingOf(call),
    era: passed.read.era,
    owner: ownerKey(ownerOf(passed.identity)),
    tools: context.tools,
    visible: (items) => visibleTo(context, passed, items),
  })
}

/** Requests of the upstream that one stream may bring in a minute: each costs a record, and an answer to it. */
const REQUESTS_A_MINUTE = 16

/** True as long as there are not too many. A ping now and then for as long as a stream lives is none too many. */
function createAllowance(now: () => number): () => boolean {
  let since = now()
  let left = REQUESTS_A_MINUTE
  return () => {
    if (now() - since >= 60_000) {
      since = now()
      left = REQUESTS_A_MINUTE
    }
    return left-- > 0
  }
}

/** A request of the upstream to the client: none is delivered yet. The upstream is told, and it is on record. */
async function decline(context: Context, passed: Passed, request: Request): Promise<void> {
  const { ports } = context
  const { arrival } = passed.exchange
  const facts = {
    decision_id: ports.newId(),
    event_id: ports.newId(),
    time_ms: ports.now(),
    ...arrival.trace,
  }
  const cause = { code: 'server_request_unsupported', status: 0 }
  await ports.record(
    rejectEvent(context.origin(), facts, cause, arrival.http, passed.identity.subject),
    'reserve',
  )
  ports.decline(passed.call, request.id, request.method)
}

/** What the client is told in place of a response that it may not have or that is none. */
function textOf(
  context: Context,
  passed: Passed,
  request: Request,
  screened: Screened,
): { text: string; version?: string | undefined } {
  if (screened.ok) return { text: screened.text, version: screened.version }
  const reason = WITHHELD[screened.fault]
  if (!reason) return { text: failureText(passed, screened.fault as RefusalReason, request.id) }
  const { server, help } = context.settings
  const decision = { ...policyError(), reasons: [reason] }
  const denial = {
    server,
    decision_id: passed.exchange.decision_id,
    revision: revisionOf(context.origin()),
    sent: true,
    ...(help !== undefined && { help }),
  }
  return { text: denialMessage(request.method, request.id, passed.read.era, decision, denial) }
}

const WITHHELD: { [fault in Exclude<Screened, { ok: true }>['fault']]?: Reason } = {
  unsupported_result: {
    code: 'server_request_unsupported',
    title: 'The server asked for input from the client, which the sidecar does not pass on',
  },
  no_longer_visible: {
    code: 'no_longer_granted',
    title: 'What this answer is about is not granted any more',
  },
}

function outcomeOf(screened: Screened): Partial<Outcome> & { end: Outcome['end'] } {
  if (!screened.ok) return { end: 'not_delivered', cause: { code: screened.fault } }
  const { listed, hidden, tool_error, rpc_error } = screened
  return {
    end: 'complete',
    ...(listed !== undefined && { listed }),
    ...(hidden !== undefined && { hidden }),
    ...(tool_error !== undefined && { tool_error }),
    ...(rpc_error !== undefined && { rpc_error }),
  }
}

/** The upstream gave no answer to pass on. */
function fail(context: Context, passed: Passed, reason: RefusalReason): Answer {
  const { decision_id } = passed.exchange
  const end = passed.exchange.arrival.signal.aborted ? 'client_gone' : 'upstream_failed'
  const { status, retryAfter }: Refusal = REFUSALS[reason]
  finish(context, passed, { end, status, cause: { code: reason } })
  const retry = retryAfter === undefined ? {} : { retryAfter }
  return { kind: 'message', status, text: failureText(passed, reason), decision_id, ...retry }
}

/** Statuses that mean something to an MCP client; any other is a failure of the upstream. */
const PASSED_STATUSES = new Set([400, 404, 405])

/** The upstream has no say in other statuses, whatever message comes with them. */
const passes = ({ settings }: Context, status: number): boolean =>
  (status >= 200 && status < 300) ||
  PASSED_STATUSES.has(status) ||
  // Pomerium takes a 401 of the upstream as its cue to fetch the upstream's token: only where it brings that token.
  (status === 401 && settings.forwardsAuthorization)
const faultOf = (status: number): RefusalReason => (status < 500 ? 'upstream_refused' : 'upstream_failed')

function passStatus(context: Context, passed: Passed, status: number): Answer {
  if (!passes(context, status)) return fail(context, passed, faultOf(status))
  const { decision_id } = passed.exchange
  finish(context, passed, { end: 'upstream_failed', status, cause: { code: 'upstream_refused' } })
  return { kind: 'message', status, text: failureText(passed, 'upstream_refused'), decision_id }
}

function failureText(passed: Passed, reason: RefusalReason, id: RpcId | null = passed.read.id): string {
  const { code, text } = REFUSALS[reason]
  return errorText(id, code, text, {
    decision_id: passed.exchange.decision_id,
    reason,
  })
}

/** The session as the client will hold it, where this was the handshake and the upstream has sessions. */
function sealed(
  context: Context,
  passed: Passed,
  version: string | undefined,
  upstream: string | undefined,
): { session?: string } {
  if (version === undefined || upstream === undefined) return {}
  const { client } = passed.read.draft
  const session = { upstream, owner: ownerOf(passed.identity), version, issued: context.ports.now() }
  return { session: context.sealer.seal(client ? { ...session, client } : session) }
}

function finish(context: Context, passed: Passed, outcome: Partial<Outcome> & { end: Outcome['end'] }): void {
  const { ports } = context
  const { arrival, decision_id, started } = passed.exchange
  const now = ports.now()
  const failed = outcome.end === 'upstream_failed' || outcome.end === 'not_delivered'
  if (failed) ports.count('failed')
  const facts = { decision_id, event_id: ports.newId(), time_ms: now, ...arrival.trace }
  const whole = {
    disposition: failed ? 'failed' : 'allowed',
    method: passed.call.method,
    duration_ms: now - started,
    ...outcome,
  } as const
  void ports.record(outcomeEvent(context.origin(), facts, whole), 'reserve')
}
