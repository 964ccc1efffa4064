import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { Agent, type Dispatcher } from 'undici'
import type { Answer } from './sink.ts'

const deflate = promisify(gzip)
/** On a thread of the pool: the event loop has calls to answer. */
export const gzipped = (bytes: Buffer): Promise<Buffer> => deflate(bytes, { level: 1 })

export type HttpTo = {
  url: URL
  headers: Record<string, string>
  /** the value of a header, or a file that holds its secret part: read for each request, as it may be renewed */
  credential?: { header: string; prefix: string; secret: { value: string } | { file: string } }
  tls: { ca?: string; cert?: string; key?: string }
  /** milliseconds until the whole answer is there */
  timeout: number
  compress: boolean
}

export type Reply =
  | { kind: 'answer'; status: number; after: number | undefined; body: string }
  /** there is no answer, or not all of it: nobody knows what was taken */
  | { kind: 'failed'; said: string }

export type Client = {
  post: (
    body: Buffer,
    more: { path?: string; headers: Record<string, string> },
    signal: AbortSignal,
  ) => Promise<Reply>
  /** of the last answer */
  status: () => number | undefined
  close: () => Promise<void>
}

/** Bytes of an answer: a bulk request of 10,000 items answers with a line for each. */
const ANSWER_LIMIT = 8 << 20

/** Requests to one receiver. A redirect is not followed: it would carry records and credential to where nobody said. */
export function createClient(to: HttpTo): Client {
  const { ca, cert, key } = to.tls
  const dispatcher: Dispatcher = new Agent({
    connections: 2,
    pipelining: 1,
    keepAliveTimeout: 30_000,
    headersTimeout: to.timeout,
    bodyTimeout: to.timeout,
    connect: {
      timeout: to.timeout,
      ...(ca !== undefined && { ca }),
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
    },
  })
  let last: number | undefined
  return {
    async post(body, { path, headers }, signal) {
      let credential = {}
      // Not `AbortSignal.any`: what it keeps of a signal that lives as long as the process adds up.
      const ending = new AbortController()
      const end = () => ending.abort(new Error('stopped'))
      const timer = setTimeout(() => ending.abort(new Error(`no answer within ${to.timeout} ms`)), to.timeout)
      signal.addEventListener('abort', end)
      if (signal.aborted) end()
      try {
        if (to.credential) {
          const { header, prefix, secret } = to.credential
          const value = 'value' in secret ? secret.value : readFileSync(secret.file, 'utf8').trim()
          credential = { [header]: `${prefix}${value}` }
        }
        const sent = to.compress ? await gzipped(body) : body
        const {
          statusCode,
          headers: got,
          body: stream,
        } = await dispatcher.request({
          origin: to.url.origin,
          path: path ?? to.url.pathname + to.url.search,
          method: 'POST',
          headers: {
            'user-agent': 'mcp-opa-sidecar',
            ...headers,
            ...(to.compress && { 'content-encoding': 'gzip' }),
            ...to.headers,
            ...credential,
          },
          body: sent,
          signal: ending.signal,
        })
        const reply = await readReply(statusCode, got['retry-after'], stream)
        last = statusCode
        return reply
      } catch (error) {
        last = undefined
        return { kind: 'failed', said: reasonOf(error) }
      } finally {
        clearTimeout(timer)
        signal.removeEventListener('abort', end)
      }
    },
    status: () => last,
    close: () => dispatcher.destroy(),
  }
}

/** @throws Error if it is cut, or too long */
export async function readReply(
  status: number,
  after: string | string[] | undefined,
  stream: AsyncIterable<Buffer>,
): Promise<Reply> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of stream) {
    size += part.length
    if (size > ANSWER_LIMIT) throw new Error(`the answer is longer than ${ANSWER_LIMIT} bytes`)
    parts.push(part)
  }
  return {
    kind: 'answer',
    status,
    after: retryAfter(after, Date.now()),
    body: Buffer.concat(parts).toString('utf8'),
  }
}

/** @returns milliseconds, from seconds or an HTTP date (RFC 9110, 10.2.3) */
export function retryAfter(value: string | string[] | undefined, now: number): number | undefined {
  if (typeof value !== 'string') return undefined
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000
  const at = Date.parse(value)
  return Number.isNaN(at) ? undefined : Math.max(0, at - now)
}

/** The cause of a failed connection, without what was sent. */
export function reasonOf(error: unknown): string {
  const { code, message, cause } = error as { code?: string; message?: string; cause?: { code?: string } }
  const name = cause?.code ?? code
  return [message || 'failed', name]
    .filter((part) => part && !message?.includes(`(${part})`))
    .join(' ')
    .slice(0, 300)
}

/**
 * What a status means where the receiver has nothing more to say. 500 is tried again (Vector answers so while what is
 * behind it fails); what only a change of settings mends, rarely; only what is about this body is refused.
 */
export function answerOf({ status, after, body }: Extract<Reply, { kind: 'answer' }>): Answer {
  const text = { said: `HTTP ${status}`, ...(body !== '' && { detail: body.slice(0, 500).toWellFormed() }) }
  if (status >= 200 && status < 300) return { kind: 'accepted', ...text }
  if (status === 413) return { kind: 'too_large', ...text }
  if (status === 400 || status === 422) return { kind: 'refused', ...text }
  const waits = after === undefined ? {} : { after }
  if (status === 408 || status === 425 || status === 429 || status >= 500)
    return { kind: 'retry', ...text, ...waits }
  return { kind: 'retry', ...text, ...waits, slow: true }
}
