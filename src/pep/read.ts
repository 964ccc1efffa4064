import { HEADER_MISMATCH } from '../mcp/error.ts'
import { classify, type Era, LATEST_LEGACY, META_CAPABILITIES } from '../mcp/headers.ts'
import {
  type Message,
  type Notification,
  type Request,
  type Response,
  type RpcId,
  readMessage,
  withProtocolMeta,
} from '../mcp/message.ts'
import { ANSWER, ANSWER_WITHOUT_DATA, type Method, methodOf, TASKS } from '../mcp/methods.ts'
import { mirrorParams } from '../mcp/param-headers.ts'
import { isObject, type JsonObject, parseStrictBytes } from '../mcp/strict-json.ts'
import { draftOf } from '../pdp/client-message.ts'
import { type Owner, sameOwner } from '../pdp/identity.ts'
import { type Draft, keyedDigest, type Setting } from '../pdp/input.ts'
import { carriesData, draftOfAnswer } from '../pdp/server-request.ts'
import type { Context, Exchange } from './handle.ts'
import { type InputAnswer, readInputAnswers } from './input-required.ts'
import type { Asking, AskingKey } from './pending.ts'
import type { Place } from './place.ts'
import type { Arrival } from './ports.ts'
import type { RefusalReason } from './refusal.ts'
import { claimedKey, draftTask, openSession, openTokens, ownTask } from './sealed.ts'
import type { Session } from './session.ts'
import { renameRelated, type Task } from './tasks.ts'

/** What an arrival is, before anybody is asked about it. Without a message it is the opening of a stream or an end. */
export type Read = {
  /** as the upstream gets it: with its own ids of tasks and its own states */
  message: Message | undefined
  method: Method | undefined
  id: RpcId | null
  draft: Draft
  era: Era
  version: string
  session: Session | undefined
  /** who must ask: whose session, task or state it is */
  owner?: Owner
  /** where a stream is resumed */
  place?: Place
  /** the task that it names, and the client's id of it */
  task?: { token: string; task: Task }
  /** the answers to input requests that it brings */
  inputs?: InputAnswer[]
  /** the request of the server that it answers */
  answers?: { key: AskingKey; asking: Asking }
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
  const message = withProtocolMeta(one.message)
  const id = message.kind === 'request' ? message.id : null

  let classified = classify(message, arrival.headers, undefined)
  // A handshake starts a session and a modern request has none: an id that comes with them is dropped.
  const isHandshake = message.kind !== 'response' && message.method === 'initialize'
  const sessionless = (isHandshake && !arrival.sse) || (classified.ok && classified.era === 'modern')
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
  const at: At = { id, era, version, session, setting: settingOf(context, exchange, version, session) }
  return message.kind === 'response'
    ? readAnswer(context, arrival, message, at)
    : readAsking(context, arrival, message, at)
}

/** What comes back with a request that was answered with questions (2026-07-28). */
const INPUTS = ['inputResponses', 'requestState']

type At = Pick<Read, 'id' | 'era' | 'version' | 'session'> & { setting: Setting }

