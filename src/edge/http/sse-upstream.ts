import { Pool } from 'undici'
import { declineText } from '../../mcp/decline.ts'
import type { RpcId } from '../../mcp/message.ts'
import { isPermit } from '../../pdp/decision.ts'
import { readUpstream } from '../../pep/filter.ts'
import type { Call, Reply, UpstreamFrame } from '../../pep/ports.ts'
import { essence } from './hop-headers.ts'
import { createRoom, discard, eventsOf, quiet } from './reply.ts'
import { connectionOf, type HttpUpstreamSettings, type Upstream } from './upstream.ts'

type Session = {
  /** who waits for the answer to a request */
  pending: Map<RpcId, (reply: Reply) => void>
}
type Body = Awaited<ReturnType<Pool['request']>>['body']

const FAILED: Reply = { kind: 'failed', fault: 'upstream_failed' }
const MALFORMED: Reply = { kind: 'failed', fault: 'upstream_malformed' }
/** A path with the server's session in it, short enough to be sealed into the one that its client gets. */
const PATH = /^\/[!-~]{0,1023}$/

/**
 * An MCP server over HTTP with SSE (2024-11-05, "Transports"): one stream a session, on which all answers come; messages
 * are posted to where its first event says, which must be on the configured server. A call is never repeated.
 */
