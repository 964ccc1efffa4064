import type { McpHeaders } from '../../mcp/headers.ts'
import { readTraceparent } from '../../mcp/message.ts'
import type { Trace } from '../../pep/ports.ts'
import type { RefusalReason } from '../../pep/refusal.ts'

/** What is taken from the head of a request; whatever else came is not looked at and goes nowhere. */
export type Head = {
  mcp: McpHeaders
  assertion: string | undefined
  authorization: string | undefined
  contentType: string | undefined
  contentEncoding: string | undefined
  contentLength: string | undefined
  transferEncoding: string | undefined
  host: string | undefined
  origin: string | undefined
  requestId: string | undefined
  forwardedFor: string | undefined
  trace: Trace
}
export type HeadResult = { ok: true; head: Head } | { ok: false; reason: RefusalReason }

/** Headers that must come once: a second one would be read by one party and not by the other (RFC 9110, 5.3). */
const ONCE = new Set([
  'authorization',
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'expect',
  'host',
  'last-event-id',
  'mcp-method',
  'mcp-name',
  'mcp-protocol-version',
  'mcp-session-id',
  'origin',
  'traceparent',
  'transfer-encoding',
  'x-pomerium-jwt-assertion',
  'x-request-id',
])
const REFUSED = new Set(['upgrade', 'trailer'])
const ASSERTION = 'x-pomerium-jwt-assertion'
const PARAM = 'mcp-param-'
const MOST_PARAMS = 64
const VISIBLE_ASCII = /^[!-~]{1,4096}$/
const REQUEST_ID = /^[!-~]{1,128}$/

/** Reads the head strictly. @param raw names and values in turn, as node:http gives them */
export function readHead(raw: string[]): HeadResult {
  const seen = new Map<string, string>()
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = (raw[i] as string).toLowerCase()
    // Proxies and servers fold these to dashes: `X_Pomerium_…` must not stand for another header.
    if (name.includes('_') || name.includes('.')) return { ok: false, reason: 'bad_http' }
    if (REFUSED.has(name)) return { ok: false, reason: 'bad_http' }
    if (seen.has(name) && (ONCE.has(name) || name.startsWith(PARAM))) {
      return { ok: false, reason: name === ASSERTION ? 'assertion_repeated' : 'repeated_header' }
    }
    const value = raw[i + 1] as string
    seen.set(name, seen.has(name) ? `${seen.get(name)}, ${value}` : value)
  }
  const connection = seen.get('connection')?.toLowerCase()
  if (connection !== undefined && connection !== 'keep-alive' && connection !== 'close') {
    return { ok: false, reason: 'bad_http' }
  }
  const sessionId = seen.get('mcp-session-id')
  if (sessionId !== undefined && !VISIBLE_ASCII.test(sessionId)) return { ok: false, reason: 'bad_http' }

  const mcp: McpHeaders = {}
  const take = (key: Exclude<keyof McpHeaders, 'params' | 'none'>, name: string) => {
    const value = seen.get(name)
    if (value !== undefined) mcp[key] = value.trim()
  }
  take('protocolVersion', 'mcp-protocol-version')
  take('method', 'mcp-method')
  take('name', 'mcp-name')
  take('sessionId', 'mcp-session-id')
  take('lastEventId', 'last-event-id')
  const params = [...seen].filter(([name]) => name.startsWith(PARAM))
  if (params.length > MOST_PARAMS) return { ok: false, reason: 'bad_http' }
  if (params.length > 0)
    mcp.params = Object.fromEntries(params.map(([name, value]) => [name.slice(PARAM.length), value.trim()]))
  const requestId = seen.get('x-request-id')
  const traceparent = seen.get('traceparent')
  return {
    ok: true,
    head: {
      mcp,
      assertion: seen.get(ASSERTION),
      authorization: seen.get('authorization'),
      contentType: seen.get('content-type'),
      contentEncoding: seen.get('content-encoding'),
      contentLength: seen.get('content-length'),
      transferEncoding: seen.get('transfer-encoding'),
      host: seen.get('host'),
      origin: seen.get('origin'),
      requestId: requestId !== undefined && REQUEST_ID.test(requestId) ? requestId : undefined,
      forwardedFor: seen.get('x-forwarded-for'),
      trace: readTraceparent(traceparent) ?? {},
    },
  }
}

/** JSON in UTF-8, said so or not said (RFC 8259, 8.1). */
export const isJsonType = (value: string | undefined): boolean =>
  value !== undefined && /^application\/json(?:\s*;\s*charset="?utf-8"?)?$/i.test(value.trim())

/** The media type without parameters, lower case. */
export const essence = (value: string | undefined): string =>
  (value ?? '').split(';', 1)[0]!.trim().toLowerCase()
