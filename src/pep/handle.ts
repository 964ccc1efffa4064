import { type Origin, rejectEvent, revisionOf } from '../log/event.ts'
import { recordedName } from '../log/pseudonym.ts'
import { DENIED, errorText } from '../mcp/error.ts'
import type { Era } from '../mcp/headers.ts'
import { type RpcId, traceOf } from '../mcp/message.ts'
import { isObject, type JsonLimits, type JsonObject } from '../mcp/strict-json.ts'
import { type Decision, permitDecided, permitProtocol } from '../pdp/decision.ts'
import { ownerKey, ownerOf } from '../pdp/identity.ts'
import { callOf } from './call.ts'
import type { Changes } from './changes.ts'
import { deliver, finish } from './deliver.ts'
import { denialMessage, denialText } from './denial.ts'
import type { KnownTools } from './facts.ts'
import type { Given } from './given.ts'
import { type Asked, recorded, type Within } from './inner.ts'
import { askAboutAnswers, type States } from './input-required.ts'
import type { Pending } from './pending.ts'
import type { Answer, Arrival, Judgement, Ports } from './ports.ts'
import { type Read, readPost } from './read.ts'
import { readStream } from './read-stream.ts'
import { REFUSALS, type RefusalReason } from './refusal.ts'
import type { Sealer } from './session.ts'
import type { Tasks } from './tasks.ts'

export type Settings = {
  server: string
  /** where a person may ask, from `plugins.mcp.help` */
  help?: string
  limits: JsonLimits
  /** whether the Authorization that came with a verified assertion goes on to the upstream */
  forwardsAuthorization: boolean
  /** the eras that the upstream can be asked in */
  eras: readonly Era[]
  /** milliseconds that one stream may live under the assertion that opened it */
  streamMaxAge: number
  /** milliseconds that it may live after that assertion has expired; undefined: for all of its age */
  streamAfterExpiry?: number
  /** for digests of what must not be seen */
  digestKey: Uint8Array
  /** records have pseudonyms under it in place of identities */
  identityKey?: Uint8Array
}

export type Context = {
  ports: Ports
  settings: Settings
  sealer: Sealer
  tools: KnownTools
  /** requests of the server that wait for an answer of the client */
  pending: Pending
  /** what client and server know of one another by ids of their own */
  given: Given
  /** states that clients bring back (2026-07-28) */
  states: States
  tasks: Tasks
  /** when another policy is in force */
  changes: Changes
  /** whether the policy in force narrows the schemas of tools of this server */
  narrows: () => boolean
  origin: () => Origin
}

/** One arrival and what is known of it from its first moment on. */
export type Exchange = { arrival: Arrival; decision_id: string; started: number }

/**
 * The way of one message, whatever carried it: read, judge, record, enforce, deliver. Whatever goes wrong on it is a
 * refusal; nothing reaches the upstream but through the one call of `forward`, which takes a permit.
 */
export function createHandler(context: Context): (arrival: Arrival) => Promise<Answer> {
  const { ports } = context
  return async function handle(arrival) {
    const exchange = { arrival, decision_id: ports.newId(), started: ports.now() }

    const reading = arrival.verb === 'POST' ? readPost(context, exchange) : readStream(context, exchange)
    if (!reading.ok) return refuse(context, exchange, reading.reason, reading)
    const { read } = reading
    exchange.arrival = { ...arrival, trace: traceOf(read.message) ?? arrival.trace }
    if (!arrival.who) return refuse(context, exchange, 'assertion_missing', read)

    const judged = await ports.judge({
      ask: read.refusal || read.method?.treatment === 'protocol' ? 'identity' : 'decision',
      who: arrival.who,
      ...(read.owner && { owner: read.owner }),
      draft: read.draft,
      trace: exchange.arrival.trace,
      ...(read.id !== null && { rpc_id: read.id }),
    })
    if (judged.kind !== 'identified' && judged.kind !== 'decided') {
      const subject = judged.kind === 'foreign_session' ? judged.identity.subject : undefined
      return refuse(context, exchange, troubleOf(judged, read), read, subject)
    }
    const full = arrival.admit?.(judged.identity, read.method?.long === true)
    if (full) return refuse(context, exchange, full, read, judged.identity.subject)
    if (read.refusal) return refuse(context, exchange, read.refusal, read, judged.identity.subject)

    if (judged.kind === 'decided') {
      if (!judged.decision.allow) return deny(context, exchange, read, judged)
      if (!(await recorded(context, judged))) return refuse(context, exchange, 'record_refused', read)
    }
    const within = { exchange, read, identity: judged.identity }
    const barred = await askAboutAnswers(context, within, read.inputs ?? [])
    if (barred) return bar(context, within, barred)
    const permit =
      judged.kind === 'decided'
        ? permitDecided(judged.decision, exchange.decision_id)
        : permitProtocol(read.method, exchange.decision_id)
    if (!permit) return refuse(context, exchange, 'internal', read)
    if (read.answers && !context.pending.take(read.answers.key))
      return refuse(context, exchange, 'unexpected_response', read)
    learnHosted(context, read)
    ports.count(judged.kind === 'decided' ? 'allowed' : 'protocol')

    const owner = ownerKey(ownerOf(judged.identity))
    const call = { ...callOf(context, arrival, read, judged.assertion?.expires), owner }
    arrival.onForward?.()
    const reply = await ports.forward(permit, call)
    return deliver(context, { ...within, call }, reply)
  }
}

