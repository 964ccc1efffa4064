// The transparent proxy that the sidecar is compared with: node:http in, undici out, everything streamed.
import { createServer, type ServerResponse } from 'node:http'
import { Pool } from 'undici'
import { announce } from './processes.ts'

const upstream = new URL(process.argv[2] ?? '')
const pool = new Pool(upstream.origin, { connections: 256, pipelining: 1 })
const HOP = new Set(['connection', 'host', 'keep-alive', 'transfer-encoding'])

const server = createServer((request, response) => {
  const headers = Object.fromEntries(Object.entries(request.headers).filter(([name]) => !HOP.has(name)))
  pool
    .stream(
      {
        method: request.method as 'POST',
        path: request.url ?? '/',
        headers,
        body: request,
        opaque: response,
      },
      ({ statusCode, headers: back, opaque }) => {
        const out = opaque as ServerResponse
        out.writeHead(
          statusCode,
          Object.fromEntries(Object.entries(back).filter(([name]) => !HOP.has(name))) as Record<
            string,
            string
          >,
        )
        return out
      },
    )
    .catch(() => response.destroy())
})
server.keepAliveTimeout = 120_000
announce(server)
