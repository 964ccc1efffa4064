import { createHmac } from 'node:crypto'
import { META_CLIENT } from '../mcp/headers.ts'
import { type Notification, type Request, type Response, respells } from '../mcp/message.ts'
import { isObject, type Json, type JsonObject } from '../mcp/strict-json.ts'
import type { Identity } from './identity.ts'
import type { ToolFacts } from './tool.ts'
import { type Page, type Resource, readPage, readResource } from './uri.ts'
import type { Item } from './visible.ts'

export type Client = { name?: string; version?: string }
export type Elicitation = { mode: string; url?: Page; message?: string; schema?: JsonObject }
export type Task = { digest: string; tool?: string; owner: 'same' | 'other' | 'unknown' }
/** What a message happens within. */
export type Parent = { decision_id: string; method: string; tool?: string }

/** What the policy is asked, but for who asks: that is added once the assertion is verified. Policy contract, "input". */
export type Draft = {
  decision_id: string
  time: string
  time_ms: number
  server: string
  protocol_version: string
  direction: 'to_server' | 'to_client'
  kind: 'request' | 'notification' | 'response' | 'stream'
  method: string
  tool?: {
    name: string
    declared: 'listed' | 'pinned' | 'unknown'
    annotations?: JsonObject
    digest?: string
    /** beside undeclared arguments only: whether the schema rules one of them out */
    closed?: boolean
  }
  arguments?: JsonObject
  undeclared_arguments?: string[]
  prompt?: { name: string }
  resource?: Resource
  resources?: Resource[]
  template?: string
  elicitation?: Elicitation
  task?: Task
  response?: { result: JsonObject } | { error: JsonObject }
  parent?: Parent
  items?: Item[]
  params: JsonObject
  client?: Client
  mcp_session?: string
  http: { request_id?: string; source_ip?: string }
}
export type Input = Draft & { identity: Identity }

export type DraftFault =
  | 'missing_name'
  | 'bad_arguments'
  | 'bad_uri'
  | 'bad_reference'
  | 'bad_subscription'
  | 'bad_task'
  | 'bad_input_response'
  | 'bad_elicitation'
/** `ambiguous`: to be refused once the identity is known, for the answer tells what that identity was shown. */
export type DraftResult = { ok: true; draft: Draft; ambiguous?: boolean } | { ok: false; fault: DraftFault }

/** What is the same for every question about one exchange. */
export type Setting = Pick<
  Draft,
  'decision_id' | 'time_ms' | 'server' | 'protocol_version' | 'client' | 'mcp_session' | 'http'
>
/** What a question needs beyond the message itself. */
export type Known = {
  /** what is known of the tool that the message names */
  facts: (tool: string) => ToolFacts | undefined
  /** stands for what must not be seen */
  digest: (value: string) => string
  /** what a task of the client's own was asked for within; undefined: it is not known to have one of this id */
  hosted: (taskId: string) => Parent | undefined
  /** the task that the message names */
  task?: Task
  parent?: Parent
}

const no = (fault: DraftFault): DraftResult => ({ ok: false, fault })

/** The question about one message to the server. Each value of `params` goes to exactly one place; `_meta` to none. */
export function draftOf(message: Request | Notification, setting: Setting, known: Known): DraftResult {
  const { _meta, inputResponses, requestState, ...params } = message.params
  const { method } = message
  const draft: Draft = {
    ...base(setting),
    direction: 'to_server',
    kind: message.kind,
    method,
    ...(known.task && { task: known.task }),
    ...(known.parent && { parent: known.parent }),
    params,
  }
  const client = isObject(_meta) ? readClient(_meta[META_CLIENT]) : undefined
  if (client) draft.client = client
  if (params.task !== undefined && (method !== 'tools/call' || !isObject(params.task))) return no('bad_task')
  // Each entry is a question of its own; here it is told which there are.
  if (inputResponses !== undefined) {
    if (!isObject(inputResponses)) return no('bad_input_response')
    params.inputResponses = Object.keys(inputResponses)
  }
  if (requestState !== undefined) {
    if (typeof requestState !== 'string') return no('bad_input_response')
    params.requestState = known.digest(requestState)
  }
  const filled = FILL.get(method)?.(draft, params, known)
  return filled ?? { ok: true, draft }
}

type Fill = (draft: Draft, params: JsonObject, known: Known) => DraftResult | undefined

function readUri(draft: Draft, { uri, ...left }: JsonObject): DraftResult | undefined {
  const resource = typeof uri === 'string' ? readResource(uri) : undefined
  if (!resource) return no('bad_uri')
  draft.params = left
  draft.resource = resource
  return undefined
}

function readTask(draft: Draft, { taskId, ...left }: JsonObject): DraftResult | undefined {
  if (!draft.task) return no('bad_task')
  draft.params = left
  return undefined
}