export function createSseUpstream(settings: HttpUpstreamSettings): Upstream {
  const { url, messageLimit, timeout } = settings
  const open = (connections: number) =>
    new Pool(url.origin, {
      connections,
      pipelining: 1,
      headersTimeout: timeout,
      bodyTimeout: 0,
      connect: connectionOf(settings),
    })
  const posts = open(settings.connections)
  const most = settings.streams ?? settings.connections
  const streams = open(most)
  const room = createRoom(settings.receiving ?? Number.POSITIVE_INFINITY)
  const sessions = new Map<string, Session>()
  let streaming = 0

  const headersOf = (call: Pick<Call, 'authorization'>): Record<string, string> => {
    const authorization = call.authorization ?? settings.authorization
    return {
      'accept-encoding': 'identity',
      ...(authorization !== undefined && { authorization }),
    }
  }

  const begin = async (call: Call): Promise<Reply> => {
    const waited = AbortSignal.any([call.signal, AbortSignal.timeout(timeout)])
    const answer = await streams.request({
      method: 'GET',
      path: url.pathname + url.search,
      headers: { ...headersOf(call), accept: 'text/event-stream' },
      signal: call.signal,
    })
    const body = quiet(answer.body)
    const type = answer.headers['content-type']
    const encoding = answer.headers['content-encoding'] ?? 'identity'
    if (answer.statusCode >= 400) {
      void discard(body)
      return { kind: 'status', status: answer.statusCode }
    }
    const no = (reply: Reply): Reply => {
      body.destroy()
      return reply
    }
    if (answer.statusCode !== 200 || essence(String(type)) !== 'text/event-stream' || encoding !== 'identity')
      return no(MALFORMED)
    const events = eventsOf(body, messageLimit, room)
    const first = await Promise.race([events.next().catch(() => undefined), aborted(waited)])
    if (!first)
      return no({ kind: 'failed', fault: call.signal.aborted ? 'upstream_failed' : 'upstream_timeout' })
    const path = first.done || first.value.event !== 'endpoint' ? undefined : pathOf(first.value.data)
    // An id that is there already would be another client's.
    if (path === undefined || sessions.has(path)) return no(MALFORMED)
    const session: Session = { pending: new Map() }
    sessions.set(path, session)
    body.once('close', () => {
      streaming--
      sessions.delete(path)
      for (const settle of [...session.pending.values()]) settle(FAILED)
    })
    return { kind: 'stream', session: path, frames: messagesOf(events, session, body) }
  }

  /** Where the server wants messages: on the configured server, or nowhere. */
  const pathOf = (text: string): string | undefined => {
    if (!URL.canParse(text, url)) return undefined
    const target = new URL(text, url)
    const path = target.pathname + target.search
    const plain = target.username === '' && target.password === '' && target.hash === ''
    return target.origin === url.origin && plain && PATH.test(path) ? path : undefined
  }

  const post = async (path: string, call: Pick<Call, 'authorization'>, text: string, signal: AbortSignal) => {
    const answer = await posts.request({
      method: 'POST',
      path,
      headers: { ...headersOf(call), 'content-type': 'application/json' },
      body: text,
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeout)]),
    })
    void discard(quiet(answer.body))
    return answer.statusCode
  }

  const ask = (path: string, session: Session, call: Call, id: RpcId): Promise<Reply> =>
    new Promise((resolve) => {
      const { pending } = session
      // Two open requests of one id: their answers could not be told apart.
      if (pending.has(id)) return resolve({ kind: 'failed', fault: 'upstream_busy' })
      const settle = (reply: Reply) => {
        clearTimeout(timer)
        call.signal.removeEventListener('abort', onGone)
        pending.delete(id)
        resolve(reply)
      }
      const onGone = () => settle(FAILED)
      const timer = setTimeout(() => settle({ kind: 'failed', fault: 'upstream_timeout' }), timeout)
      if (call.signal.aborted) return onGone()
      call.signal.addEventListener('abort', onGone, { once: true })
      pending.set(id, settle)
      post(path, call, call.text, call.signal).then(
        (status) => {
          if (status >= 400) settle({ kind: 'status', status })
          else if (status < 200 || status >= 300) settle(MALFORMED)
        },
        () => settle(FAILED),
      )
    })

  return {
    async forward(permit, call) {
      if (!isPermit(permit)) throw new TypeError('no permit')
      if (call.kind === 'open') {
        if (streaming >= most) return { kind: 'failed', fault: 'upstream_busy' }
        streaming++
        const reply = await begin(call).catch(() => FAILED)
        if (reply.kind !== 'stream') streaming--
        return reply
      }
      const session = call.session === undefined ? undefined : sessions.get(call.session)
      if (!session || call.session === undefined) return { kind: 'status', status: 404 }
      if (call.id !== undefined && call.kind === 'request') {
        const reply = await ask(call.session, session, call, call.id)
        // What the handshake agreed on goes into the session that its client holds.
        return reply.kind === 'message' && call.method === 'initialize'
          ? { ...reply, session: call.session }
          : reply
      }
      if (call.kind === 'end') return { kind: 'accepted' }
      const status = await post(call.session, call, call.text, call.signal).catch(() => 0)
      if (status >= 200 && status < 300) return { kind: 'accepted' }
      return status >= 400 ? { kind: 'status', status } : FAILED
    },
    decline(call, id, method) {
      if (call.session === undefined || !sessions.has(call.session)) return
      const signal = AbortSignal.timeout(timeout)
      void post(call.session, call, declineText(id, method), signal).catch(() => undefined)
    },
    close: async () => {
      await Promise.all([posts.destroy(), streams.destroy()])
    },
  }
}

/** What is no answer; an answer goes to who waits for it, and one that nobody waits for to nobody. */
async function* messagesOf(
  events: AsyncGenerator<{ event: string } & UpstreamFrame>,
  { pending }: Session,
  body: Body,
): AsyncGenerator<UpstreamFrame> {
  try {
    for await (const { event, data } of events) {
      if (event !== 'message' || data === '') continue
      const message = readUpstream(data)
      if (message?.kind !== 'response') yield { data }
      else pending.get(message.id)?.({ kind: 'message', status: 200, body: Buffer.from(data), message })
    }
  } finally {
    body.destroy()
  }
}

const aborted = (signal: AbortSignal) =>
  new Promise<undefined>((resolve) => {
    if (signal.aborted) resolve(undefined)
    else signal.addEventListener('abort', () => resolve(undefined), { once: true })
  })
