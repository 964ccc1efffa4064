import { createHmac } from 'node:crypto'
import { META_CLIENT } from '../mcp/headers.ts'
import type { Notification, Request } from '../mcp/message.ts'
import { isObject, type JsonObject } from '../mcp/strict-json.ts'
import type { Identity } from './identity.ts'
import type { ToolFacts } from './tool.ts'
import type { Item } from './visible.ts'

export type Resource = { uri: string; scheme: string; host?: string; port?: number; path: string }
export type Client = { name?: string; version?: string }

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
  tool?: { name: string; declared: 'listed' | 'unknown'; annotations?: JsonObject; digest?: string }
  arguments?: JsonObject
  undeclared_arguments?: string[]
  prompt?: { name: string }
  resource?: Resource
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
  | 'unsupported_task'
  | 'unsupported_input_response'
/** `ambiguous`: to be refused once the identity is known, for the answer tells what that identity was shown. */
export type DraftResult = { ok: true; draft: Draft; ambiguous?: boolean } | { ok: false; fault: DraftFault }

/** What is the same for every question about one exchange. */
export type Setting = Pick<
  Draft,
  'decision_id' | 'time_ms' | 'server' | 'protocol_version' | 'client' | 'mcp_session' | 'http'
>

/**
 * The question about one message to the server. Each value of `params` goes to exactly one place; `_meta` to none.
 * @param facts what is known of the tool that the message names
 */
export function draftOf(
  message: Request | Notification,
  setting: Setting,
  facts: (tool: string) => ToolFacts | undefined,
): DraftResult {
  const { _meta, ...params } = message.params
  const draft: Draft = {
    ...base(setting),
    direction: 'to_server',
    kind: message.kind,
    method: message.method,
    params,
  }
  if (params.task !== undefined) return { ok: false, fault: 'unsupported_task' }
  if (params.inputResponses !== undefined || params.requestState !== undefined) {
    return { ok: false, fault: 'unsupported_input_response' }
  }
  switch (message.method) {
    case 'tools/call':
    case 'prompts/get': {
      const { name, arguments: args, ...left } = params
      if (typeof name !== 'string' || name === '') return { ok: false, fault: 'missing_name' }
      if (args !== undefined && !isObject(args)) return { ok: false, fault: 'bad_arguments' }
      draft.params = left
      if (args !== undefined) draft.arguments = args
      if (message.method === 'prompts/get') draft.prompt = { name }
      else return addTool(draft, name, facts(name))
      break
    }
    case 'resources/read': {
      const { uri, ...left } = params
      const resource = typeof uri === 'string' ? readResource(uri) : undefined
      if (!resource) return { ok: false, fault: 'bad_uri' }
      draft.params = left
      draft.resource = resource
      break
    }
    case 'initialize': {
      const { clientInfo, ...left } = params
      draft.params = left
      const client = readClient(clientInfo)
      if (client) draft.client = client
      break
    }
  }
  const client = isObject(_meta) ? readClient(_meta[META_CLIENT]) : undefined
  if (client) draft.client = client
  return { ok: true, draft }
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
  draft.undeclared_arguments = undeclared
  return { ok: true, draft }
}

export function readClient(info: unknown): Client | undefined {
  if (!isObject(info)) return undefined
  const client: Client = {}
  if (typeof info.name === 'string') client.name = info.name.slice(0, 128).toWellFormed()
  if (typeof info.version === 'string') client.version = info.version.slice(0, 64).toWellFormed()
  return client
}

const SUSPICIOUS = /[\\\s\p{C}]|%2e|%2f|%5c|%00/iu

/** A letter that needs no encoding, an encoding in lower case, and what is none (RFC 3986, 6.2.2; WHATWG keeps them). */
const RESPELT = /%(?:4[1-9A-F]|5[0-9A]|6[1-9A-F]|7[0-9A]|3[0-9]|2[DE]|5F|7E|(?![0-9A-F]{2}))/

/** A URI in its one canonical spelling (WHATWG URL, no userinfo, no encoded separators), or undefined. */
export function readResource(uri: string): Resource | undefined {
  if (uri.length > 8192 || SUSPICIOUS.test(uri) || !URL.canParse(uri)) return undefined
  const url = new URL(uri)
  if (url.href !== uri || url.username !== '' || url.password !== '') return undefined
  if (RESPELT.test(uri) || url.pathname.split('/').includes('..')) return undefined
  // File systems and many servers read an empty segment as none.
  if (url.pathname.startsWith('/') && url.pathname.includes('//')) return undefined
  const resource: Resource = { uri, scheme: url.protocol.slice(0, -1), path: url.pathname }
  if (url.hostname !== '') resource.host = url.hostname
  if (url.port !== '') resource.port = Number(url.port)
  return resource
}

/** Stands for a value that must not be seen but may be compared: `hmac:` and 132 bits. */
export const keyedDigest = (key: Uint8Array, value: string): string =>
  `hmac:${createHmac('sha256', key).update(value).digest('base64url').slice(0, 22)}`