/** A client tells of a task of its own, which has an id of the client's. */
function readHosted(draft: Draft, { taskId, ...left }: JsonObject, known: Known): DraftResult | undefined {
  if (typeof taskId !== 'string') return no('bad_task')
  addHosted(draft, taskId, known.digest, known.hosted(taskId))
  draft.params = left
  return undefined
}

function addHosted(draft: Draft, id: string, digest: Known['digest'], hosted: Parent | undefined): void {
  draft.task = { digest: digest(id), owner: hosted ? 'same' : 'unknown' }
  if (hosted) draft.parent = hosted
}

/** By method, what is taken out of `params`; a method that is not here leaves it whole. */
const FILL = new Map<string, Fill>([
  ['tools/call', readNamed],
  ['prompts/get', readNamed],
  ['resources/read', readUri],
  ['resources/subscribe', readUri],
  ['resources/unsubscribe', readUri],
  ['completion/complete', readCompletion],
  ['subscriptions/listen', readSubscription],
  ['tasks/get', readTask],
  ['tasks/result', readTask],
  ['tasks/cancel', readTask],
  ['tasks/update', readTask],
  ['notifications/tasks/status', readHosted],
  ['initialize', readHandshake],
])

function readNamed(draft: Draft, params: JsonObject, { facts }: Known): DraftResult | undefined {
  const { name, arguments: args, ...left } = params
  if (typeof name !== 'string' || name === '') return no('missing_name')
  if (args !== undefined && !isObject(args)) return no('bad_arguments')
  draft.params = left
  if (args !== undefined) draft.arguments = args
  if (draft.method === 'tools/call') return addTool(draft, name, facts(name))
  draft.prompt = { name }
  return undefined
}

function readHandshake(draft: Draft, { clientInfo, ...left }: JsonObject): undefined {
  draft.params = left
  const client = readClient(clientInfo)
  if (client) draft.client = client
}

/** `arguments`: those that are settled, and the one that is being completed. */
function readCompletion(draft: Draft, params: JsonObject): DraftResult | undefined {
  const { ref, argument, context, ...left } = params
  if (!isObject(ref) || respells(ref, ['type', 'name', 'uri', 'title'])) return no('bad_reference')
  const { type, name, uri, ...rest } = ref
  if (type === 'ref/prompt' && typeof name === 'string' && name !== '' && uri === undefined)
    draft.prompt = { name }
  else if (type === 'ref/resource' && typeof uri === 'string' && uri !== '' && name === undefined)
    draft.template = uri
  else return no('bad_reference')
  if (!isObject(argument) || respells(argument, ['name', 'value'])) return no('bad_arguments')
  const { name: key, value, ...more } = argument
  if (typeof key !== 'string' || typeof value !== 'string') return no('bad_arguments')
  if (context !== undefined && (!isObject(context) || respells(context, ['arguments'])))
    return no('bad_arguments')
  const { arguments: settled = {}, ...around } = context ?? {}
  // The same argument settled and being completed: which of the two a server takes is up to it.
  if (!isObject(settled) || Object.hasOwn(settled, key)) return no('bad_arguments')
  draft.arguments = { ...settled, [key]: value }
  draft.params = { ...left, ref: { type, ...rest }, argument: { name: key, ...more } }
  if (Object.keys(around).length > 0) draft.params.context = around
  return undefined
}

const SUBSCRIPTION = [
  'toolsListChanged',
  'promptsListChanged',
  'resourcesListChanged',
  'resourceSubscriptions',
  'taskIds',
]

function readSubscription(draft: Draft, params: JsonObject, { digest }: Known): DraftResult | undefined {
  const { notifications, ...left } = params
  if (!isObject(notifications) || respells(notifications, SUBSCRIPTION)) return no('bad_subscription')
  const { resourceSubscriptions = [], taskIds, ...flags } = notifications
  if (!Array.isArray(resourceSubscriptions)) return no('bad_subscription')
  const resources = resourceSubscriptions.map((uri) =>
    typeof uri === 'string' ? readResource(uri) : undefined,
  )
  if (!resources.every((resource) => resource !== undefined)) return no('bad_uri')
  if (resources.length > 0) draft.resources = resources
  draft.params = { ...left, notifications: flags }
  if (taskIds === undefined) return undefined
  if (!Array.isArray(taskIds) || !taskIds.every((id) => typeof id === 'string')) return no('bad_subscription')
  flags.taskIds = taskIds.map((id) => digest(id as string))
  return undefined
}

