import { createServer, type Server } from 'node:http'
import type { Metrics } from './metrics.ts'

/** What is ready, by name; undefined: it is, else why not. */
export type Readiness = {
  bundles: () => string | undefined
  plugins: () => Record<string, string | undefined>
  /** what OPA's status API says */
  status: () => object
}

/**
 * `GET /health` as OPA answers it (OPA docs, "Health API": `?bundles`, `?plugins`, `?exclude-plugin`), `/v1/status` and
 * `/metrics`, on a listener of their own: whoever reaches the MCP listener does not reach this one.
 * @param metrics undefined: health only, for probes that come from outside the pod
 */
export function createAdmin(ready: Readiness, metrics: Metrics | undefined): Server {
  const server = createServer(
    { maxHeaderSize: 16 << 10, headersTimeout: 5_000, requestTimeout: 5_000 },
    (request, response) => {
      const answer = (status: number, body: string, type = 'application/json') => {
        response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' })
        response.end(request.method === 'HEAD' ? undefined : body)
      }
      const url = URL.parse(request.url ?? '', 'http://admin')
      if (!url) return answer(400, '{"error":"bad request"}')
      if (request.method !== 'GET' && request.method !== 'HEAD')
        return answer(405, '{"error":"only GET is offered"}')
      if (url.pathname === '/health') {
        const why = healthFault(ready, url.searchParams)
        return why === undefined ? answer(200, '{}') : answer(500, JSON.stringify({ error: why }))
      }
      if (!metrics) return answer(404, '{"error":"there is /health"}')
      if (url.pathname === '/v1/status') return answer(200, JSON.stringify({ result: ready.status() }))
      if (url.pathname === '/metrics') {
        metrics.text().then(
          (text) => answer(200, text, metrics.contentType),
          () => answer(500, '{"error":"metrics could not be read"}'),
        )
        return
      }
      return answer(404, '{"error":"there is /health, /metrics and /v1/status"}')
    },
  )
  server.maxConnections = 64
  return server
}

function healthFault(ready: Readiness, query: URLSearchParams): string | undefined {
  // `?bundles` and `?bundles=true` ask for it, as in OPA.
  const wants = (name: string) => query.has(name) && query.get(name) !== 'false'
  if (wants('bundles') && ready.bundles() !== undefined)
    return `not all bundles activated: ${ready.bundles()}`
  if (wants('plugins')) {
    const excluded = new Set(query.getAll('exclude-plugin'))
    for (const [name, why] of Object.entries(ready.plugins())) {
      if (!excluded.has(name) && why !== undefined) return `plugin ${name} is not ready: ${why}`
    }
  }
  return undefined
}
