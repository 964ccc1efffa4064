import type { IncomingMessage } from 'node:http'
import { BlockList, isIPv6 } from 'node:net'
import type { McpHeaders } from '../../mcp/headers.ts'
import type { Identity } from '../../pdp/identity.ts'
import type { Arrival } from '../../pep/ports.ts'
import type { RefusalReason } from '../../pep/refusal.ts'
import { type Head, isJsonType } from './hop-headers.ts'
import type { SseStreams } from './sse-legacy.ts'

export type ArrivalSettings = {
  /** the one path that is served */
  endpoint: string
  /** bytes of a body */
  bodyLimit: number
  /** whose X-Forwarded-For is believed: addresses or CIDR blocks */
  trustedProxies: string[]
  /** values of Origin that browsers may send; none by default (2025-11-25, Streamable HTTP "Security Warning") */
  allowedOrigins: string[]
  /** host names without port; undefined: any */
  allowedHosts: string[] | undefined
  /** believed of every request instead of an assertion: development, on loopback */
  configured: Identity | undefined
}

/** What of a request is known before its body is read. */
export type Line = Pick<IncomingMessage, 'httpVersion' | 'method' | 'url'> & {
  socket: Pick<IncomingMessage['socket'], 'remoteAddress'>
}

/** What requests are by their line and head, and which are refused for it. */
export type Arrivals = {
  check: (request: Line, head: Head) => RefusalReason | undefined
  /** without the body */
  of: (request: Line, head: Head, signal: AbortSignal) => Arrival
}

/** @param sse where HTTP with SSE is served: the endpoint is that of the streams, messages have a path of their own */
export function createArrivals(
  settings: ArrivalSettings,
  sse: Pick<SseStreams, 'tokenOf' | 'find'> | undefined,
): Arrivals {
  const proxies = proxiesOf(settings.trustedProxies)

  const pathFault = ({ url, method = '' }: Line): RefusalReason | undefined => {
    if (url !== settings.endpoint) return 'bad_path'
    return ['POST', 'GET', 'DELETE'].includes(method) ? undefined : 'bad_verb'
  }
  const ssePathFault = ({ url, method }: Line): RefusalReason | undefined => {
    const token = sse?.tokenOf(url)
    if (token === undefined && url !== settings.endpoint) return 'bad_path'
    if (method !== (token === undefined ? 'GET' : 'POST')) return 'bad_verb'
    return token !== undefined && !sse?.find(token) ? 'unknown_session' : undefined
  }

  return {
    check(request, head) {
      if (request.httpVersion !== '1.1' || head.host === undefined) return 'bad_http'
      const fault = sse ? ssePathFault(request) : pathFault(request)
      if (fault) return fault
      const host = head.host?.replace(/:\d+$/, '').toLowerCase()
      if (settings.allowedHosts && !settings.allowedHosts.includes(host ?? '')) return 'bad_host'
      if (head.origin !== undefined && !settings.allowedOrigins.includes(head.origin)) return 'bad_origin'
      if (
        head.transferEncoding !== undefined &&
        (head.transferEncoding !== 'chunked' || head.contentLength !== undefined)
      )
        return 'bad_http'
      if (head.contentEncoding !== undefined && head.contentEncoding !== 'identity') return 'bad_content_type'
      if (request.method === 'POST' && !isJsonType(head.contentType)) return 'bad_content_type'
      if (Number(head.contentLength ?? 0) > settings.bodyLimit) return 'too_large'
      return undefined
    },
    of(request, head, signal) {
      const ip = forwardedAddress(request.socket.remoteAddress, head.forwardedFor, proxies)
      const who = settings.configured
        ? { identity: settings.configured }
        : head.assertion === undefined
          ? undefined
          : { assertion: head.assertion }
      return {
        verb: request.method as Arrival['verb'],
        body: Buffer.alloc(0),
        headers: sse ? withoutSession(head.mcp) : head.mcp,
        ...(sse && { sse: true }),
        who,
        authorization: head.authorization,
        http: {
          ...(head.requestId !== undefined && { request_id: head.requestId }),
          ...(ip !== undefined && { source_ip: ip }),
        },
        trace: head.trace,
        signal,
      }
    },
  }
}

/** Of what could not be read: nothing in it is the client's. */
export const emptyArrival = (signal: AbortSignal): Arrival => ({
  verb: 'POST',
  body: Buffer.alloc(0),
  headers: {},
  who: undefined,
  authorization: undefined,
  http: {},
  trace: {},
  signal,
})

/** Where the session is in the address, nothing can be resumed, and no revision says which headers there are. */
const withoutSession = ({ protocolVersion }: McpHeaders): McpHeaders =>
  protocolVersion === undefined ? { none: true } : { none: true, protocolVersion }

/** The client's address as the proxy in front saw it: the last entry, and only from a proxy that is configured. */
function forwardedAddress(
  peer: string | undefined,
  forwarded: string | undefined,
  proxies: Proxies,
): string | undefined {
  const address = peer?.replace(/^::ffff:/, '')
  // A socket file has no address; who may write to it is a matter of its permissions.
  const trusted =
    address === undefined ? proxies.unix : proxies.list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
  if (!trusted) return undefined
  const last = forwarded?.split(',').at(-1)?.trim()
  return last !== undefined && /^[0-9A-Fa-f.:]{2,45}$/.test(last) ? last : undefined
}

type Proxies = { list: BlockList; unix: boolean }

function proxiesOf(blocks: string[]): Proxies {
  const list = new BlockList()
  for (const block of blocks) {
    if (block === 'unix') continue
    const [address = '', bits] = block.split('/')
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    if (bits === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(bits), family)
  }
  return { list, unix: blocks.includes('unix') }
}
