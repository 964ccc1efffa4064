import { errors, Pool } from 'undici'
import type { RpcId } from '../../mcp/message.ts'
import { createFrameReader, type Frame } from '../../mcp/sse.ts'
import { isPermit, type Permit } from '../../pdp/decision.ts'
import { readUpstream } from '../../pep/filter.ts'
import type { Call, Ports, Reply, UpstreamFrame } from '../../pep/ports.ts'
import { essence } from './hop-headers.ts'
import { SILENCE } from './peers.ts'

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
/** Milliseconds and bytes for a body that nobody reads, so that its connection may be used again. */
const UNREAD = { timeout: 1_000, limit: 64 << 10 }

const SESSION_ID = /^[!-~]{1,256}$/

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

/** As many at a time as there are connections, so that none waits in the pool, where nobody could tell it why. */
function createSlots(free: number) {
  const waiting = new Set<() => void>()
  return {
    /** false: none came free in time, or who asked has gone */
    take(ms: number, signal: AbortSignal): Promise<boolean> {
      if (signal.aborted) return Promise.resolve(false)
      if (free > 0) {
        free--
        return Promise.resolve(true)
      }
      return new Promise((resolve) => {
        const end = (taken: boolean) => {
          clearTimeout(timer)
          waiting.delete(given)
          signal.removeEventListener('abort', gone)
          resolve(taken)
        }
        const given = () => end(true)
        const gone = () => end(false)
        const timer = setTimeout(gone, ms)
        waiting.add(given)
        signal.addEventListener('abort', gone, { once: true })
      })
    },
    giveBack() {
      const [next] = waiting
      if (next) next()
      else free++
    },
  }
}

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

/** What the upstream is told of its request to the client: for an elicitation the protocol has a word of its own. */
export function declineText(id: RpcId, method: string): string {
  // A ping asks whether this end lives, and it does.
  if (method === 'ping') return JSON.stringify({ jsonrpc: '2.0', id, result: {} })
  if (method === 'elicitation/create')
    return JSON.stringify({ jsonrpc: '2.0', id, result: { action: 'decline' } })
  return JSON.stringify({ jsonrpc: '2.0', id, error: { code: -1, message: 'Refused by policy' } })
}

type HttpAnswer = Awaited<ReturnType<Pool['request']>>

/** A body that is let go of emits an error; without a listener that would end the process. Readers still see it. */
export const quiet = (body: HttpAnswer['body']): HttpAnswer['body'] => body.on('error', () => undefined)

/** Nobody waits for a body that nobody reads: it may have no end. */
export const discard = (body: HttpAnswer['body']): Promise<void> =>
  quiet(body)
    .dump({ limit: UNREAD.limit, signal: AbortSignal.timeout(UNREAD.timeout) })
    .catch(() => undefined)

async function replyOf(
  call: Call,
  answer: HttpAnswer,
  settings: HttpUpstreamSettings,
  room: Room,
): Promise<Reply> {
  const { statusCode: status, headers } = answer
  const { messageLimit: limit, timeout } = settings
  const body = quiet(answer.body)
  const one = (name: string): string | undefined => {
    const value = headers[name]
    return typeof value === 'string' ? value : undefined
  }
  const malformed = async (): Promise<Reply> => {
    body.destroy()
    return { kind: 'failed', fault: 'upstream_malformed' }
  }
  const encoding = one('content-encoding')
  if (encoding !== undefined && encoding !== 'identity') return malformed()
  const id = one('mcp-session-id')
  if (headers['mcp-session-id'] !== undefined && (id === undefined || !SESSION_ID.test(id)))
    return malformed()
  const session = id === undefined ? {} : { session: id }
  const type = essence(one('content-type'))

  if (status >= 400 && call.kind !== 'request') {
    void discard(body)
    return { kind: 'status', status }
  }
  if (status >= 400) {
    const text = await collect(body, limit, timeout, room)
    const error = text ? readUpstream(text) : undefined
    // An error of the protocol keeps its words; any other body stays here.
    if (text && error?.kind === 'response' && error.error && error.id === call.id)
      return { kind: 'message', status, body: text, message: error }
    return { kind: 'status', status }
  }
  if (status < 200 || status >= 300) return malformed()
  if (call.kind === 'open') {
    return type === 'text/event-stream'
      ? { kind: 'stream', frames: framesOf(body, limit, room) }
      : malformed()
  }
  if (call.kind !== 'request' || status === 202 || status === 204) {
    void discard(body)
    return { kind: 'accepted', ...session }
  }
  if (type === 'text/event-stream') return { kind: 'stream', frames: framesOf(body, limit, room), ...session }
  if (type !== 'application/json') return malformed()
  const text = await collect(body, limit, timeout, room)
  return text
    ? { kind: 'message', status, body: text, ...session }
    : { kind: 'failed', fault: 'upstream_malformed' }
}

/** The whole body of one message, or undefined if it is larger than one may be. Throws if it takes too long. */
async function collect(
  body: HttpAnswer['body'],
  limit: number,
  timeout: number,
  room: Room,
): Promise<Buffer | undefined> {
  const parts: Buffer[] = []
  let size = 0
  const late = setTimeout(() => body.destroy(new errors.BodyTimeoutError()), timeout)
  try {
    for await (const chunk of body) {
      size += (chunk as Buffer).length
      room.used += (chunk as Buffer).length
      if (size > limit) return undefined
      if (room.used > room.most) throw new Error('too much is being received')
      parts.push(chunk as Buffer)
    }
  } finally {
    clearTimeout(late)
    room.used -= size
  }
  return parts.length === 1 ? parts[0] : Buffer.concat(parts)
}

/** The messages of the transport among the events, and what only moves an id on. */
async function* framesOf(body: HttpAnswer['body'], limit: number, room: Room): AsyncGenerator<UpstreamFrame> {
  // One of another name is no message of the transport.
  for await (const { event, ...frame } of eventsOf(body, limit, room)) if (event === 'message') yield frame
}

/** Each whole event that says something. Throws on text that is not UTF-8 and on one that is too large. */
export async function* eventsOf(body: HttpAnswer['body'], limit: number, room: Room): AsyncGenerator<Frame> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  const reader = createFrameReader(limit)
  /** since the last frame that was whole: what the reader may hold */
  let size = 0
  try {
    for await (const chunk of body) {
      const { length } = chunk as Buffer
      size += length
      room.used += length
      if (room.used > room.most) throw new Error('too much is being received')
      const read = reader.push(decoder.decode(chunk as Buffer, { stream: true }))
      if (!read.ok) throw new Error(read.fault)
      for (const frame of read.frames)
        if (frame.data !== '' || frame.id !== undefined || frame.retry !== undefined) yield frame
      if (read.frames.length === 0) continue
      room.used -= size - length
      size = length
    }
  } finally {
    room.used -= size
  }
}

/** What all answers hold while they are not whole: an upstream may begin as many large ones as there are calls. */
export type Room = { used: number; readonly most: number }
export const createRoom = (most: number): Room => ({ used: 0, most })
