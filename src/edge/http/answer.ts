import type { ServerResponse } from 'node:http'
import { writeFrame } from '../../mcp/sse.ts'
import type { Answer, StreamItem } from '../../pep/ports.ts'

/** Milliseconds between comments on a silent stream, so that nothing on the way takes it for dead. */
const HEARTBEAT = 15_000
/** Milliseconds that a client may leave a full connection unread. */
const STALL = 30_000
/** Bytes a second that a client must read of what is left at the end, beside the time that it may stall. */
const SLOWEST = 64 << 10
/** Milliseconds to read what is left of a stream whose time is up. */
const LAST = 5_000

/**
 * Writes an answer in the form that HTTP has for it.
 * @param reusable whether the connection may carry a next request
 * @param first what a stream begins with
 * @param open told how to end a stream early; returns what is to be called when it has ended
 */
export async function writeAnswer(
  response: ServerResponse,
  answer: Answer,
  signal: AbortSignal,
  reusable: () => boolean,
  open: (end: () => void) => () => void,
  first?: string,
  heartbeat = HEARTBEAT,
): Promise<void> {
  if (answer.kind === 'stream') return writeStream(response, answer, signal, reusable, open, first, heartbeat)
  if (answer.kind === 'message') return writeMessage(response, answer, reusable)
  response.writeHead(answer.status, { 'content-length': 0, ...closing(reusable) })
  response.end()
}

/** What is left of a body that was not read must not be taken for a next request, and a drain takes none. */
const closing = (reusable: () => boolean) => (reusable() ? {} : { connection: 'close' })

const NEVER = new AbortController().signal

/** Ends an answer. A client that does not read it loses its connection, or that would be there for ever. */
function end(response: ServerResponse, text?: string, patience = STALL): void {
  response.end(text)
  if (response.writableFinished) return
  // Node sets its own again once the answer is flushed; as long as some of it moves, it does not fire.
  response.socket?.setTimeout(patience)
  const left = (response.socket?.writableLength ?? 0) + response.writableLength
  const hard = setTimeout(() => response.destroy(), patience + (left / SLOWEST) * 1000)
  response.once('close', () => clearTimeout(hard))
}

function writeMessage(
  response: ServerResponse,
  answer: Extract<Answer, { kind: 'message' }>,
  reusable: () => boolean,
): void {
  const headers: Record<string, string | number> = {
    'content-type': 'application/json',
    'cache-control': 'no-store',
    'content-length': Buffer.byteLength(answer.text),
    ...closing(reusable),
  }
  if (answer.session !== undefined) headers['mcp-session-id'] = answer.session
  if (answer.retryAfter !== undefined) headers['retry-after'] = answer.retryAfter
  if (answer.status === 405) headers.allow = 'POST, GET, DELETE'
  response.writeHead(answer.status, headers)
  end(response, answer.text)
}

/** A stream of the upstream stays one: a client may have asked for its form. */
async function writeStream(
  response: ServerResponse,
  { items, cut = NEVER }: Extract<Answer, { kind: 'stream' }>,
  signal: AbortSignal,
  reusable: () => boolean,
  open: (end: () => void) => () => void,
  first: string | undefined,
  heartbeat: number,
): Promise<void> {
  const iterator = items[Symbol.asyncIterator]()
  const stop = () => void iterator.return?.()
  response.writeHead(200, {
    'content-type': 'text/event-stream',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
    ...closing(reusable),
  })
  if (first === undefined) response.flushHeaders()
  else response.write(first)
  const closed = open(() => {
    stop()
    end(response)
  })
  const beat = setInterval(() => {
    if (!response.writableEnded) response.write(': keep-alive\n\n')
  }, heartbeat)
  try {
    for (let step = await iterator.next(); !step.done; step = await iterator.next()) {
      // A drain may have ended it since; a write after that would be an error.
      if (response.writableEnded) break
      if (!response.write(frameOf(step.value)) && !(await drained(response, signal, cut))) {
        response.destroy()
        break
      }
      if (step.value.final || signal.aborted) break
    }
  } finally {
    clearInterval(beat)
    closed()
    stop()
    if (!response.writableEnded) end(response, undefined, cut.aborted ? LAST : STALL)
  }
}

const frameOf = ({ text, id, retry }: StreamItem): string => writeFrame(text, id, retry)

/** True when the client has read on; false when it is gone, reads nothing for too long, or the stream's time is up. */
function drained(response: ServerResponse, signal: AbortSignal, cut: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const done = (read: boolean) => {
      clearTimeout(timer)
      response.off('drain', onDrain)
      signal.removeEventListener('abort', onGone)
      cut.removeEventListener('abort', onGone)
      resolve(read)
    }
    const onDrain = () => done(true)
    const onGone = () => done(false)
    const timer = setTimeout(onGone, STALL)
    response.once('drain', onDrain)
    signal.addEventListener('abort', onGone)
    cut.addEventListener('abort', onGone)
    if (signal.aborted || cut.aborted) onGone()
  })
}
