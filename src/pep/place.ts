import { isRpcId, type Request, type RpcId } from '../mcp/message.ts'
import { type ItemKind, methodToServer } from '../mcp/methods.ts'
import { parseStrict } from '../mcp/strict-json.ts'
import { type Owner, ownerKey } from '../pdp/identity.ts'
import type { Item } from '../pdp/visible.ts'
import { type Box, createBox, MAX_TOKEN } from './box.ts'

/**
 * A place in a stream of the upstream, as the client holds it: the sealed id of an event (2025-11-25, "Resumability and
 * Redelivery"). It says whose answer the stream brings, so that what is replayed is screened as it was the first time.
 */
export type Place = {
  /** the upstream's own id of the event */
  id: string
  /** the call whose stream it is; undefined: the stream of the session itself */
  call?: Answered
}
/** `name`: of the tool or prompt that is called, the URI that is read, or the client's id of the task asked about */
export type Answered = { decision_id: string; id: RpcId; method: string; name?: string }

/** Who may use an event id, and on which session of the upstream; empty where it has none. */
export type Holder = { upstream: string; owner: Owner }

export type Places = {
  /** undefined where the id cannot go into a header, or what is to be sealed is too long for one */
  seal: (place: Place, holder: Holder) => string | undefined
  /** undefined for an id that was not sealed for this holder */
  open: (token: string, holder: Holder) => Place | undefined
}

const UPSTREAM_ID = /^[!-~]{1,1024}$/

/** @param secret any length, e.g. `plugins.mcp.session_key` */
export function createPlaces(secret: Uint8Array): Places {
  const box: Box = createBox(secret, 'event')
  const bound = ({ upstream, owner }: Holder) => JSON.stringify([upstream, ownerKey(owner)])
  return {
    seal({ id, call }, holder) {
      if (!UPSTREAM_ID.test(id)) return undefined
      const body = call ? [id, call.decision_id, call.id, call.method, call.name ?? null] : [id]
      const token = box.seal(JSON.stringify(body), bound(holder))
      return token.length > MAX_TOKEN ? undefined : token
    },
    open(token, holder) {
      const text = box.open(token, bound(holder))
      const parsed = text === undefined ? undefined : parseStrict(text)
      if (!parsed?.ok || !Array.isArray(parsed.value)) return undefined
      const [id, decision_id, rpc, method, name] = parsed.value
      if (typeof id !== 'string') return undefined
      if (decision_id === undefined) return { id }
      if (typeof decision_id !== 'string' || !isRpcId(rpc) || typeof method !== 'string') return undefined
      return { id, call: { decision_id, id: rpc, method, ...(typeof name === 'string' && { name }) } }
    },
  }
}

/** The call of a place, as far as it is known: enough to screen its answer. */
export function requestOf({ id, method, name }: Answered): Request {
  const mirrored = methodToServer(method)?.mirrored
  return { kind: 'request', id, method, params: mirrored && name !== undefined ? { [mirrored]: name } : {} }
}

const KINDS: Record<string, ItemKind> = {
  'tools/call': 'tool',
  'prompts/get': 'prompt',
  'resources/read': 'resource',
}

/** Methods that ask about one task. */
const OF_TASK = ['tasks/get', 'tasks/result', 'tasks/cancel']
/** The client's id of the task that a stream is about; it says whose task it is, and what it came of. */
export const taskOf = ({ method, name }: Answered): string | undefined =>
  OF_TASK.includes(method) ? (name ?? '') : undefined

/**
 * What must be known of a request to screen its answer later; undefined where that is more than is sealed.
 * @param task the client's id of the one that it names
 */
export function answeredOf(
  decision_id: string,
  { id, method, params }: Request,
  task: string | undefined,
): Answered | undefined {
  const { list, mirrored } = methodToServer(method) ?? {}
  if (OF_TASK.includes(method) && task !== undefined) return { decision_id, id, method, name: task }
  if (!(method in KINDS) && list === undefined) return undefined
  const name = mirrored && params[mirrored]
  return { decision_id, id, method, ...(typeof name === 'string' && { name }) }
}

/** The thing whose use a call asked for, as `mcp/main/visible` is asked about it. */
export function thingOf({ method, name }: Answered): Item | undefined {
  const kind = KINDS[method]
  return kind && name !== undefined ? { kind, key: name } : undefined
}
