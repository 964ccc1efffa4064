import { createService } from '../../services/client.ts'
import type { Service } from '../../services/settings.ts'
import { type Client, readReply, reasonOf } from './request.ts'

/** Requests to one of OPA's `services`, with its credentials and authorities. */
export function createServiceClient(
  service: Service,
  resource: string,
  version: string,
  timeout: number,
): Client {
  const client = createService(service, `mcp-opa-sidecar/${version}`)
  let last: number | undefined
  return {
    async post(body, { path, headers }, signal) {
      const ending = new AbortController()
      const end = () => ending.abort(new Error('stopped'))
      const timer = setTimeout(() => ending.abort(new Error(`no answer within ${timeout} ms`)), timeout)
      signal.addEventListener('abort', end)
      if (signal.aborted) end()
      try {
        const answer = await client.request(path ?? resource, {
          method: 'POST',
          headers,
          body,
          signal: ending.signal,
        })
        const reply = await readReply(answer.statusCode, answer.headers['retry-after'], answer.body)
        last = answer.statusCode
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
    close: client.close,
  }
}
