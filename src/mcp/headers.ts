import { HEADER_MISMATCH, INVALID_PARAMS, INVALID_REQUEST, UNSUPPORTED_VERSION } from './error.ts'
import type { Message } from './message.ts'
import { methodToServer } from './methods.ts'
import { isObject, type JsonObject } from './strict-json.ts'

/** legacy: up to 2025-11-25, with a handshake. modern: 2026-07-28, each request for itself. */
export type Era = 'legacy' | 'modern'

export const LEGACY_VERSIONS = ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25']
export const LATEST_LEGACY = '2025-11-25'
export const MODERN_VERSIONS = ['2026-07-28']
/** What a missing header means (2025-11-25, Streamable HTTP "Protocol Version Header"). */
export const ASSUMED_VERSION = '2025-03-26'

export const META_VERSION = 'io.modelcontextprotocol/protocolVersion'
export const META_CAPABILITIES = 'io.modelcontextprotocol/clientCapabilities'
export const META_LOG_LEVEL = 'io.modelcontextprotocol/logLevel'
export const META_CLIENT = 'io.modelcontextprotocol/clientInfo'

/** The MCP headers of one request, each at most once, as they came. */
export type McpHeaders = {
  /** the transport has none (stdio), so there is nothing that would have to agree */
  none?: true
  protocolVersion?: string
  method?: string
  name?: string
  sessionId?: string
  lastEventId?: string
  /** `Mcp-Param-*`, by what follows, in lower case */
  params?: Record<string, string>
}

export type Classified =
  | { ok: true; era: Era; version: string }
  | { ok: false; fault: HeaderFault; code: number; data?: JsonObject }
export type HeaderFault = 'header_mismatch' | 'unsupported_version' | 'missing_meta' | 'modern_needs_request'

/**
 * The era of one message, from the body first; headers only ever have to agree with it
 * (2026-07-28, Streamable HTTP "Request Metadata").
 * @param sessionVersion what the session negotiated, if the request names one
 */
export function classify(
  message: Message,
  headers: McpHeaders,
  sessionVersion: string | undefined,
): Classified {
  const meta = message.kind === 'response' ? undefined : message.params._meta
  const claimed = isObject(meta) ? meta[META_VERSION] : undefined
  if (claimed !== undefined || MODERN_VERSIONS.includes(headers.protocolVersion ?? '')) {
    return classifyModern(message, headers, isObject(meta) ? meta : {})
  }
  const version = headers.protocolVersion
  if (version !== undefined && !LEGACY_VERSIONS.includes(version)) {
    return unsupported(version, [...LEGACY_VERSIONS, ...MODERN_VERSIONS])
  }
  if (message.kind === 'request' && message.method === 'initialize') {
    const asked = message.params.protocolVersion
    if (typeof asked !== 'string') return { ok: false, fault: 'missing_meta', code: INVALID_PARAMS }
    return { ok: true, era: 'legacy', version: version ?? asked.slice(0, 32).toWellFormed() }
  }
  // A session keeps what its handshake agreed on: a header can neither lower nor raise it.
  return { ok: true, era: 'legacy', version: sessionVersion ?? version ?? ASSUMED_VERSION }
}

function classifyModern(message: Message, headers: McpHeaders, meta: JsonObject): Classified {
  if (message.kind !== 'request') return { ok: false, fault: 'modern_needs_request', code: INVALID_REQUEST }
  const version = meta[META_VERSION]
  if (typeof version !== 'string') return { ok: false, fault: 'missing_meta', code: INVALID_PARAMS }
  if (!headers.none && headers.protocolVersion !== version) return mismatch()
  if (!MODERN_VERSIONS.includes(version)) return unsupported(version, MODERN_VERSIONS)
  if (!isObject(meta[META_CAPABILITIES])) return { ok: false, fault: 'missing_meta', code: INVALID_PARAMS }
  if (headers.none) return { ok: true, era: 'modern', version }
  if (headers.method !== message.method) return mismatch()
  const mirrored = methodToServer(message.method)?.mirrored
  if (mirrored !== undefined) {
    const name = headers.name === undefined ? undefined : decodeHeader(headers.name)
    if (name === undefined || name !== message.params[mirrored]) return mismatch()
  } else if (headers.name !== undefined) return mismatch()
  return { ok: true, era: 'modern', version }
}

const mismatch = (): Classified => ({ ok: false, fault: 'header_mismatch', code: HEADER_MISMATCH })

/** The protocol asks that the version is named again; what is longer than one could be is not. */
const REVISION = /^[A-Za-z0-9.-]{1,16}$/

/** What claims to be modern is told the modern ones only: legacy versions are agreed on by `initialize`. */
function unsupported(requested: string, supported: readonly string[]): Classified {
  const data = { supported: [...supported], requested: REVISION.test(requested) ? requested : 'no revision' }
  return { ok: false, fault: 'unsupported_version', code: UNSUPPORTED_VERSION, data }
}

const SENTINEL = /^=\?base64\?([A-Za-z0-9+/]*={0,2})\?=$/

/** `=?base64?…?=` (2026-07-28, "Value Encoding"); anything else is literal. Undefined if the encoding is not canonical. */
export function decodeHeader(value: string): string | undefined {
  const encoded = SENTINEL.exec(value)?.[1]
  if (encoded === undefined) return value
  const bytes = Buffer.from(encoded, 'base64')
  if (bytes.toString('base64') !== encoded) return undefined
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}

/** Visible ASCII and inner blanks may stand as they are, unless they look like the sentinel. */
const PLAIN = /^[!-~](?:[ -~]*[!-~])?$/

export function encodeHeader(value: string): string {
  if (PLAIN.test(value) && !value.startsWith('=?')) return value
  return `=?base64?${Buffer.from(value, 'utf8').toString('base64')}?=`
}

/** The MCP headers of the upstream request, made from the message that was judged; none is copied. */
export function makeHeaders(message: Message, era: Era, version: string): Record<string, string> {
  const headers: Record<string, string> = {}
  if (message.kind === 'request' && message.method === 'initialize') return headers
  headers['mcp-protocol-version'] = version
  if (era === 'legacy' || message.kind === 'response') return headers
  headers['mcp-method'] = message.method
  const mirrored = methodToServer(message.method)?.mirrored
  const name = mirrored && message.params[mirrored]
  if (typeof name === 'string') headers['mcp-name'] = encodeHeader(name)
  return headers
}
