import { type Outcome, outcomeEvent, revisionOf } from '../log/event.ts'
import { recordedName } from '../log/pseudonym.ts'
import { errorText } from '../mcp/error.ts'
import { type Request, type RpcId, writeMessage } from '../mcp/message.ts'
import { policyError, type Reason } from '../pdp/decision.ts'
import { ownerOf } from '../pdp/identity.ts'
import { denialMessage } from './denial.ts'
import { readUpstream, type Screened, screen, type Withheld } from './filter.ts'
import { type Context, refuse } from './handle.ts'
import { betweenOf, type Within } from './inner.ts'
import type { Answer, Call, Reply } from './ports.ts'
import { REFUSALS, type Refusal, type RefusalReason } from './refusal.ts'
import { type Item, streamOf } from './stream.ts'

/** An exchange whose message was let through. */
export type Passed = Within & { call: Call }

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
      if (passed.call.kind === 'end') forget(context, passed)
      finish(context, passed, { end: 'complete', status: 202 })
      return { kind: 'accepted', status: message ? 202 : 200, decision_id }
    case 'message': {
      const response = message?.kind === 'request' ? (reply.message ?? readUpstream(reply.body)) : undefined
      if (message?.kind !== 'request' || response?.kind !== 'response')
        return fail(context, passed, 'upstream_malformed')
      if (!passes(context, reply.status)) return fail(context, passed, faultOf(reply.status))
      const screened = await screen(context, passed, message, response)
      finish(context, passed, { ...outcomeOf(screened), status: reply.status, bytes: reply.body.length })
      return {
        kind: 'message',
        status: reply.status,
        text: textOf(context, passed, message, screened),
        decision_id,
        ...sealed(context, passed, screened, reply.session),
      }
    }
    case 'stream': {
      const begun = begunBy(context, passed, reply.session)
      return begun
        ? { ...(await deliverStream(context, begun.passed, reply)), session: begun.token }
        : deliverStream(context, passed, reply)
    }
  }
}

/**
 * A session that begins with its stream (2024-11-05, HTTP with SSE). What its handshake will agree on is not known yet, so
 * the stream is taken for one of the newest revision that could be agreed on.
 */
function begunBy(context: Context, passed: Passed, upstream: string | undefined) {
  if (passed.call.kind !== 'open' || upstream === undefined) return undefined
  const { version } = passed.read
  const session = { upstream, owner: ownerOf(passed.identity), version, issued: context.ports.now() }
  const within = { ...passed, read: { ...passed.read, session }, call: { ...passed.call, session: upstream } }
  return { passed: within, token: context.sealer.seal(session) }
}

/** The session id travels in a header and needs the version that the result names, so a handshake is one message. */
async function deliverStream(
  context: Context,
  passed: Passed,
  { frames, session }: Extract<Reply, { kind: 'stream' }>,
): Promise<Answer> {
  const { decision_id } = passed.exchange
  const items = streamOf(context, passed, frames)
  if (passed.call.method !== 'initialize') {
    const long = passed.call.kind === 'open' || passed.call.long === true
    return { kind: 'stream', items, decision_id, cut: passed.call.signal, ...(long && { long }) }
  }
  let last: Item | undefined
  // What the client could resume from it learns with the session, too late: the answer is one message.
  for await (const item of items) if (item.text !== '') last = item
  if (!last) return refuse(context, passed.exchange, 'upstream_failed', passed.read)
  return {
    kind: 'message',
    status: 200,
    text: last.text,
    decision_id,
    ...sealed(context, passed, last.screened, session),
  }
}

/** What the client is told: the response, or what takes the place of one that it may not have or that is none. */
export function textOf(context: Context, passed: Passed, request: Request, screened: Screened): string {
  if (screened.ok) return writeMessage(screened.response)
  const asked = screened.fault === 'inner' ? screened.asked : undefined
  if (asked?.kind === 'refused') return failureText(passed, asked.reason, request.id)
  const reason = screened.fault === 'inner' ? undefined : WITHHELD[screened.fault]
  const decision = asked?.decision ?? (reason && { ...policyError(), reasons: [reason] })
  if (!decision) return failureText(passed, screened.fault as RefusalReason, request.id)
  const { server, help } = context.settings
  return denialMessage(request, passed.read.era, decision, {
    server,
    decision_id: asked?.decision_id ?? passed.exchange.decision_id,
    revision: asked?.revision ?? revisionOf(context.origin()),
    sent: true,
    ...(help !== undefined && { help }),
  })
}

