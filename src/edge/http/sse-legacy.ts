import type { ServerResponse } from 'node:http'
import { METHOD_NOT_FOUND } from '../../mcp/error.ts'
import { writeFrame } from '../../mcp/sse.ts'
import { readUpstream } from '../../pep/filter.ts'
import type { Answer, Arrival } from '../../pep/ports.ts'
import { writeAnswer } from './answer.ts'

/** Bytes of answers that a client may leave unread before it loses its stream. */
const UNREAD = 16 << 20
/** Calls of one stream whose answers are waited for; their requests are answered already, so nothing else counts them. */
const IN_HAND = 128

/** The stream of one client (2024-11-05, "HTTP with SSE"): what it posts is answered here. */
export type SseStream = {
  /** the session as it is sealed now: what the handshake agreed on is in it once it is known */
  token: string
  /** fires when the stream has ended */
  signal: AbortSignal
  /** true: there is room for one more call, and it counts until `leave` */
  enter: () => boolean
  leave: () => void
  write: (text: string) => void
}

export type SseStreams = {
  messagePath: string
  /** the token of a request for the message path; undefined for another path */
  tokenOf: (url: string | undefined) => string | undefined
  find: (token: string) => SseStream | undefined
  /**
   * The stream that an answer to the opening begins, and its first event, which says where to post: always here, so that
   * no address of the upstream leads around the sidecar.
   */
  begin: (
    response: ServerResponse,
    answer: Extract<Answer, { kind: 'stream' }>,
    signal: AbortSignal,
  ) => { first: string; idle: (does: () => void) => void }
}

/** @param endpoint of the streams; messages are posted below it */
export function createSseStreams(endpoint: string): SseStreams {
  const messagePath = `${endpoint.replace(/\/$/, '')}/message`
  const prefix = `${messagePath}?sessionId=`
  const streams = new Map<string, SseStream>()
  return {
    messagePath,
    tokenOf: (url = '') => (url.startsWith(prefix) ? url.slice(prefix.length) : undefined),
    find: (token) => streams.get(token),
    begin(response, { session = '' }, signal) {
      let inHand = 0
      let onIdle: (() => void) | undefined
      const stream: SseStream = {
        token: session,
        signal,
        enter: () => inHand < IN_HAND && ++inHand > 0,
        leave: () => {
          if (--inHand === 0) onIdle?.()
        },
        write: (text) => {
          if (response.writableEnded || response.destroyed) return
          response.write(writeFrame(text))
          if (response.writableLength > UNREAD) response.destroy()
        },
      }
      streams.set(session, stream)
      signal.addEventListener('abort', () => streams.delete(session), { once: true })
      response.once('close', () => streams.delete(session))
      return {
        first: `event: endpoint\ndata: ${prefix}${session}\n\n`,
        // A drain lets calls finish, and their answers come on the stream.
        idle: (does) => {
          onIdle = does
          if (inHand === 0) does()
        },
      }
    },
  }
}

/**
 * What was let through is taken note of with 202, and its answer comes on the stream: under that it is asked, and with it
 * it ends. What is refused for its form has that as its own answer.
 * @param full refuses what is one too many
 */
export async function answerOnStream(
  stream: SseStream,
  arrival: Arrival,
  response: ServerResponse,
  { handle, full }: Record<'handle' | 'full', (arrival: Arrival) => Promise<Answer>>,
): Promise<void> {
  const { signal } = stream
  const note = () => {
    if (!response.headersSent) response.writeHead(202, { 'content-length': 0 }).end()
  }
  const headers = { ...arrival.headers, sessionId: stream.token }
  const asked = { ...arrival, headers, signal, onForward: note }
  const entered = stream.enter()
  try {
    const answer = await (entered ? handle(asked) : full(asked))
    if (answer.kind !== 'message') return note()
    if (answer.session !== undefined) stream.token = answer.session
    const said = readUpstream(answer.text)
    // A client that asks for a newer revision first reads this on the stream, as from the server itself.
    const unknown = said?.kind === 'response' && said.error?.code === METHOD_NOT_FOUND
    if (!response.headersSent && answer.status !== 200 && !unknown)
      return await writeAnswer(
        response,
        answer,
        signal,
        () => true,
        () => () => {},
      )
    note()
    // What has no id is no answer to anything, and on the stream it would be no message.
    if (said?.kind === 'response') stream.write(answer.text)
  } finally {
    if (entered) stream.leave()
  }
}