/** A client that answers with a task hosts it: the server will ask for it by the client's id (2025-11-25, "Tasks"). */
function learnHosted({ given }: Context, { message, answers }: Read): void {
  if (!answers || message?.kind !== 'response' || !isObject(message.result?.task)) return
  const { key, asking } = answers
  const { taskId } = message.result.task
  if (typeof taskId === 'string' && !asking.method.startsWith('tasks/'))
    given.add(key, 'task', taskId, { decision_id: asking.decision_id, method: asking.method })
}

/** The refusal of a decision, in the form that the method has for it. */
async function deny(
  context: Context,
  exchange: Exchange,
  read: Read,
  judged: Extract<Judgement, { kind: 'decided' }>,
): Promise<Answer> {
  context.ports.count('denied')
  // A denial has no effect that would have to wait for its record.
  await recorded(context, judged)
  const { message, answers } = read
  // The server waits for this answer: it is told that there is none.
  if (message?.kind === 'response' && answers && context.pending.take(answers.key))
    context.ports.decline(callOf(context, exchange.arrival, read), message.id, answers.asking.method)
  return denial(context, exchange.decision_id, read, judged)
}

/** What a request brings besides is not allowed, so it is not sent. */
async function bar(
  context: Context,
  within: Within,
  asked: Exclude<Asked, { kind: 'allowed' }>,
): Promise<Answer> {
  finish(context, within, {
    end: 'not_sent',
    cause: { code: 'input_response', decision_id: asked.decision_id },
  })
  return asked.kind === 'denied'
    ? denial(context, asked.decision_id, within.read, asked)
    : refuse(context, within.exchange, asked.reason, within.read, within.identity.subject)
}

function denial(
  context: Context,
  decision_id: string,
  read: Read,
  { decision, revision = revisionOf(context.origin()) }: { decision: Decision; revision?: string },
): Answer {
  const { server, help } = context.settings
  const about = {
    server,
    decision_id,
    revision,
    ...(help !== undefined && { help }),
  }
  const { message } = read
  if (message && message.kind !== 'request') return { kind: 'accepted', status: 202, decision_id }
  if (message && message.method !== 'server/discover') {
    const text = denialMessage(message, read.era, decision, about)
    return { kind: 'message', status: 200, text, decision_id }
  }
  // A JSON-RPC error would make a client that discovers fall back to an older revision.
  const data = { decision_id, reasons: decision.reasons }
  const text = errorText(read.id, DENIED, denialText(decision, about), data)
  return { kind: 'message', status: 403, text, decision_id }
}

/**
 * The answer to what never became a question, recorded without its content. Also used by a listener for what is no
 * request at all.
 */
export async function refuse(
  context: Context,
  exchange: Exchange,
  reason: RefusalReason,
  about: { id: RpcId | null; era?: Era; data?: JsonObject },
  subject?: string,
): Promise<Answer> {
  const { ports } = context
  const { decision_id, arrival } = exchange
  const refusal: { status: number; code: number; text: string; retryAfter?: number } = REFUSALS[reason]
  // In the legacy era a 404 means that the session is gone (2025-11-25, "Session Management"); what is no request has
  // no answer but its status.
  const gentle = reason === 'unknown_method' && about.era === 'legacy'
  const status = gentle ? (about.id === null ? 400 : 200) : refusal.status
  const named = subject === undefined ? undefined : recordedName(context.settings.identityKey, subject)
  ports.count('rejected', reason)
  const facts = {
    decision_id,
    event_id: ports.newId(),
    time_ms: ports.now(),
    ...arrival.trace,
    rpc_id: about.id,
  }
  await ports.record(
    rejectEvent(context.origin(), facts, { code: reason, status }, arrival.http, named),
    'reserve',
    { code: reason, few: true },
  )
  const text = errorText(about.id, refusal.code, refusal.text, { ...about.data, decision_id, reason })
  const retry = refusal.retryAfter === undefined ? {} : { retryAfter: refusal.retryAfter }
  return { kind: 'message', status, text, decision_id, ...retry }
}

function troubleOf(
  judged: Exclude<Judgement, { kind: 'identified' | 'decided' }>,
  { session, draft }: Read,
): RefusalReason {
  switch (judged.kind) {
    case 'unidentified':
    case 'unavailable':
      return judged.fault
    case 'foreign_session':
      if (session) return 'unknown_session'
      return draft.params.requestState === undefined ? 'unknown_task' : 'bad_request_state'
    case 'visible':
      return 'internal'
  }
}
