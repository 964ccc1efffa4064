import { LEGACY_VERSIONS } from '../mcp/headers.ts'
import { type Message, type Request, type Response, readMessage, writeMessage } from '../mcp/message.ts'
import { methodToServer } from '../mcp/methods.ts'
import {
  DEFAULT_JSON_LIMITS,
  isObject,
  type JsonObject,
  parseStrict,
  parseStrictBytes,
} from '../mcp/strict-json.ts'
import type { Item } from '../pdp/visible.ts'
import { listOf, narrow } from '../pdp/visible.ts'
import type { KnownTools } from './facts.ts'
import type { Judgement } from './ports.ts'

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
  | { ok: false; fault: 'upstream_malformed' | 'unsupported_result' | 'visible_undecided' }

export type Screening = {
  request: Request
  era: 'legacy' | 'modern'
  /** whose lists are remembered */
  owner: string
  tools: KnownTools
  visible: (items: Item[]) => Promise<Judgement>
}

/** URLElicitationRequired (2025-11-25): a server request in the dress of an error. */
const URL_ELICITATION_REQUIRED = -32042

/** What of a response goes to the client: lists are narrowed to what this identity may see. */
export async function screen(response: Response, at: Screening): Promise<Screened> {
  const { request } = at
  if (response.id !== request.id) return { ok: false, fault: 'upstream_malformed' }
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
  let counts: { listed: number; hidden: number } | undefined
  if (list) {
    const things = listOf(result, list)
    if (!things) return { ok: false, fault: 'upstream_malformed' }
    const facts = list.kind === 'tool' ? at.tools.learn(at.owner, things) : []
    const items = things.map((thing, i): Item => {
      const item: Item = { kind: list.kind, key: String(thing[list.key]) }
      if (isObject(thing.annotations)) item.annotations = thing.annotations
      const known = facts[i]
      if (known) item.digest = known.digest
      return item
    })
    const judged = things.length === 0 ? ({ kind: 'visible', visible: [] } as const) : await at.visible(items)
    if (judged.kind !== 'visible') return { ok: false, fault: 'visible_undecided' }
    result = narrow(result, list.member, things, new Map(judged.visible))
    counts = { listed: things.length, hidden: things.length - judged.visible.length }
  }
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

/** What was narrowed for one must not be cached for all (2026-07-28, "Caching": absent is read as public). */
function makePrivate(result: JsonObject, narrowed: boolean): JsonObject {
  if (!narrowed && result.cacheScope === undefined && result.ttlMs === undefined) return result
  return { ...result, cacheScope: 'private' }
}
