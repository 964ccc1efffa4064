import type { Readable, Writable } from 'node:stream'
import { META_VERSION } from '../../mcp/headers.ts'
import { type Message, type Request, readMessage } from '../../mcp/message.ts'
import { methodToServer } from '../../mcp/methods.ts'
import { isObject, type Json, type JsonLimits, parseStrict, parseStrictBytes } from '../../mcp/strict-json.ts'
import type { Identity } from '../../pdp/identity.ts'
import type { Answer, Arrival } from '../../pep/ports.ts'
import { createLineSplitter, oneLine } from './lines.ts'

export type StdioSettings = {
  /** believed of whoever started this process */
  identity: Identity
  limits: JsonLimits
  /** milliseconds that calls have after the last line came */
  drain: number
}
/** `eof`: the client is done. `cut`: `stop` was called. The others end the process, as a server's own end would. */
export type StdioEnd = 'eof' | 'cut' | 'server_ended' | 'line_too_long' | 'client_gone'
export type StdioServer = { ended: Promise<StdioEnd>; stop: () => void }

/** Messages in hand at which no further line is read; subscriptions that are not among them, for they stay. */
const IN_HAND = 128
const SUBSCRIPTIONS = 128
/** Milliseconds before the stream of the session is opened again after a failure: the first, and the most. */
const AGAIN = { least: 1_000, most: 30_000 }

/**
 * MCP over the standard streams of this process (2025-11-25, "stdio"): one client, one session. A line is an arrival like
 * any other; what the upstream says of its own accord comes on the stream of the session, which is opened here.
 * @param say told what was refused and has no request to be answered: there is no other place for it
 */