function readAsking(
  context: Context,
  arrival: Arrival,
  message: Request | Notification,
  { setting, ...at }: At,
): ReadResult {
  const { id, era, session } = at
  const no = (reason: RefusalReason): ReadResult => ({ ok: false, reason, id, era })
  // A handshake names the revision that it would like, which may be none of ours.
  const revision = message.method === 'initialize' && era === 'legacy' ? LATEST_LEGACY : at.version
  const method = methodOf('to_server', message.method, revision)
  if (!method || !context.settings.eras.includes(era)) return no('unknown_method')
  if (method.shape !== message.kind) return no('wrong_shape')
  const extension = listensToTasks(message) ? TASKS : method.extension
  if (era === 'modern' && extension !== undefined && !declares(message.params, extension)) {
    const data = { requiredCapabilities: { extensions: { [extension]: {} } } }
    return { ok: false, reason: 'missing_capability', id, era, data }
  }
  const takesInputs = era === 'modern' && (method.asks || message.method === 'tasks/update')
  if (!takesInputs && INPUTS.some((name) => message.params[name] !== undefined))
    return no('bad_input_response')
  const owner = claimedKey(arrival)
  const opened = openTokens(context, arrival, message)
  if (!opened.ok) return no(opened.reason)
  const { task, state } = opened
  const digest = (value: string) => keyedDigest(context.settings.digestKey, value)
  const drafted = draftOf(opened.message, setting, {
    facts: (tool) => context.tools.lookup(owner, tool),
    digest,
    hosted: (id) => context.given.find({ owner, session: session?.upstream ?? '' }, 'task', id),
    ...(task && { task: draftTask(task.task, digest) }),
  })
  if (!drafted.ok) return no(drafted.fault)
  const asked = task ? context.tasks.asked(task.task) : state?.asked
  const inputs = readInputAnswers(opened.message.params.inputResponses, asked, task !== undefined)
  if (!inputs) return no('bad_input_response')
  const params = paramsOf(context, owner, message, era, arrival)
  const owners = [session?.owner, ...opened.owners].filter((one) => one !== undefined)
  const [first] = owners
  const refusal = drafted.ambiguous
    ? 'ambiguous_argument'
    : params === undefined
      ? 'header_mismatch'
      : session === undefined && method.ofSession
        ? 'no_session'
        : first && !owners.every((one) => sameOwner(one, first))
          ? 'unknown_task'
          : undefined
  const read: Read = {
    ...at,
    message: withPlainInputs(opened.message, inputs),
    method,
    draft: drafted.draft,
    ...(first && { owner: first }),
    ...(task && { task }),
    inputs,
    params: params ?? {},
  }
  return { ok: true, read: refusal ? { ...read, refusal } : read }
}

/** What a client answers to a request of the server; which, must be one that this identity was given. */
function readAnswer(
  context: Context,
  arrival: Arrival,
  response: Response,
  { setting, ...at }: At,
): ReadResult {
  const { session } = at
  const key = { owner: claimedKey(arrival), session: session?.upstream ?? '', id: response.id }
  const asking = context.pending.find(key)
  const method = asking?.method ?? 'unknown'
  const digest = (value: string) => keyedDigest(context.settings.digestKey, value)
  const answer = response.error ? { error: response.error } : { result: response.result }
  const read: Read = {
    ...at,
    id: null,
    message: asking ? withServersTask(context, arrival, response, asking.method) : response,
    method: carriesData(method, response) ? ANSWER : ANSWER_WITHOUT_DATA,
    draft: draftOfAnswer(method, answer, setting, asking?.parent, digest),
    ...(session && { owner: session.owner }),
  }
  // Told only to one who is known: whether somebody was asked is not for others.
  return {
    ok: true,
    read: asking ? { ...read, answers: { key, asking } } : { ...read, refusal: 'unexpected_response' },
  }
}

/** A client's own task keeps its id; of another it is the server's that the client holds sealed. */
function withServersTask(context: Context, arrival: Arrival, response: Response, method: string): Response {
  if (response.error || method.startsWith('tasks/')) return response
  return { ...response, result: renameRelated(response.result, (id) => ownTask(context, arrival, id)) }
}

/** News of tasks are of the extension, too (SEP-2663, "Task Status Notifications"). */
const listensToTasks = ({ method, params: { notifications } }: Request | Notification): boolean =>
  method === 'subscriptions/listen' && isObject(notifications) && notifications.taskIds !== undefined

/** Whether the request says that its client knows an extension (2026-07-28, "Capabilities"). */
function declares({ _meta }: JsonObject, extension: string): boolean {
  const capabilities = isObject(_meta) ? _meta[META_CAPABILITIES] : undefined
  const extensions = isObject(capabilities) ? capabilities.extensions : undefined
  return isObject(extensions) && isObject(extensions[extension])
}

/** Answers without what others put into their `_meta`: no policy sees it there. */
function withPlainInputs(message: Request | Notification, inputs: InputAnswer[]): Request | Notification {
  if (inputs.length === 0) return message
  const entries = inputs.map(({ key, response }) => [key, withProtocolMeta(response).result] as const)
  return {
    ...message,
    params: { ...message.params, inputResponses: Object.fromEntries(entries) as JsonObject },
  }
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

export function settingOf(
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
