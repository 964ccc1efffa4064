import { answerOf, createClient, type HttpTo } from './request.ts'
import { idOf, type Line, type Sink } from './sink.ts'

/**
 * Elasticsearch's and OpenSearch's bulk API into a data stream. Each event is created under its own id, so one that comes
 * twice is there once (409): in the same backing index, which a rollover changes.
 * @param render the document; it has `@timestamp`, as a data stream asks
 */
export function createBulkSink(
  name: string,
  type: 'elasticsearch' | 'opensearch',
  to: HttpTo,
  index: string,
  render: (line: Line) => string,
): Sink {
  const client = createClient(to)
  const base = to.url.pathname.replace(/\/$/, '')
  const path = `${base}/${encodeURIComponent(index)}/_bulk?filter_path=${ANSWER}`
  return {
    name,
    type,
    to: `${to.url.origin}${base}/${index}`,
    status: client.status,
    async send(batch, signal) {
      const actions = batch.map(
        (line) => `{"create":{"_id":${JSON.stringify(idOf(line))}}}\n${render(line)}\n`,
      )
      const reply = await client.post(
        Buffer.from(actions.join('')),
        { path, headers: { 'content-type': 'application/x-ndjson' } },
        signal,
      )
      if (reply.kind === 'failed') return { kind: 'retry', said: reply.said }
      if (reply.status !== 200) return answerOf(reply)
      const items = itemsOf(reply.body)
      if (items?.length !== batch.length)
        return { kind: 'retry', said: `HTTP 200 without an answer for each of ${batch.length} items` }
      const refused = new Map<number, string>()
      const again: number[] = []
      let said = ''
      items.forEach(({ status, error }, at) => {
        if (status === 409 || (status >= 200 && status < 300)) return
        const short = `item status ${status}${error?.type ? `: ${error.type}` : ''}`
          .slice(0, 200)
          .toWellFormed()
        said ||= short
        const why = `${short}: ${error?.reason ?? ''}`.slice(0, 1000).toWellFormed()
        // Only what is wrong with the document itself is for good; a full disk or a missing right is mended by somebody.
        if (status === 400 && !WAITS.has(error?.type ?? '')) refused.set(at, why)
        else again.push(at)
      })
      if (refused.size === 0 && again.length === 0) return { kind: 'accepted', said: 'HTTP 200' }
      return { kind: 'partly', said, refused, again }
    },
    close: client.close,
  }
}

const ANSWER = 'errors,items.*.status,items.*.error.type,items.*.error.reason'
const WAITS = new Set(['cluster_block_exception', 'index_closed_exception'])

type Item = { status: number; error?: { type?: string; reason?: string } }

function itemsOf(body: string): Item[] | undefined {
  try {
    const { items } = JSON.parse(body) as { items?: unknown }
    if (!Array.isArray(items)) return undefined
    const read = items.map((item) => (Object.values(item ?? {})[0] ?? {}) as Item)
    return read.every(({ status }) => Number.isInteger(status)) ? read : undefined
  } catch {
    return undefined
  }
}
