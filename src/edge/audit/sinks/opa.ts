import { answerOf, type Client, gzipped } from './request.ts'
import type { Line, Sink } from './sink.ts'

/**
 * OPA's decision-log API (OPA docs, "Decision Log Service API"): a gzip-compressed JSON array of events, and any 2xx takes
 * it. What eats OPA's decision logs eats this: Enterprise OPA's `service` and `http` outputs send the same.
 * @param limit of the compressed body, as OPA's `upload_size_limit_bytes`; an event that is larger alone is sent alone
 */
export function createOpaSink(
  { name, type, to }: Pick<Sink, 'name' | 'type' | 'to'>,
  client: Client,
  { limit, compress }: { limit: number; compress: boolean },
  render: (line: Line) => string,
): Sink {
  const headers = { 'content-type': 'application/json', ...(compress && { 'content-encoding': 'gzip' }) }
  return {
    name,
    type,
    to,
    status: client.status,
    async send(batch, signal) {
      const array = Buffer.from(`[${batch.map(render).join(',')}]`)
      const body = compress ? await gzipped(array) : array
      if (body.length > limit && batch.length > 1)
        return { kind: 'too_large', said: `${body.length} bytes are more than upload_size_limit_bytes` }
      const reply = await client.post(body, { headers }, signal)
      return reply.kind === 'failed' ? { kind: 'retry', said: reply.said } : answerOf(reply)
    },
    close: client.close,
  }
}
