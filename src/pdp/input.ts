import { createHmac } from 'node:crypto'
import { isObject, type JsonObject } from '../mcp/strict-json.ts'
import type { Identity } from './identity.ts'
import type { ToolFacts } from './tool.ts'
import type { Page, Resource } from './uri.ts'
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

export const no = (fault: DraftFault): DraftResult => ({ ok: false, fault })

/** The question about opening a stream or ending a session, which are no messages. */
export function draftOfStream(method: 'stream/open' | 'session/end', setting: Setting): Draft {
  return { ...base(setting), direction: 'to_server', kind: 'stream', method, params: {} }
}

/** What is the same in every question about one exchange. */
export const base = (setting: Setting) => ({ ...setting, time: new Date(setting.time_ms).toISOString() })

export function readClient(info: unknown): Client | undefined {
  if (!isObject(info)) return undefined
  const client: Client = {}
  if (typeof info.name === 'string') client.name = info.name.slice(0, 128).toWellFormed()
  if (typeof info.version === 'string') client.version = info.version.slice(0, 64).toWellFormed()
  return client
}

/** The task of a client, by the client's own id for it; and what it was asked for within, if it has one of this id. */
export function addHosted(
  draft: Draft,
  id: string,
  digest: Known['digest'],
  hosted: Parent | undefined,
): void {
  draft.task = { digest: digest(id), owner: hosted ? 'same' : 'unknown' }
  if (hosted) draft.parent = hosted
}

/** Stands for a value that must not be seen but may be compared: `hmac:` and 132 bits. */
export const keyedDigest = (key: Uint8Array, value: string): string =>
  `hmac:${createHmac('sha256', key).update(value).digest('base64url').slice(0, 22)}`