const WITHHELD: { [fault in Withheld['fault']]?: Reason } = {
  unsupported_result: {
    code: 'unsupported_result',
    title: 'The server answered with a kind of result that this method does not have',
  },
  no_longer_visible: {
    code: 'no_longer_granted',
    title: 'What this answer is about is not granted any more',
  },
}

export function outcomeOf(screened: Screened): Partial<Outcome> & { end: Outcome['end'] } {
  if (!screened.ok) {
    const cause =
      screened.fault === 'inner'
        ? { code: 'inner_request', decision_id: screened.asked.decision_id }
        : { code: screened.fault }
    return { end: 'not_delivered', cause }
  }
  const { listed, hidden, tool_error, rpc_error } = screened
  return {
    end: 'complete',
    ...(listed !== undefined && { listed }),
    ...(hidden !== undefined && { hidden }),
    ...(tool_error !== undefined && { tool_error }),
    ...(rpc_error !== undefined && { rpc_error }),
  }
}

/** The session is over: nobody asks or answers in it any more. */
function forget({ pending, given }: Context, passed: Passed): void {
  const between = betweenOf(passed)
  pending.end(between.owner, between.session)
  given.end(between)
}

/** The upstream gave no answer to pass on. */
function fail(context: Context, passed: Passed, reason: RefusalReason): Answer {
  const { decision_id } = passed.exchange
  const { status, retryAfter }: Refusal = REFUSALS[reason]
  // Nobody is there to be told anything, and that the request was broken off is not the upstream's doing.
  if (passed.exchange.arrival.signal.aborted) finish(context, passed, { end: 'client_gone' })
  else finish(context, passed, { end: 'upstream_failed', status, cause: { code: reason } })
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

export function failureText(
  passed: Passed,
  reason: RefusalReason,
  id: RpcId | null = passed.read.id,
): string {
  const { code, text } = REFUSALS[reason]
  return errorText(id, code, text, { decision_id: passed.exchange.decision_id, reason })
}

/** The session as the client will hold it, where this was the handshake and the upstream has sessions. */
function sealed(
  context: Context,
  passed: Passed,
  screened: Screened | undefined,
  upstream: string | undefined,
): { session?: string } {
  if (!screened?.ok || screened.version === undefined || upstream === undefined) return {}
  const { version, lists = [] } = screened
  const { client } = passed.read.draft
  const session = { upstream, owner: ownerOf(passed.identity), version, issued: context.ports.now(), lists }
  return { session: context.sealer.seal(client ? { ...session, client } : session) }
}

export function finish(
  context: Context,
  { exchange, read, identity }: Within,
  outcome: Partial<Outcome> & { end: Outcome['end'] },
): void {
  const { ports } = context
  const { arrival, decision_id, started } = exchange
  const now = ports.now()
  const failed = outcome.end === 'upstream_failed' || outcome.end === 'not_delivered'
  if (failed) ports.count('failed')
  const facts = { decision_id, event_id: ports.newId(), time_ms: now, ...arrival.trace }
  const whole = {
    disposition: outcome.end === 'not_sent' ? 'denied' : failed ? 'failed' : 'allowed',
    method: read.draft.method,
    // A clock that was set back meanwhile is no time less than none.
    duration_ms: Math.max(0, now - started),
    ...outcome,
  } as const
  const line = outcomeEvent(context.origin(), facts, whole)
  // Nobody was asked about it, so there is no decision that this would be the outcome of; one that failed was answered
  // with its decision id.
  const counted = read.method?.treatment === 'protocol' && outcome.cause === undefined && !failed
  if (counted)
    void ports.record(line, 'reserve', {
      code: 'protocol',
      few: false,
      method: whole.method,
      subject: recordedName(context.settings.identityKey, identity.subject),
    })
  else void ports.record(line, 'reserve')
}
