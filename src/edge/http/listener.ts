import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { BlockList, isIPv6, Server as NetServer, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TlsOptions } from 'node:tls'
import type { McpHeaders } from '../../mcp/headers.ts'
import type { Identity } from '../../pdp/identity.ts'
import { type Context, createHandler, type Exchange, refuse } from '../../pep/handle.ts'
import type { Arrival } from '../../pep/ports.ts'
import type { RefusalReason } from '../../pep/refusal.ts'
import { writeAnswer } from './answer.ts'
import { type BodyFault, readBody } from './body.ts'
import { type BoundSettings, createBounds, type Place } from './bounds.ts'
import { type Head, isJsonType, readHead } from './hop-headers.ts'
import { SILENCE, watchPeers } from './peers.ts'
import { answerOnStream, createSseStreams } from './sse-legacy.ts'

/** Milliseconds that a connection which was refused may take to read why, and to close. */
const LINGER = 1_000
/** Connections beyond the bound that are told so; what comes beyond these is closed without a word. */
const SURPLUS = 64

export type ListenerSettings = {
  /** the one path that is served */
  endpoint: string
  /** it serves HTTP with SSE of 2024-11-05: the endpoint is that of the streams, and messages are posted below it */
  sse?: boolean
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
  bounds: BoundSettings
  /** milliseconds between comments on a silent stream; undefined: as `writeAnswer` has it */
  heartbeat?: number
  /** how often what is sent on a stream may be repeated in vain; undefined: as `watchPeers` has it */
  repeats?: number
  /** HTTPS, with client certificates where it names a CA */
  tls?: TlsOptions | undefined
}

export type Listener = {
  server: Server
  /** connections that are open now end with their next answer */
  renew: () => void
  /** stops accepting, lets calls finish, ends streams */
  drain: () => Promise<void>
}