export function serveStdio(
  handle: (arrival: Arrival) => Promise<Answer>,
  settings: StdioSettings,
  { stdin, stdout }: { stdin: Readable; stdout: Writable },
  say: (what: { text: string; decision_id: string }) => void,
): StdioServer {
  const { promise: ended, resolve: finish } = Promise.withResolvers<StdioEnd>()
  const cut = new AbortController()
  const inHand = new Set<Promise<void>>()
  const staying = new Set<Promise<void>>()
  /** What a client of HTTP would keep: the sealed session, and the version agreed on where the server has none. */
  let known: { sessionId?: string; protocolVersion?: string } = {}
  /** A session begins with one message; those behind it wait for its answer. */
  let hello: Promise<void> | undefined
  /** How to cancel what is in hand of 2026-07-28, by the client's id: there is no stream of its own to be closed. */
  const cancels = new Map<Json | undefined, AbortController>()
  /** Subscriptions, which have no end of their own. */
  const streams = new Set<AbortController>()
  let over = false

  const end = async (how: StdioEnd) => {
    if (over) return
    over = true
    stdin.pause()
    for (const stream of streams) stream.abort()
    if (how === 'eof') await Promise.race([Promise.all(inHand), late(settings.drain), aborted(cut.signal)])
    cut.abort()
    await Promise.all([...inHand, ...staying])
    if (known.sessionId !== undefined) await handle(arrivalOf('DELETE')).catch(() => undefined)
    finish(how)
  }

  const arrivalOf = (
    verb: Arrival['verb'],
    body: Uint8Array = new Uint8Array(),
    signal: AbortSignal = cut.signal,
  ): Arrival => ({
    verb,
    body,
    headers: { none: true, ...known },
    who: { identity: settings.identity },
    authorization: undefined,
    http: {},
    trace: {},
    signal: verb === 'DELETE' ? AbortSignal.timeout(AGAIN.least) : signal,
  })

  const write = async (text: string) => {
    if (!stdout.writable || stdout.write(`${oneLine(text)}\n`)) return
    await new Promise<void>((resolve) => {
      const done = () => {
        stdout.off('drain', done)
        cut.signal.removeEventListener('abort', done)
        resolve()
      }
      stdout.once('drain', done)
      cut.signal.addEventListener('abort', done)
      if (cut.signal.aborted) done()
    })
  }

  /** @returns the status of an answer that is one message */
  const deliver = async (
    answer: Answer,
    asked: Message | undefined,
    signal: AbortSignal = cut.signal,
  ): Promise<number> => {
    if (answer.kind === 'stream') {
      for await (const { text } of answer.items) {
        if (signal.aborted) break
        if (text !== '') await write(text)
      }
      return 200
    }
    if (answer.kind === 'accepted') return answer.status
    // What was cancelled is not answered (2026-07-28, "Cancellation").
    if (asked?.kind === 'request') {
      if (!signal.aborted || cut.signal.aborted) await write(answer.text)
    } else say(answer)
    return answer.status
  }

  /** Each request of 2026-07-28 is an exchange of its own, and is over when it is cancelled, as one over HTTP. */
  const single = async (line: Buffer, message: Request) => {
    const cancel = new AbortController()
    const signal = AbortSignal.any([cut.signal, cancel.signal])
    cancels.set(message.id, cancel)
    if (methodToServer(message.method)?.long) streams.add(cancel)
    try {
      await deliver(await handle(arrivalOf('POST', line, signal)), message, signal)
    } finally {
      streams.delete(cancel)
      if (cancels.get(message.id) === cancel) cancels.delete(message.id)
    }
  }

  const take = async (line: Buffer, message: Message | undefined) => {
    if (isSingle(message)) return single(line, message)
    const cancel = cancelled(message)
    if (cancel !== undefined && cancels.has(cancel)) return cancels.get(cancel)?.abort()
    const answer = await handle(arrivalOf('POST', line))
    if (isHello(message) && answer.kind === 'message') {
      const version = versionIn(answer.text)
      known = {
        ...(answer.session !== undefined && { sessionId: answer.session }),
        ...(version !== undefined && { protocolVersion: version }),
      }
      if (known.sessionId !== undefined) void follow(known.sessionId)
    }
    await deliver(answer, message)
  }

  /** The stream of the session, for as long as it is the session: a stream has an age, and is opened anew. */
  const follow = async (sessionId: string) => {
    for (let wait = AGAIN.least; !cut.signal.aborted && known.sessionId === sessionId; ) {
      const began = performance.now()
      const status = await handle(arrivalOf('GET'))
        .then((answer) => deliver(answer, undefined))
        .catch(() => 500)
      if (status === 404) return void end('server_ended')
      // Not offered, or not granted: asking again would change nothing.
      if (status !== 200 && status < 500) return
      if (status === 200 && performance.now() - began > AGAIN.least) wait = AGAIN.least
      else {
        await Promise.race([late(wait), aborted(cut.signal)])
        wait = Math.min(wait * 2, AGAIN.most)
      }
    }
  }

  const begin = (line: Buffer): void => {
    const parsed = parseStrictBytes(line, settings.limits)
    const read = parsed.ok ? readMessage(parsed.value) : undefined
    const message = read?.ok ? read.message : undefined
    const before = hello
    const work = (async () => {
      await before
      // It would begin another session, and nobody would ever end this one.
      if (isHello(message) && known.sessionId !== undefined) {
        const last = arrivalOf('DELETE')
        known = {}
        await handle(last)
      }
      await take(line, message)
    })()
      .catch(() => undefined)
      .finally(() => {
        inHand.delete(work)
        staying.delete(work)
        if (hello === work) hello = undefined
        if (inHand.size < IN_HAND && !over) stdin.resume()
      })
    const stays = isSingle(message) && methodToServer(message.method)?.long && staying.size < SUBSCRIPTIONS
    if (stays) staying.add(work)
    else inHand.add(work)
    if (isHello(message)) hello = work
    if (inHand.size >= IN_HAND) stdin.pause()
  }

  const split = createLineSplitter(settings.limits.bytes)
  stdin.on('data', (chunk: Buffer) => {
    const lines = split(chunk)
    if (lines === 'line_too_long') return void end('line_too_long')
    for (const line of lines) if (line.length > 0 && !over) begin(line)
  })
  stdin.once('end', () => void end('eof'))
  stdin.once('error', () => void end('client_gone'))
  stdout.on('error', () => void end('client_gone'))
  return {
    ended,
    stop: () => {
      cut.abort()
      void end('cut')
    },
  }
}

const isHello = (message: Message | undefined): boolean =>
  message?.kind === 'request' && message.method === 'initialize'

const isSingle = (message: Message | undefined): message is Request =>
  message?.kind === 'request' &&
  isObject(message.params._meta) &&
  message.params._meta[META_VERSION] !== undefined

/** The request that is not wanted any more. */
const cancelled = (message: Message | undefined): Json | undefined =>
  message?.kind === 'notification' && message.method === 'notifications/cancelled'
    ? message.params.requestId
    : undefined

/** What the handshake agreed on, out of its answer. */
function versionIn(text: string): string | undefined {
  const parsed = parseStrict(text)
  const result = parsed.ok && isObject(parsed.value) ? parsed.value.result : undefined
  const version = isObject(result) ? result.protocolVersion : undefined
  return typeof version === 'string' ? version : undefined
}

const late = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms).unref())
const aborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