/** The question about a request of the server to the client, or about one within a result. */
export function draftOfServerRequest(
  { method, params: { _meta, ...params } }: Pick<Request, 'method' | 'params'>,
  setting: Setting,
  known: Pick<Known, 'digest' | 'parent'> & { hosted?: Parent },
): DraftResult {
  const draft: Draft = {
    ...base(setting),
    direction: 'to_client',
    kind: 'request',
    method,
    ...(known.parent && { parent: known.parent }),
    params,
  }
  if (method === 'elicitation/create') return addElicitation(draft, params)
  if (method.startsWith('tasks/') && params.taskId !== undefined) {
    const { taskId, ...left } = params
    if (typeof taskId !== 'string') return no('bad_task')
    // It is the client's own task: its id was never the server's to seal.
    addHosted(draft, taskId, known.digest, known.hosted)
    draft.params = left
  }
  return { ok: true, draft }
}

function addElicitation(draft: Draft, params: JsonObject): DraftResult {
  const { mode = 'form', url, message, requestedSchema, ...left } = params
  if (mode !== 'form' && mode !== 'url') return no('bad_elicitation')
  const page = typeof url === 'string' ? readPage(url) : undefined
  // An address in a form is one that nobody asked about; a page without one that can be read is none.
  if (mode === 'url' ? !page : url !== undefined) return no('bad_elicitation')
  if (message !== undefined && typeof message !== 'string') return no('bad_elicitation')
  if (requestedSchema !== undefined && !isObject(requestedSchema)) return no('bad_elicitation')
  draft.elicitation = {
    mode,
    ...(page && { url: page }),
    ...(message !== undefined && { message }),
    ...(requestedSchema && { schema: requestedSchema }),
  }
  draft.params = left
  return { ok: true, draft }
}

/** The question about what a client answers to a request of the server. */
export function draftOfAnswer(
  method: string,
  answer: { result: JsonObject } | { error: JsonObject },
  setting: Setting,
  parent: Parent | undefined,
  digest: Known['digest'],
): Draft {
  const response =
    'result' in answer
      ? { result: withoutTaskIds(withoutMeta(answer.result), digest) }
      : { error: answer.error }
  return {
    ...base(setting),
    direction: 'to_server',
    kind: 'response',
    method,
    response,
    ...(parent && { parent }),
    params: {},
  }
}

const withoutMeta = ({ _meta, ...rest }: JsonObject): JsonObject => rest

/** A client's tasks are named to the policy by digests, as the server's are. */
function withoutTaskIds(result: JsonObject, digest: Known['digest']): JsonObject {
  const named = (task: Json | undefined): Json | undefined =>
    isObject(task) && typeof task.taskId === 'string' ? { ...task, taskId: digest(task.taskId) } : task
  const { task, tasks } = result
  return {
    ...(named(result) as JsonObject),
    ...(task !== undefined && { task: named(task) as Json }),
    ...(Array.isArray(tasks) && { tasks: tasks.map((one) => named(one) as Json) }),
  }
}

/** Whether an answer tells the server more than that it was read: an empty one and a refused elicitation do not. */
export function carriesData(method: string, answer: Response): boolean {
  if (method === 'ping') return false
  if (answer.error) return true
  const { action, content, ...rest } = withoutMeta(answer.result)
  if (method !== 'elicitation/create') return true
  if (Object.keys(rest).length > 0 || !['accept', 'decline', 'cancel'].includes(String(action))) return true
  return content !== undefined && !(isObject(content) && Object.keys(content).length === 0)
}

/** The question about opening a stream or ending a session, which are no messages. */
export function draftOfStream(method: 'stream/open' | 'session/end', setting: Setting): Draft {
  return { ...base(setting), direction: 'to_server', kind: 'stream', method, params: {} }
}

const base = (setting: Setting) => ({ ...setting, time: new Date(setting.time_ms).toISOString() })

function addTool(draft: Draft, name: string, facts: ToolFacts | undefined): DraftResult {
  if (!facts) {
    draft.tool = { name, declared: 'unknown' }
    return { ok: true, draft }
  }
  draft.tool = { name, declared: 'listed', digest: facts.digest }
  if (facts.annotations) draft.tool.annotations = facts.annotations
  const undeclared = facts.undeclared(draft.arguments ?? {})
  if (undeclared === 'ambiguous') return { ok: true, draft, ambiguous: true }
  draft.undeclared_arguments = undeclared.pointers
  if (undeclared.pointers.length > 0) draft.tool.closed = undeclared.closed
  return { ok: true, draft }
}

export function readClient(info: unknown): Client | undefined {
  if (!isObject(info)) return undefined
  const client: Client = {}
  if (typeof info.name === 'string') client.name = info.name.slice(0, 128).toWellFormed()
  if (typeof info.version === 'string') client.version = info.version.slice(0, 64).toWellFormed()
  return client
}

/** Stands for a value that must not be seen but may be compared: `hmac:` and 132 bits. */
export const keyedDigest = (key: Uint8Array, value: string): string =>
  `hmac:${createHmac('sha256', key).update(value).digest('base64url').slice(0, 22)}`
