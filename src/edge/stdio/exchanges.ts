import { declineText } from '../../mcp/decline.ts'
import { isModernError, METHOD_NOT_FOUND } from '../../mcp/error.ts'
import { META_LOG_LEVEL } from '../../mcp/headers.ts'
import {
  isRpcId,
  type Message,
  type Notification,
  type Request,
  type Response,
  type RpcId,
  writeMessage,
} from '../../mcp/message.ts'
import { isObject, type Json, type JsonObject } from '../../mcp/strict-json.ts'
import { readUpstream } from '../../pep/filter.ts'
import { SUBSCRIPTION_ID } from '../../pep/follow.ts'
import type { Call, Reply } from '../../pep/ports.ts'
import { createQueue, type Queue } from './queue.ts'

type Exchange = {
  call: Call
  /** as the client named it */
  token: Json | undefined
  /** it asked for what the server logs */
  logs: boolean
  /** what comes before the response */
  say: (message: Message) => void
  answer: (response: Response) => void
  fail: () => void
  end: (ms: number) => void
}

export type Exchanges = {
  ask: (call: Call) => Promise<Reply>
  receive: (message: Message) => void
  busy: () => boolean
  /** the process is gone */
  end: () => void
}

const FAILED: Reply = { kind: 'failed', fault: 'upstream_failed' }
const LATE: Reply = { kind: 'failed', fault: 'upstream_timeout' }
/** A server that knows no such request may be silent (2026-07-28, "stdio", "Backward Compatibility"). */
const DISCOVER = { method: 'server/discover', wait: 10_000 }
/** Milliseconds for the response of a subscription whose end was told. */
const LAST = 1_000

/**
 * Requests of 2026-07-28 that share the one channel of a process (2026-07-28, "stdio"). Each is another exchange at the
 * client, so the server gets ids and progress tokens that are not used twice, and what comes back has the client's own.
 */
export function createExchanges(tell: (text: string) => boolean, timeout: number): Exchanges {
  const open = new Map<RpcId, Exchange>()
  let last = 0

  const ask = (call: Call): Promise<Reply> => {
    const request = readUpstream(call.text)
    const { id: own } = call
    if (request?.kind !== 'request' || own === undefined || call.signal.aborted)
      return Promise.resolve(FAILED)
    const id = ++last
    const meta = isObject(request.params._meta) ? request.params._meta : {}
    const { progressToken: token } = meta
    return new Promise((resolve) => {
      let queue: Queue | undefined
      /** False if it was over already. */
      const leave = () => {
        clearTimeout(timer)
        call.signal.removeEventListener('abort', onGone)
        return open.delete(id)
      }
      const settle = (reply: Reply) => {
        if (!leave()) return
        if (queue) queue.end()
        else resolve(reply)
      }
      const giveUp = (reply: Reply, reason: string) => {
        if (!open.has(id)) return
        settle(reply)
        tell(cancelText(id, reason))
      }
      const onGone = () => giveUp(FAILED, 'The client has gone')
      const discovers = call.method === DISCOVER.method
      const onLate = () =>
        giveUp(discovers ? { kind: 'status', status: 404 } : LATE, 'The answer takes too long')
      let timer = setTimeout(onLate, discovers ? Math.min(timeout, DISCOVER.wait) : timeout)
      call.signal.addEventListener('abort', onGone, { once: true })
      open.set(id, {
        call,
        token,
        logs: meta[META_LOG_LEVEL] !== undefined,
        say(message) {
          if (!queue) {
            clearTimeout(timer)
            queue = createQueue(onGone)
            resolve({ kind: 'stream', frames: queue.read() })
          }
          if (!queue.push(writeMessage(message))) giveUp(FAILED, 'Too much is waiting to be read')
        },
        answer(response) {
          const message = withSubscription({ ...response, id: own }, own)
          const text = writeMessage(message)
          queue?.push(text)
          settle({ kind: 'message', status: statusOf(message), body: Buffer.from(text), message })
        },
        fail: () => settle(FAILED),
        end(ms) {
          clearTimeout(timer)
          timer = setTimeout(() => settle(FAILED), ms)
        },
      })
      const _meta = token === undefined ? meta : { ...meta, progressToken: id }
      tell(writeMessage({ ...request, id, params: { ...request.params, _meta } }))
    })
  }

  /** Whose a notification is: it says so, but for what is logged. */
  const hear = ({ method, params }: Notification): void => {
    const meta = isObject(params._meta) ? params._meta : {}
    const of = (id: Json | undefined) => (isRpcId(id) ? open.get(id) : undefined)
    const say = (exchange: Exchange | undefined, more: JsonObject = {}) =>
      exchange?.say({ kind: 'notification', method, params: { ...params, ...more } })
    if (method === 'notifications/progress') {
      const exchange = of(params.progressToken)
      if (exchange?.token !== undefined) say(exchange, { progressToken: exchange.token })
    } else if (method === 'notifications/cancelled') {
      const exchange = of(params.requestId)
      if (!exchange?.call.long) return
      say(exchange, { requestId: exchange.call.id ?? null })
      exchange.end(LAST)
    } else if (meta[SUBSCRIPTION_ID] !== undefined) {
      const exchange = of(meta[SUBSCRIPTION_ID])
      if (exchange?.call.long)
        say(exchange, { _meta: { ...meta, [SUBSCRIPTION_ID]: exchange.call.id ?? null } })
    } else if (method === 'notifications/message') {
      // It does not say whose it is; all of them are one person's.
      say([...open.values()].find(({ logs }) => logs))
    }
  }

  return {
    ask,
    receive(message) {
      if (message.kind === 'response') open.get(message.id)?.answer(message)
      else if (message.kind === 'notification') hear(message)
      else refuse(message)
    },
    busy: () => open.size > 0,
    end() {
      for (const { fail } of [...open.values()]) fail()
    },
  }

  /** There are none in this revision: on record as one of whichever call is open, else only refused. */
  function refuse(request: Request): void {
    const [first] = [...open.values()].filter(({ call }) => !call.long)
    if (first) first.say(request)
    else tell(declineText(request.id, request.method))
  }
}

export const cancelText = (requestId: RpcId, reason: string): string =>
  JSON.stringify({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId, reason } })

/** The end of a subscription names it once more. */
function withSubscription(response: Response, own: RpcId): Response {
  if (response.error || !isObject(response.result._meta)) return response
  const { _meta } = response.result
  if (_meta[SUBSCRIPTION_ID] === undefined) return response
  return { ...response, result: { ...response.result, _meta: { ..._meta, [SUBSCRIPTION_ID]: own } } }
}

/** What a server over HTTP answers with such an error (2026-07-28, Streamable HTTP). */
export function statusOf({ error }: Response): number {
  const code = error?.code
  if (code === METHOD_NOT_FOUND) return 404
  return isModernError(code) ? 400 : 200
}
