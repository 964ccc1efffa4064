import { errors, type Pool } from 'undici'
import { createFrameReader, type Frame } from '../../mcp/sse.ts'
import { readUpstream } from '../../pep/filter.ts'
import type { Call, Reply, UpstreamFrame } from '../../pep/ports.ts'
import { essence } from './hop-headers.ts'

export type ReplyLimits = {
  /** bytes of one message */
  messageLimit: number
  /** milliseconds from the head of an answer until the end of one that is no stream */
  timeout: number
}

/** Milliseconds and bytes for a body that nobody reads, so that its connection may be used again. */
const UNREAD = { timeout: 1_000, limit: 64 << 10 }

const SESSION_ID = /^[!-~]{1,256}$/

export type HttpAnswer = Awaited<ReturnType<Pool['request']>>

/** A body that is let go of emits an error; without a listener that would end the process. Readers still see it. */
export const quiet = (body: HttpAnswer['body']): HttpAnswer['body'] => body.on('error', () => undefined)

/** Nobody waits for a body that nobody reads: it may have no end. */
export const discard = (body: HttpAnswer['body']): Promise<void> =>
  quiet(body)
    .dump({ limit: UNREAD.limit, signal: AbortSignal.timeout(UNREAD.timeout) })
    .catch(() => undefined)

/**
 * What an answer is. One that is no answer of MCP is not repaired.
 * @throws Error if a body that is no stream takes too long, or too much is being received
 */
export async function replyOf(
  call: Call,
  answer: HttpAnswer,
  { messageLimit: limit, timeout }: ReplyLimits,
  room: Room,
): Promise<Reply> {
  const { statusCode: status, headers } = answer
  const body = quiet(answer.body)
  const one = (name: string): string | undefined => {
    const value = headers[name]
    return typeof value === 'string' ? value : undefined
  }
  const malformed = async (): Promise<Reply> => {
    body.destroy()
    return { kind: 'failed', fault: 'upstream_malformed' }
  }
  // Twice, and it is a list: no coding that is known.
  if ((headers['content-encoding'] ?? 'identity') !== 'identity') return malformed()
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
