import { createHash } from 'node:crypto'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TlsOptions } from 'node:tls'

export type BundleRequest = { method: string; path: string; headers: IncomingHttpHeaders; body: string }
/** Answers itself, or returns false for the plain answer. */
export type Odd = (request: BundleRequest, response: ServerResponse) => boolean

export type BundleServer = {
  url: string
  port: number
  requests: () => BundleRequest[]
  /** what is served at a path from now on */
  serve: (path: string, bytes: Uint8Array) => void
  /** answers otherwise until it is called without one */
  oddly: (odd?: Odd) => void
  /** resolves when so many requests of a method have come in all */
  came: (count: number, method?: string) => Promise<void>
  close: () => Promise<void>
}

/**
 * A bundle service by the letter of OPA's documentation: ETag and 304, and with `wait` in `Prefer` an answer only when
 * there is something new or the time is over. What a client must not send is answered with 400.
 */
export async function startBundleServer({
  tls,
  canWait = false,
  port = 0,
}: {
  tls?: TlsOptions
  canWait?: boolean
  port?: number
} = {}): Promise<BundleServer> {
  const files = new Map<string, { bytes: Uint8Array; etag: string }>()
  const requests: BundleRequest[] = []
  let odd: Odd | undefined
  const told = new Set<() => void>()
  const tell = () => {
    for (const listener of [...told]) listener()
  }

  const answer = (request: BundleRequest, response: ServerResponse) => {
    if (odd?.(request, response)) return
    if (request.method === 'POST') return void response.writeHead(200).end()
    const prefer = /^modes=snapshot(?:,delta)?(?:;wait=(\d+))?$/.exec(String(request.headers.prefer))
    if (request.method !== 'GET' || !prefer || request.body !== '') return void response.writeHead(400).end()
    const type = canWait ? 'application/vnd.openpolicyagent.bundles' : 'application/gzip'
    const known = request.headers['if-none-match']
    const file = files.get(request.path)
    if (!file) return void response.writeHead(404).end('nothing here')
    if (file.etag !== known) {
      response.writeHead(200, { 'content-type': type, etag: file.etag }).end(file.bytes)
      return
    }
    const same = () => void response.writeHead(304, { etag: file.etag, 'content-type': type }).end()
    if (!canWait || prefer[1] === undefined) return same()
    const timer = setTimeout(() => settle(same), Number(prefer[1]) * 1000)
    const settle = (does: () => void) => {
      clearTimeout(timer)
      told.delete(look)
      if (!response.destroyed) does()
    }
    const look = () => {
      if (files.get(request.path)?.etag !== known) settle(() => answer(request, response))
    }
    told.add(look)
  }

  const take: Parameters<typeof createServer>[1] = (incoming, response) => {
    const parts: Buffer[] = []
    incoming.on('data', (chunk: Buffer) => parts.push(chunk))
    incoming.on('end', () => {
      const request = {
        method: incoming.method ?? '',
        path: incoming.url ?? '',
        headers: incoming.headers,
        body: Buffer.concat(parts).toString('utf8'),
      }
      requests.push(request)
      answer(request, response)
      tell()
    })
  }
  const server = tls ? createTlsServer(tls, take) : createServer({}, take)
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const address = server.address() as AddressInfo
  return {
    url: `${tls ? 'https' : 'http'}://127.0.0.1:${address.port}`,
    port: address.port,
    requests: () => requests,
    serve(path, bytes) {
      files.set(path, { bytes, etag: `"${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}"` })
      tell()
    },
    oddly: (next) => {
      odd = next
    },
    async came(count, method) {
      const enough = () => requests.filter((request) => !method || request.method === method).length >= count
      while (!enough()) {
        await new Promise<void>((resolve) => {
          const once = () => {
            told.delete(once)
            resolve()
          }
          told.add(once)
        })
      }
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
