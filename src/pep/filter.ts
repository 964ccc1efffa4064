import { LEGACY_VERSIONS } from '../mcp/headers.ts'
import { type Message, type Request, type Response, readMessage } from '../mcp/message.ts'
import { type Method, methodToServer } from '../mcp/methods.ts'
import {
  DEFAULT_JSON_LIMITS,
  isObject,
  type JsonObject,
  parseStrict,
  parseStrictBytes,
} from '../mcp/strict-json.ts'
import { ownerKey, ownerOf } from '../pdp/identity.ts'
import type { Item } from '../pdp/visible.ts'
import { listOf } from '../pdp/visible.ts'
import type { Context } from './handle.ts'
import { type Asked, screenPages, visibleTo, type Within } from './inner.ts'
import { screenInputRequests } from './input-required.ts'
import { thingOf } from './place.ts'
import { namedBy } from './side-doors.ts'
import { itemOfTask, itemsOfTasks, renameTasks } from './task-results.ts'

/** Results may be larger than calls: files, logs, lists. */
const LIMITS = { ...DEFAULT_JSON_LIMITS, bytes: 16 << 20, keys: 500_000, string: 8 << 20 }

/** One message of the upstream, strictly; undefined for anything else, which is not delivered. */
export function readUpstream(body: Uint8Array | string): Message | undefined {
  const parsed = typeof body === 'string' ? parseStrict(body, LIMITS) : parseStrictBytes(body, LIMITS)
  if (!parsed.ok) return undefined
  const read = readMessage(parsed.value)
  return read.ok ? read.message : undefined
}

/** UTF-16 units of schemas in one question. A tool whose schema is left out is shown as it is. */
const SCHEMAS = 1 << 20

export type Counts = { listed?: number; hidden?: number }
export type Withheld =
  | {
      ok: false
      fault: 'upstream_malformed' | 'unsupported_result' | 'visible_undecided' | 'no_longer_visible'
    }
  /** something within it is not allowed */
  | { ok: false; fault: 'inner'; asked: Exclude<Asked, { kind: 'allowed' }> }
export type Screened =
  | ({
      ok: true
      response: Response
      version?: string
      lists?: string[]
      tool_error?: boolean
      rpc_error?: number
    } & Counts)
  | Withheld

/** URLElicitationRequired (2025-11-25): a server request in the dress of an error. */
const URL_ELICITATION_REQUIRED = -32042

/** What of a response goes to the client: what it names is narrowed, what it asks is decided, its ids are sealed. */
export async function screen(
  context: Context,
  within: Within,
  request: Request,
  response: Response,
): Promise<Screened> {
  if (response.id !== request.id) return { ok: false, fault: 'upstream_malformed' }
  const { id } = response
  // An answer that comes later than its call: what that named must still be visible.
  const { place, task } = within.read
  const late = place?.call && (thingOf(place.call) ?? (task && itemOfTask(context, task.task)))
  if (late) {
    const judged = await visibleTo(context, within, [late])
    if (judged.kind !== 'visible') return { ok: false, fault: 'visible_undecided' }
    if (judged.visible.length === 0) return { ok: false, fault: 'no_longer_visible' }
  }
  if (response.error) {
    const error = await screenError(context, within, response.error)
    if (!error.ok) return error
    const { code } = error.error
    return {
      ok: true,
      response: { kind: 'response', id, error: error.error },
      ...(typeof code === 'number' && { rpc_error: code }),
    }
  }
  // What a task came to is screened as the answer to the request that started it.
  const method = request.method === 'tasks/result' ? (within.read.task?.task.method ?? '') : request.method
  const screened = await screenResult(context, within, method, request, response.result)
  if (!screened.ok) return screened
  const { result, listed, hidden } = screened
  const handshake = request.method === 'initialize' ? readHandshake(result) : {}
  if (!handshake) return { ok: false, fault: 'upstream_malformed' }
  return {
    ok: true,
    response: { kind: 'response', id, result },
    ...(listed !== undefined && { listed }),
    ...(hidden !== undefined && { hidden }),
    ...handshake,
    ...(method === 'tools/call' && { tool_error: result.isError === true }),
  }
}

export type ScreenedResult = ({ ok: true; result: JsonObject } & Counts) | Withheld

