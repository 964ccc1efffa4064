import { LEGACY_VERSIONS } from '../mcp/headers.ts'
import { type Message, type Request, type Response, readMessage, writeMessage } from '../mcp/message.ts'
import { type Method, methodToServer } from '../mcp/methods.ts'
import {
  DEFAULT_JSON_LIMITS,
  isObject,
  type JsonObject,
  parseStrict,
  parseStrictBytes,
} from '../mcp/strict-json.ts'
import type { Item } from '../pdp/visible.ts'
import { listOf } from '../pdp/visible.ts'
import type { KnownTools } from './facts.ts'
import type { Judgement } from './ports.ts'
import { namedBy } from './side-doors.ts'

/** Results may be larger than calls: files, logs, lists. */
const LIMITS = { ...DEFAULT_JSON_LIMITS, bytes: 16 << 20, keys: 500_000, string: 8 << 20 }

/** One message of the upstream, strictly; undefined for anything else, which is not delivered. */
export function readUpstream(body: Uint8Array | string): Message | undefined {
  const parsed = typeof body === 'string' ? parseStrict(body, LIMITS) : parseStrictBytes(body, LIMITS)
  if (!parsed.ok) return undefined
  const read = readMessage(parsed.value)
  return read.ok ? read.message : undefined
}

export type Screened =
  | {
      ok: true
      text: string
      version?: string
      listed?: number
      hidden?: number
      tool_error?: boolean
      rpc_error?: number
    }
  | {
      ok: false
      fault: 'upstream_malformed' | 'unsupported_result' | 'visible_undecided' | 'no_longer_visible'
    }

export type Screening = {
  request: Request
  era: 'legacy' | 'modern'
  /** whose lists are remembered */
  owner: string
  tools: KnownTools
  visible: (items: Item[]) => Promise<Judgement>
  /** of an answer that comes later than its call: what the call named, which must still be visible */
  late?: Item | undefined
}

/** URLElicitationRequired (2025-11-25): a server request in the dress of an error. */
const URL_ELICITATION_REQUIRED = -32042

/** What of a response goes to the client: lists are narrowed to what this identity may see. */
export async function screen(response: Response, at: Screening): Promise<Screened> {
  const { request } = at
  if (response.id !== request.id) return { ok: false, fault: 'upstream_malformed' }
  if (at.late) {
    const judged = await at.visible([at.late])
    if (judged.kind !== 'visible') return { ok: false, fault: 'visible_undecided' }
    if (judged.visible.length === 0) return { ok: false, fault: 'no_longer_visible' }
  }
  if (response.error) {
    const { code } = response.error
    if (code === URL_ELICITATION_REQUIRED) return { ok: false, fault: 'unsupported_result' }
    return { ok: true, text: writeMessage(response), ...(typeof code === 'number' && { rpc_error: code }) }
  }
  let { result } = response
  // `input_required` carries server requests and `task` a result to fetch later: neither is decided yet.
  const type = result.resultType ?? 'complete'
  if (type !== 'complete') return { ok: false, fault: 'unsupported_result' }

  const list = methodToServer(request.method)?.list
  const named = namedBy(request.method, list, request.params, result, about(at, list, result))
  if (!named) return { ok: false, fault: 'upstream_malformed' }
  const { items } = named
  const judged = items.length === 0 ? ({ kind: 'visible', visible: [] } as const) : await at.visible(items)
  if (judged.kind !== 'visible') return { ok: false, fault: 'visible_undecided' }
  result = named.keep(new Map(judged.visible))
  const counts =
    list || items.length > 0
      ? { listed: items.length, hidden: items.length - judged.visible.length }
      : undefined
  if (at.era === 'modern') result = makePrivate(result, list !== undefined)
  const version = request.method === 'initialize' ? result.protocolVersion : undefined
  if (
    request.method === 'initialize' &&
    !(typeof version === 'string' && LEGACY_VERSIONS.includes(version))
  ) {
    return { ok: false, fault: 'upstream_malformed' }
  }
  return {
    ok: true,
    text: JSON.stringify({ jsonrpc: '2.0', id: response.id, result }),
    ...counts,
    ...(typeof version === 'string' && { version }),
    ...(request.method === 'tools/call' && { tool_error: result.isError === true }),
  }
}

/** The item of a thing of a list. Definitions of tools are remembered: what they declare is asked about at a call. */
function about(at: Screening, list: Method['list'], result: JsonObject): (thing: JsonObject) => Item {
  const things = list?.kind === 'tool' ? listOf(result, list) : undefined
  const facts = things
    ? new Map(at.tools.learn(at.owner, things).map((one, i) => [things[i], one]))
    : undefined
  return (thing) => {
    const item: Item = { kind: list?.kind ?? 'tool', key: String(thing[list?.key ?? 'name']) }
    if (isObject(thing.annotations)) item.annotations = thing.annotations
    const known = facts?.get(thing)
    if (known) item.digest = known.digest
    return item
  }
}

/** What was narrowed for one must not be cached for all (2026-07-28, "Caching": absent is read as public). */
function makePrivate(result: JsonObject, narrowed: boolean): JsonObject {
  if (!narrowed && result.cacheScope === undefined && result.ttlMs === undefined) return result
  return { ...result, cacheScope: 'private' }
}
