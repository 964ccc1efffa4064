import { errors, Pool } from 'undici'
import { declineText } from '../../mcp/decline.ts'
import { isPermit, type Permit } from '../../pdp/decision.ts'
import type { Call, Ports, Reply } from '../../pep/ports.ts'
import { SILENCE } from './peers.ts'
import { createRoom, discard, replyOf } from './reply.ts'
import { createSlots } from './slots.ts'

export type HttpUpstreamSettings = {
  url: URL
  /** sent with every request; the client's own is `call.authorization` */
  authorization?: string
  ca?: string
  /** for calls, and for the streams that clients open */
  connections: number
  streams?: number
  /** milliseconds until the head of an answer, the wait for a connection included, and from there until the end of one that is no stream */
  timeout: number
  /** bytes of one message */
  messageLimit: number
  /** bytes of all messages that are being received; undefined: only each is bounded */
  receiving?: number
  /** milliseconds of silence after which it is asked whether it is there; undefined: as the listener has it */
  silence?: number
}

export type Upstream = Pick<Ports, 'forward' | 'decline'> & { close: () => Promise<void> }

/** Refusals of the upstream's requests: they are many only where it misbehaves, and must not be in the way of a call. */
const DECLINES = { connections: 8, inFlight: 64, timeout: 10_000 }
/** Milliseconds that a call may wait for one of the connections: behind streams that stay, waiting longer helps nobody. */
const QUEUE = 1_000
/** Answers of 1xx before the answer; one or two have a meaning (100, 103). */
const INTERIM = 16
/** An MCP server over Streamable HTTP. Its address is what the configuration says; a call is never repeated. */
export function createHttpUpstream(settings: HttpUpstreamSettings): Upstream {
  const { url } = settings
  const open = (connections: number) =>
    new Pool(url.origin, {
      connections,
      pipelining: 1,
      // There is one timer for a call, which counts the wait for a connection too.
      headersTimeout: 0,
      // A stream may be silent for as long as it lives; what bounds it is `stream_max_age` and the client.
      bodyTimeout: 0,
      connect: connectionOf(settings),
    })
  const calls = open(settings.connections)
  // Streams live long: in the pool of the calls, enough of them would leave no connection to any call.
  const most = settings.streams ?? settings.connections
  const streams = open(most)
  const declines = open(DECLINES.connections)
  const room = createRoom(settings.receiving ?? Number.POSITIVE_INFINITY)
  const slots = createSlots(settings.connections)
  let streaming = 0
  let declining = 0
  const path = url.pathname + url.search

  const headersOf = (
    call: Pick<Call, 'session' | 'lastEventId' | 'authorization'>,
  ): Record<string, string> => {
    const headers: Record<string, string> = {
      accept: 'application/json, text/event-stream',
      'accept-encoding': 'identity',
    }
    if (call.session !== undefined) headers['mcp-session-id'] = call.session
    if (call.lastEventId !== undefined) headers['last-event-id'] = call.lastEventId
    const authorization = call.authorization ?? settings.authorization
    if (authorization !== undefined) headers.authorization = authorization
    return headers
  }

  /** Asks once. @param ended called when nothing more comes of it */
  const send = async (
    pool: Pool,
    call: Call,
    headers: Record<string, string>,
    ended: () => void,
  ): Promise<Reply> => {
    const cut = new AbortController()
    let interim = 0
    const over = Promise.withResolvers<never>()
    // The pool hears of a signal only once it has a connection for the request; it does not send it then.
    const giveUp = (fault: Error) => {
      over.reject(fault)
      cut.abort(fault)
    }
    const timer = setTimeout(() => giveUp(new errors.HeadersTimeoutError()), settings.timeout)
    const gone = () => giveUp(new errors.RequestAbortedError())
    // The listener goes with the exchange, whose signal it is.
    if (call.signal.aborted) gone()
    else call.signal.addEventListener('abort', gone, { once: true })
    over.promise.catch(() => undefined)
    try {
      const asking = pool.request({
        method: methodOf(call),
        path,
        headers,
        body: hasBody(call) ? call.text : null,
        signal: cut.signal,
        onInfo: () => {
          if (++interim > INTERIM) giveUp(new errors.InformationalError('too many interim answers'))
        },
      })
      const answer = await Promise.race([asking, over.promise])
      clearTimeout(timer)
      answer.body.once('close', ended)
      return await replyOf(call, answer, settings, room).catch((error) => failure(isLate(error)))
    } catch (error) {
      clearTimeout(timer)
      ended()
      return failure(isLate(error))
    }
  }

  return {
    async forward(permit: Permit, call: Call): Promise<Reply> {
      if (!isPermit(permit)) throw new TypeError('no permit')
      const headers = { ...headersOf(call), ...call.headers }
      if (hasBody(call)) headers['content-type'] = 'application/json'
      if (call.kind === 'open') headers.accept = 'text/event-stream'
      if (call.kind !== 'open' && !call.long) {
        if (!(await slots.take(Math.min(QUEUE, settings.timeout), call.signal)))
          return { kind: 'failed', fault: call.signal.aborted ? 'upstream_failed' : 'upstream_busy' }
        return send(calls, call, headers, slots.giveBack)
      }
      if (streaming >= most) return { kind: 'failed', fault: 'upstream_busy' }
      streaming++
      return send(streams, call, headers, () => void streaming--)
    },
    decline(call, id, method) {
      if (declining >= DECLINES.inFlight) return
      declining++
      const headers = {
        ...headersOf(call),
        'content-type': 'application/json',
        'mcp-protocol-version': call.version,
      }
      const signal = AbortSignal.timeout(Math.min(settings.timeout, DECLINES.timeout))
      declines
        .request({ method: 'POST', path, headers, body: declineText(id, method), signal })
        .then((answer) => discard(answer.body))
        .catch(() => undefined)
        .finally(() => declining--)
    },
    close: async () => {
      await Promise.all([calls.destroy(), streams.destroy(), declines.destroy()])
    },
  }
}

/**
 * A stream that we only read from tells nothing of an upstream that vanished: the kernel asks (TCP keep-alive), and after
 * ten questions a second apart without an answer the connection is broken off.
 */
export const connectionOf = ({ ca, silence = SILENCE }: HttpUpstreamSettings) => ({
  keepAlive: true,
  keepAliveInitialDelay: silence,
  ...(ca !== undefined && { ca }),
})

const hasBody = (call: Call): boolean => call.kind !== 'open' && call.kind !== 'end'
const methodOf = (call: Call) => (hasBody(call) ? 'POST' : call.kind === 'open' ? 'GET' : 'DELETE')

const failure = (late: boolean): Reply => ({
  kind: 'failed',
  fault: late ? 'upstream_timeout' : 'upstream_failed',
})
const isLate = (error: unknown): boolean =>
  error instanceof errors.HeadersTimeoutError ||
  error instanceof errors.BodyTimeoutError ||
  error instanceof errors.ConnectTimeoutError
