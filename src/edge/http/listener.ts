import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { Server as NetServer } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TlsOptions } from 'node:tls'
import { type Context, createHandler, type Exchange, refuse } from '../../pep/handle.ts'
import type { Arrival } from '../../pep/ports.ts'
import type { RefusalReason } from '../../pep/refusal.ts'
import { writeAnswer } from './answer.ts'
import { type ArrivalSettings, createArrivals, emptyArrival } from './arrival.ts'
import { type BodyFault, readBody } from './body.ts'
import { type BoundSettings, createBounds, type Place } from './bounds.ts'
import { createConnections } from './connections.ts'
import { readHead } from './hop-headers.ts'
import { SILENCE, watchPeers } from './peers.ts'
import { answerOnStream, createSseStreams } from './sse-legacy.ts'

/** Milliseconds that a connection which was refused may take to read why, and to close. */
const LINGER = 1_000
/** Connections beyond the bound that are told so; what comes beyond these is closed without a word. */
const SURPLUS = 64

export type ListenerSettings = ArrivalSettings & {
  /** it serves HTTP with SSE of 2024-11-05: the endpoint is that of the streams, and messages are posted below it */
  sse?: boolean
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
  const streams = new Set<() => void>()
  const sse = settings.sse ? createSseStreams(settings.endpoint) : undefined
  const arrivals = createArrivals(settings, sse)
  /** The bodies that are waited for, and how to give one up. */
  const bodies = new Map<Duplex, (fault: BodyFault) => void>()
  const bounds = createBounds(settings.bounds, () => performance.now(), lowMemory)
  const connections = createConnections(settings.bounds.connections)
  const peers = watchPeers(settings.heartbeat ?? SILENCE, settings.repeats)

  const serve = async (request: IncomingMessage, response: ServerResponse, fault?: RefusalReason) => {
    const began = performance.now()
    const gone = new AbortController()
    const { socket } = request
    connections.owe(socket)
    // What is written to a client that is gone must not end the process.
    response.on('error', () => response.destroy())
    const place =
      fault ?? (connections.isSurplus(socket) ? 'too_many_connections' : bounds.enter(request.method))
    response.once('close', () => {
      if (typeof place === 'object') place.leave()
      connections.settle(socket)
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
      const reusable = () => reading.ok && request.complete && connections.reusable(socket)
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
    const arrival = arrivals.of(request, head, signal)
    const no = (reason: RefusalReason): Reading => ({ ok: false, reason, arrival })
    if (connections.draining()) return no('shutting_down')
    if (typeof place === 'string') return no(place)
    const fault = arrivals.check(request, head)
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
    if (parsed.ok && !arrivals.check(request, parsed.head)) response.writeContinue()
    void serve(request, response)
  })
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    void serve(request, response, 'bad_expectation')
  })
  server.on(settings.tls ? 'secureConnection' : 'connection', connections.opened)
  /** No connection yet, so nothing to answer on. */
  const refuseHandshake = async (socket: Duplex) => {
    socket.destroy()
    await refuse(context, exchangeOf(context, emptyArrival(AbortSignal.abort())), 'bad_tls', { id: null })
  }
  const refuseSocket = async (socket: Duplex, reason: BodyFault | 'bad_verb', status: string) => {
    if (!connections.refuse(socket)) return
    // Node lets go of the socket before it tells, and an error that nobody hears would end the process.
    socket.on('error', () => socket.destroy())
    // Nor does Node look after its timeouts from here on: a client that never closes must not keep it.
    const linger = () => setTimeout(() => socket.destroy(), LINGER).unref()
    const giveUp = bodies.get(socket)
    if (giveUp && reason !== 'bad_verb') {
      // It is the body of a request that is in hand, and there it is answered; an answer before it may take its time.
      giveUp(reason)
      if (connections.owed(socket) === 1) linger()
      return
    }
    const exchange = exchangeOf(context, emptyArrival(AbortSignal.abort()))
    const answering = refuse(context, exchange, reason, { id: null })
    // What is written now would be taken for the answer to a call that is under way; it ends with that.
    if (connections.owed(socket) > 0) return
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
    else if (settings.tls && !connections.has(socket)) void refuseHandshake(socket)
    else if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT')
      void refuseSocket(socket, 'body_timeout', '408 Request Timeout')
    else void refuseSocket(socket, 'bad_http', '400 Bad Request')
  })

  return {
    server,
    renew: connections.renew,
    drain: () =>
      new Promise((resolve) => {
        // Not its own `close`: that destroys a connection whose answer has ended, flushed or not.
        NetServer.prototype.close.call(server, () => resolve())
        connections.drain()
        for (const end of streams) end()
      }),
  }
}

const exchangeOf = ({ ports }: Context, arrival: Arrival): Exchange => ({
  arrival,
  decision_id: ports.newId(),
  started: ports.now(),
})

/** Metric labels take no text of the client's. */
const methodLabel = (method: string | undefined): string =>
  ['POST', 'GET', 'DELETE'].includes(method ?? '') ? String(method).toLowerCase() : 'other'