/** One result; within another one, too, where a task tells what it came to. */
export async function screenResult(
  context: Context,
  within: Within,
  method: string,
  request: Request,
  came: JsonObject,
): Promise<ScreenedResult> {
  const { era } = within.read
  const row = methodToServer(method)
  const renamed = renameTasks(context, within, request, came)
  if (!renamed) return { ok: false, fault: 'upstream_malformed' }
  let result = renamed
  const asks = result.inputRequests !== undefined || result.resultType === 'input_required'
  if (asks) {
    if (era !== 'modern' || !row?.asks) return { ok: false, fault: 'unsupported_result' }
    const asked = await screenInputRequests(context, within, request, result)
    if (!asked.ok) return asked
    result = { ...result, ...asked.members }
  }
  // Neither has content of its own: it is asked for again, or fetched later.
  if (asks && result.resultType === 'input_required') return { ok: true, result }
  if (result.resultType === 'task') {
    return era === 'modern' && request.method === 'tools/call'
      ? { ok: true, result }
      : { ok: false, fault: 'unsupported_result' }
  }
  if ((result.resultType ?? 'complete') !== 'complete') return { ok: false, fault: 'unsupported_result' }
  // The start of a task of 2025-11-25 has none, either.
  if (
    method === 'tools/call' &&
    request.method === method &&
    isObject(result.task) &&
    result.content === undefined
  )
    return { ok: true, result }

  const inner = await screenOutcome(context, within, method, request, result)
  if (!inner.ok) return inner
  result = inner.result

  const list = row?.list
  const named =
    list?.kind === 'task'
      ? itemsOfTasks(context, within, result)
      : namedBy(method, list, request.params, result, about(context, within, list, result))
  if (!named) return { ok: false, fault: 'upstream_malformed' }
  const { items } = named
  const judged =
    items.length === 0 ? ({ kind: 'visible', visible: [] } as const) : await visibleTo(context, within, items)
  if (judged.kind !== 'visible') return { ok: false, fault: 'visible_undecided' }
  result = named.keep(new Map(judged.visible))
  if (era === 'modern') result = makePrivate(result, list !== undefined)
  const { listed, hidden } = inner
  if (!list && items.length === 0 && listed === undefined) return { ok: true, result }
  return {
    ok: true,
    result,
    listed: items.length + (listed ?? 0),
    hidden: items.length - judged.visible.length + (hidden ?? 0),
  }
}

/** What a task came to, within the answer that tells its status (2026-07-28, extension `tasks`). */
async function screenOutcome(
  context: Context,
  within: Within,
  method: string,
  request: Request,
  result: JsonObject,
): Promise<ScreenedResult> {
  const { task } = within.read
  if (method !== 'tasks/get' || !task || within.read.era !== 'modern') return { ok: true, result }
  const { error } = result
  if (isObject(error)) {
    const screened = await screenError(context, within, error)
    return screened.ok ? { ok: true, result: { ...result, error: screened.error } } : screened
  }
  if (!isObject(result.result)) return { ok: true, result }
  const screened = await screenResult(context, within, task.task.method, request, result.result)
  return screened.ok ? { ...screened, result: { ...result, result: screened.result } } : screened
}

/** An error of the upstream; the pages that it wants opened are decided one by one. */
async function screenError(
  context: Context,
  within: Within,
  error: JsonObject,
): Promise<{ ok: true; error: JsonObject } | Withheld> {
  if (error.code !== URL_ELICITATION_REQUIRED) return { ok: true, error }
  const { data } = error
  const elicitations = isObject(data) ? data.elicitations : undefined
  if (!isObject(data) || !Array.isArray(elicitations) || !elicitations.every(isObject))
    return { ok: false, fault: 'upstream_malformed' }
  const pages = await screenPages(context, within, elicitations)
  return pages.ok ? { ok: true, error: { ...error, data: { ...data, elicitations: pages.pages } } } : pages
}

/** The item of a thing of a list. Definitions of tools are remembered: what they declare is asked about at a call. */
function about(
  { tools, narrows }: Context,
  { identity }: Within,
  list: Method['list'],
  result: JsonObject,
): (thing: JsonObject) => Item {
  const things = list?.kind === 'tool' ? listOf(result, list) : undefined
  const facts = things
    ? new Map(tools.learn(ownerKey(ownerOf(identity)), things).map((one, i) => [things[i], one]))
    : undefined
  let left = things && narrows() ? SCHEMAS : 0
  return (thing) => {
    const item: Item = { kind: list?.kind ?? 'tool', key: String(thing[list?.key ?? 'name']) }
    if (isObject(thing.annotations)) item.annotations = thing.annotations
    const known = facts?.get(thing)
    if (known) item.digest = known.digest
    if (left > 0 && isObject(thing.inputSchema)) {
      left -= JSON.stringify(thing.inputSchema).length
      if (left >= 0) item.inputSchema = thing.inputSchema
    }
    return item
  }
}

/** What was narrowed for one must not be cached for all (2026-07-28, "Caching": absent is read as public). */
function makePrivate(result: JsonObject, narrowed: boolean): JsonObject {
  if (!narrowed && result.cacheScope === undefined && result.ttlMs === undefined) return result
  return { ...result, cacheScope: 'private' }
}

const LISTS = ['tools', 'prompts', 'resources']

/** What a handshake agreed on: the revision, and which lists tell of their changes. */
function readHandshake({
  protocolVersion,
  capabilities,
}: JsonObject): { version: string; lists: string[] } | undefined {
  if (typeof protocolVersion !== 'string' || !LEGACY_VERSIONS.includes(protocolVersion)) return undefined
  const lists = LISTS.filter((name) => {
    const capability = isObject(capabilities) ? capabilities[name] : undefined
    return isObject(capability) && capability.listChanged === true
  })
  return { version: protocolVersion, lists }
}