/** MCP over HTTP/1.1: one path, three methods. What is no MCP message is refused here, by the same table. */
export function createListener(
  context: Context,
  settings: ListenerSettings,
  observe: (method: string, status: number, seconds: number) => void,
  lowMemory: () => boolean = () => false,
): Listener {
  const handle = createHandler(context)
  const proxies = proxiesOf(settings.trustedProxies)
  const streams = new Set<() => void>()
  const sse = settings.sse ? createSseStreams(settings.endpoint) : undefined
  /** The bodies that are waited for, and how to give one up. */
  const bodies = new Map<Duplex, (fault: BodyFault) => void>()
  /** How many answers each connection owes, those that are written and not flushed included. */
  const owed = new Map<Duplex, number>()
  /** Connections that sent what is no request: nothing more is taken from them. */
  const refused = new WeakSet<Duplex>()
  const bounds = createBounds(settings.bounds, () => performance.now(), lowMemory)
  /** Connections from before the bound was reached, or from before the last renewal, by what is said of them. */
  const surplus = new WeakSet<Duplex>()
  let old = new WeakSet<Duplex>()
  const peers = watchPeers(settings.heartbeat ?? SILENCE, settings.repeats)
  let draining = false

  const serve = async (request: IncomingMessage, response: ServerResponse, fault?: RefusalReason) => {
    const began = performance.now()
    const gone = new AbortController()
    const { socket } = request
    owed.set(socket, (owed.get(socket) ?? 0) + 1)
    // What is written to a client that is gone must not end the process.
    response.on('error', () => response.destroy())
    const place = fault ?? (surplus.has(socket) ? 'too_many_connections' : bounds.enter(request.method))
    response.once('close', () => {
      if (typeof place === 'object') place.leave()
      settle(socket)
      if (!response.writableFinished) gone.abort()
      observe(methodLabel(request.method), response.statusCode, (performance.now() - began) / 1000)
    })
    // An upstream may hold back the head of its stream until there is something in it: no call to wait for.
    const cut = () => {
      if (!response.headersSent) response.destroy()
    }
    if (request.method === 'GET') streams.add(cut)
    try {
      const reading: Reading = await read(request, gone.signal, place)
      const stream = sse?.find(sse.tokenOf(request.url) ?? '')
      if (stream && reading.ok) {
        const full = (arrival: Arrival) =>
          refuse(context, exchangeOf(context, arrival), 'identity_in_flight', { id: null })
        return await answerOnStream(stream, reading.arrival, response, { handle, full })
      }
      const answer = reading.ok
        ? await handle(reading.arrival)
        : await refuse(context, exchangeOf(context, reading.arrival), reading.reason, { id: null })
      // After a request that was refused for its form, what else the connection holds is nobody's to say.
      const reusable = () =>
        reading.ok && request.complete && !draining && !refused.has(socket) && !old.has(socket)
      // The answer to a call is waited for by a drain; a stream that stays open has no end of its own.
      const open = (end: () => void) => {
        if (answer.kind === 'stream' && answer.long) streams.add(end)
        const unwatch = peers.watch(socket)
        return () => {
          unwatch()
          streams.delete(end)
        }
      }
      const begun = answer.kind === 'stream' ? sse?.begin(response, answer, gone.signal) : undefined
      await writeAnswer(
        response,
        answer,
        gone.signal,
        reusable,
        begun ? (end) => open(() => begun.idle(end)) : open,
        begun?.first,
        settings.heartbeat,
      )
    } catch {
      await breakOff(response, gone.signal)
    } finally {
      streams.delete(cut)
    }
  }

  /** One answer less. After the last one there is nothing to wait for, in a drain and where the next was refused. */
  const settle = (socket: Socket) => {
    const left = (owed.get(socket) ?? 1) - 1
    if (owed.has(socket)) owed.set(socket, left)
    if (left === 0 && (draining || refused.has(socket))) socket.destroySoon()
  }

  /** Not expected; whatever it was, nothing was let through by it, and it must not end the process. */
  const breakOff = async (response: ServerResponse, signal: AbortSignal) => {
    if (response.headersSent) return void response.destroy()
    const exchange = exchangeOf(context, emptyArrival(signal))
    const answer = await refuse(context, exchange, 'internal', { id: null })
    await writeAnswer(
      response,
      answer,
      signal,
      () => false,
      () => () => {},
    )
  }

  type Reading = { ok: true; arrival: Arrival } | { ok: false; reason: RefusalReason; arrival: Arrival }
  const read = async (
    request: IncomingMessage,
    signal: AbortSignal,
    place: Place | RefusalReason,
  ): Promise<Reading> => {
    const unread = (reason: RefusalReason): Reading => ({ ok: false, reason, arrival: emptyArrival(signal) })
    if (place === 'bad_expectation') return unread(place)
    const parsed = readHead(request.rawHeaders)
    if (!parsed.ok) return unread(parsed.reason)
    const { head } = parsed
    const arrival = arrivalOf(request, head, signal)
    const no = (reason: RefusalReason): Reading => ({ ok: false, reason, arrival })
    if (draining) return no('shutting_down')
    if (typeof place === 'string') return no(place)
    const fault = checkHead(request, head)
    if (fault) return no(fault)
    const { socket } = request
    const hasBody = arrival.verb === 'POST'
    const waiting = readBody(request, hasBody ? settings.bodyLimit : 0, place.hold)
    bodies.set(socket, waiting.giveUp)
    const body = await waiting.result
    // By now it may be the next request's, which came in one piece with this one.
    if (bodies.get(socket) === waiting.giveUp) bodies.delete(socket)
    if (!body.ok) return no(!hasBody && body.reason === 'too_large' ? 'bad_http' : body.reason)
    const spent = bounds.foresee(arrival.verb, arrival.who)
    if (spent) return no(spent)
    return { ok: true, arrival: { ...arrival, body: body.body, admit: place.admit } }
  }

  const checkHead = (request: IncomingMessage, head: Head): RefusalReason | undefined => {
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
  }

  const pathFault = ({ url, method = '' }: IncomingMessage): RefusalReason | undefined => {
    if (url !== settings.endpoint) return 'bad_path'
    return ['POST', 'GET', 'DELETE'].includes(method) ? undefined : 'bad_verb'
  }

  const ssePathFault = ({ url, method }: IncomingMessage): RefusalReason | undefined => {
    const token = sse?.tokenOf(url)
    if (token === undefined && url !== settings.endpoint) return 'bad_path'
    if (method !== (token === undefined ? 'GET' : 'POST')) return 'bad_verb'
    return token !== undefined && !sse?.find(token) ? 'unknown_session' : undefined
  }

  const arrivalOf = (request: IncomingMessage, head: Head, signal: AbortSignal): Arrival => {
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
  }

  const take = (request: IncomingMessage, response: ServerResponse) => void serve(request, response)
  const options = {
    maxHeaderSize: 64 << 10,
    headersTimeout: 10_000,
    requestTimeout: 30_000,
    connectionsCheckingInterval: 2_000,
    keepAliveTimeout: 65_000,
    // A client that vanishes while it waits for its answer is noticed.
    keepAlive: true,
    keepAliveInitialDelay: SILENCE,
    insecureHTTPParser: false,
    // It is required all the same, but refused here, with a record.
    requireHostHeader: false,
  }
  // One is the other over TLS, which the types do not tell.
  const server = settings.tls
    ? (createTlsServer({ ...settings.tls, ...options }, take) as unknown as Server)
    : createServer(options, take)
  server.maxConnections = settings.bounds.connections + SURPLUS
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    const parsed = readHead(request.rawHeaders)
    if (parsed.ok && !checkHead(request, parsed.head)) response.writeContinue()
    void serve(request, response)
  })
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    void serve(request, response, 'bad_expectation')
  })
  server.on(settings.tls ? 'secureConnection' : 'connection', (socket: Socket) => {
    owed.set(socket, 0)
    if (owed.size > settings.bounds.connections) surplus.add(socket)
    socket.once('close', () => owed.delete(socket))
  })
  /** No connection yet, so nothing to answer on. */
  const refuseHandshake = async (socket: Duplex) => {
    socket.destroy()
    await refuse(context, exchangeOf(context, emptyArrival(AbortSignal.abort())), 'bad_tls', { id: null })
  }
  const refuseSocket = async (socket: Duplex, reason: BodyFault | 'bad_verb', status: string) => {
    if (refused.has(socket)) return
    refused.add(socket)
    // Node lets go of the socket before it tells, and an error that nobody hears would end the process.
    socket.on('error', () => socket.destroy())
    // Nor does Node look after its timeouts from here on: a client that never closes must not keep it.
    const linger = () => setTimeout(() => socket.destroy(), LINGER).unref()
    const giveUp = bodies.get(socket)
    if (giveUp && reason !== 'bad_verb') {
      // It is the body of a request that is in hand, and there it is answered; an answer before it may take its time.
      giveUp(reason)
      if (owed.get(socket) === 1) linger()
      return
    }
    const exchange = exchangeOf(context, emptyArrival(AbortSignal.abort()))
    const answering = refuse(context, exchange, reason, { id: null })
    // What is written now would be taken for the answer to a call that is under way; it ends with that.
    if ((owed.get(socket) ?? 0) > 0) return
    linger()
    const answer = await answering
    if (!socket.writable) return socket.destroy()
    const text = answer.kind === 'message' ? answer.text : ''
    const length = Buffer.byteLength(text)
    socket.end(
      `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\nconnection: close\r\n\r\n${text}`,
    )
    // Closing on what was not read would take the answer back.
    socket.resume()
  }
  server.on('drop', () => context.ports.count('rejected', 'too_many_connections'))
  server.on('upgrade', (_request, socket) => void refuseSocket(socket, 'bad_http', '400 Bad Request'))
  server.on('connect', (_request, socket) => void refuseSocket(socket, 'bad_verb', '405 Method Not Allowed'))
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (error.code === 'ECONNRESET') socket.destroy()
    else if (settings.tls && !owed.has(socket)) void refuseHandshake(socket)
    else if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT')
      void refuseSocket(socket, 'body_timeout', '408 Request Timeout')
    else void refuseSocket(socket, 'bad_http', '400 Bad Request')
  })

  return {
    server,
    renew: () => {
      old = new WeakSet(owed.keys())
      for (const [socket, answers] of owed) if (answers === 0) (socket as Socket).destroySoon()
    },
    drain: () =>
      new Promise((resolve) => {
        draining = true
        // Not its own `close`: that destroys a connection whose answer has ended, flushed or not.
        NetServer.prototype.close.call(server, () => resolve())
        for (const [socket, answers] of owed) if (answers === 0) (socket as Socket).destroySoon()
        for (const end of streams) end()
      }),
  }
}

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

const emptyArrival = (signal: AbortSignal): Arrival => ({
  verb: 'POST',
  body: Buffer.alloc(0),
  headers: {},
  who: undefined,
  authorization: undefined,
  http: {},
  trace: {},
  signal,
})

const exchangeOf = ({ ports }: Context, arrival: Arrival): Exchange => ({
  arrival,
  decision_id: ports.newId(),
  started: ports.now(),
})

/** Metric labels take no text of the client's. */
const methodLabel = (method: string | undefined): string =>
  ['POST', 'GET', 'DELETE'].includes(method ?? '') ? String(method).toLowerCase() : 'other'

/** Where the session is in the address, nothing can be resumed, and no revision says which headers there are. */
const withoutSession = ({ protocolVersion }: McpHeaders): McpHeaders =>
  protocolVersion === undefined ? { none: true } : { none: true, protocolVersion }
