import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { gunzipSync } from 'node:zlib'

/** One request as a receiver of records got it: the body is unpacked, and kept as it came too. */
export type Received = {
  method: string
  url: string
  headers: IncomingHttpHeaders
  raw: Buffer
  text: string
}
export type Receiver = {
  url: string
  port: number
  requests: Received[]
  /** resolves when a request makes it true */
  until: (done: (requests: Received[]) => boolean) => Promise<void>
  close: () => Promise<void>
}
/** Answers, or does something worse to the connection. */
export type Answers = (request: Received, response: ServerResponse, socket: Socket) => void | Promise<void>

/** A receiver on a real socket. The body is read whole before it is answered. */
export async function startReceiver(
  answers: Answers,
  tls?: { cert: string; key: string; port?: number },
  port = 0,
): Promise<Receiver> {
  const requests: Received[] = []
  let waiting: { done: (requests: Received[]) => boolean; resolve: () => void }[] = []
  const sockets = new Set<Socket>()
  const handle: Parameters<typeof createServer>[1] = (request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('error', () => undefined)
    request.on('end', async () => {
      const raw = Buffer.concat(parts)
      const text = (request.headers['content-encoding'] === 'gzip' ? gunzipSync(raw) : raw).toString('utf8')
      const received = {
        method: request.method ?? '',
        url: request.url ?? '',
        headers: request.headers,
        raw,
        text,
      }
      requests.push(received)
      await answers(received, response, request.socket)
      waiting = waiting.filter(({ done, resolve }) => {
        if (!done(requests)) return true
        resolve()
        return false
      })
    })
  }
  const server = tls ? createTlsServer(tls, handle) : createServer(handle)
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => undefined)
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const at = (server.address() as AddressInfo).port
  return {
    url: `${tls ? 'https' : 'http'}://127.0.0.1:${at}`,
    port: at,
    requests,
    until: (done) =>
      new Promise((resolve) => {
        if (done(requests)) resolve()
        else waiting.push({ done, resolve })
      }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

export const answer = (
  response: ServerResponse,
  status: number,
  body: object | string = '',
  headers: Record<string, string> = {},
): void => {
  response.writeHead(status, { 'content-type': 'application/json', ...headers })
  response.end(typeof body === 'string' ? body : JSON.stringify(body))
}
