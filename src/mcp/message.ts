import { foldKey, isObject, type Json, type JsonObject } from './strict-json.ts'

/** JSON-RPC 2.0 as MCP uses it: an id is a string or an integer, `params` is an object. */
export type RpcId = string | number
export type Request = { kind: 'request'; id: RpcId; method: string; params: JsonObject }
export type Notification = { kind: 'notification'; method: string; params: JsonObject }
export type Response = { kind: 'response'; id: RpcId } & (
  | { result: JsonObject; error?: never }
  | { error: JsonObject; result?: never }
)
export type Message = Request | Notification | Response

export type MessageFault =
  | 'batch'
  | 'not_a_message'
  | 'unknown_member'
  | 'bad_id'
  | 'bad_method'
  | 'bad_params'
  | 'bad_response'
export type MessageResult =
  | { ok: true; message: Message }
  | { ok: false; fault: MessageFault; id: RpcId | null }

const MEMBERS = new Set(['jsonrpc', 'id', 'method', 'params', 'result', 'error'])
const PARAMS = [
  'name',
  'arguments',
  'uri',
  'ref',
  'argument',
  'context',
  'cursor',
  '_meta',
  'task',
  'protocolVersion',
  'capabilities',
  'clientInfo',
  'inputResponses',
  'requestState',
  'level',
  'requestId',
  'taskId',
  'notifications',
  'mode',
  'url',
]
const FOLDED_PARAMS = new Map(PARAMS.map((name) => [foldKey(name), name]))

/** Whether a key is one of `names` in another spelling, which some readers would take for it. */
export function respells(value: JsonObject, names: readonly string[]): boolean {
  const folded = new Map(names.map((name) => [foldKey(name), name]))
  return Object.keys(value).some((key) => (folded.get(foldKey(key)) ?? key) !== key)
}

/**
 * Exactly one JSON-RPC message, or why not. Refused whole: batches (a stated limit in every revision), members that
 * JSON-RPC does not name, a `params` key that is a known one in another spelling.
 */
export function readMessage(value: Json): MessageResult {
  if (Array.isArray(value)) return { ok: false, fault: 'batch', id: null }
  if (!isObject(value)) return { ok: false, fault: 'not_a_message', id: null }
  const id = isRpcId(value.id) ? value.id : null
  const no = (fault: MessageFault): MessageResult => ({ ok: false, fault, id })
  for (const key of Object.keys(value)) if (!MEMBERS.has(key)) return no('unknown_member')
  if (value.jsonrpc !== '2.0') return no('not_a_message')
  const has = (key: string) => Object.hasOwn(value, key)
  if (has('id') && id === null) return no('bad_id')
  const forms = Number(has('method')) + Number(has('result')) + Number(has('error'))
  if (forms !== 1) return no('not_a_message')

  if (!has('method')) return readResponse(value, id)
  const { method } = value
  if (typeof method !== 'string' || method === '') return no('bad_method')
  const params = has('params') ? value.params : {}
  if (!isObject(params) || !(params._meta === undefined || isObject(params._meta))) return no('bad_params')
  for (const key of Object.keys(params)) {
    const known = FOLDED_PARAMS.get(foldKey(key))
    if (known !== undefined && known !== key) return no('bad_params')
  }
  if (id === null) return { ok: true, message: { kind: 'notification', method, params } }
  return { ok: true, message: { kind: 'request', id, method, params } }
}

function readResponse(value: JsonObject, id: RpcId | null): MessageResult {
  if (id === null || Object.hasOwn(value, 'params')) return { ok: false, fault: 'bad_response', id }
  if (isObject(value.result)) return { ok: true, message: { kind: 'response', id, result: value.result } }
  if (isObject(value.error)) return { ok: true, message: { kind: 'response', id, error: value.error } }
  return { ok: false, fault: 'bad_response', id }
}

/** What the protocol itself puts into `_meta` (2026-07-28, basic "`_meta`", and the trace context of W3C). */
const PROTOCOL_META = /^(?:io\.modelcontextprotocol\/|(?:progressToken|traceparent|tracestate|baggage)$)/

/**
 * The message without what others put into `_meta`: no policy sees it there, so a server must not, either. It could
 * be a switch of that server.
 */
export function withProtocolMeta<M extends Message>(message: M): M {
  if (message.kind !== 'response') return { ...message, params: keepProtocolMeta(message.params) }
  return message.result ? { ...message, result: keepProtocolMeta(message.result) } : message
}

function keepProtocolMeta(object: JsonObject): JsonObject {
  const { _meta } = object
  if (_meta === undefined) return object
  const entries = isObject(_meta) ? Object.entries(_meta) : []
  return { ...object, _meta: Object.fromEntries(entries.filter(([key]) => PROTOCOL_META.test(key))) }
}

/** The text that goes on: made from the object that was judged, never from the bytes that came. */
export function writeMessage(message: Message): string {
  switch (message.kind) {
    case 'request':
      return JSON.stringify({
        jsonrpc: '2.0',
        id: message.id,
        method: message.method,
        params: message.params,
      })
    case 'notification':
      return JSON.stringify({ jsonrpc: '2.0', method: message.method, params: message.params })
    case 'response':
      return message.error
        ? JSON.stringify({ jsonrpc: '2.0', id: message.id, error: message.error })
        : JSON.stringify({ jsonrpc: '2.0', id: message.id, result: message.result })
  }
}

export function isRpcId(id: unknown): id is RpcId {
  return typeof id === 'string' ? id.length <= 256 : Number.isSafeInteger(id)
}

/** W3C Trace Context, level 1: ids of zeros are none. */
const TRACEPARENT = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}$/

/** What a `traceparent` says, in a header or in `_meta` (SEP-414); undefined for what is none. */
export function readTraceparent(value: unknown): { trace_id: string; span_id: string } | undefined {
  const match = typeof value === 'string' ? TRACEPARENT.exec(value) : null
  return match ? { trace_id: match[1] as string, span_id: match[2] as string } : undefined
}

/** The trace that a message belongs to: a proxy on the way may have begun one of its own in the headers. */
export function traceOf(message: Message | undefined): { trace_id: string; span_id: string } | undefined {
  const meta = message && 'params' in message ? message.params._meta : undefined
  return isObject(meta) ? readTraceparent(meta.traceparent) : undefined
}
