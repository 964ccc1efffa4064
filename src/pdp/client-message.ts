import { META_CLIENT } from '../mcp/headers.ts'
import { type Notification, type Request, respells } from '../mcp/message.ts'
import { isObject, type JsonObject } from '../mcp/strict-json.ts'
import {
  addHosted,
  base,
  type Draft,
  type DraftResult,
  type Known,
  no,
  readClient,
  type Setting,
} from './input.ts'
import type { ToolFacts } from './tool.ts'
import { readResource } from './uri.ts'

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
