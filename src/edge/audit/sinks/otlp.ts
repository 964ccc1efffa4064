import { isObject, type JsonObject } from '../../../mcp/strict-json.ts'
import { answerOf, createClient, type HttpTo } from './request.ts'
import type { Line, Sink } from './sink.ts'

/**
 * OTLP/HTTP logs in the JSON encoding (OpenTelemetry protocol, "OTLP/HTTP"). Records that a receiver rejects within a
 * request that it takes are not named by it and must not be sent again: all of the request is kept with the dead letters.
 * @param project the log record, and the resource that it is of
 */
export function createOtlpSink(
  name: string,
  to: HttpTo,
  version: string,
  project: (line: Line) => { resource: JsonObject[]; record: JsonObject },
): Sink {
  const client = createClient(to)
  return {
    name,
    type: 'otlp',
    to: to.url.origin + to.url.pathname,
    status: client.status,
    async send(batch, signal) {
      const body = JSON.stringify({ resourceLogs: byResource(batch.map(project), version) })
      const reply = await client.post(
        Buffer.from(body),
        { headers: { 'content-type': 'application/json' } },
        signal,
      )
      if (reply.kind === 'failed') return { kind: 'retry', said: reply.said }
      const answer = answerOf(reply)
      if (answer.kind !== 'accepted') return answer
      const partial = partialOf(reply.body)
      if (partial === undefined)
        return { kind: 'retry', said: `HTTP ${reply.status} with what is no OTLP answer` }
      if (partial.rejected === 0) return answer
      const said = `${partial.rejected} of ${batch.length} records rejected, which ones is not said`
      const why = `${said}: ${partial.message}`
      return { kind: 'partly', said, refused: new Map(batch.map((_line, at) => [at, why])), again: [] }
    },
    close: client.close,
  }
}

/** One entry for each resource, in the order of the records: all of a process have the same. */
function byResource(projected: { resource: JsonObject[]; record: JsonObject }[], version: string) {
  const groups: { key: string; resource: JsonObject[]; records: JsonObject[] }[] = []
  for (const { resource, record } of projected) {
    const key = JSON.stringify(resource)
    const last = groups.at(-1)
    if (last?.key === key) last.records.push(record)
    else groups.push({ key, resource, records: [record] })
  }
  return groups.map(({ resource, records }) => ({
    resource: { attributes: resource },
    scopeLogs: [{ scope: { name: 'mcp-opa-sidecar', version }, logRecords: records }],
  }))
}

/** `{}`, nothing, or a `partialSuccess`; numbers of 64 bits may be strings. */
function partialOf(body: string): { rejected: number; message: string } | undefined {
  if (body === '') return { rejected: 0, message: '' }
  try {
    const read: unknown = JSON.parse(body)
    if (!isObject(read as JsonObject)) return undefined
    const partial = ((read as JsonObject).partialSuccess ?? {}) as JsonObject
    const rejected = Number(partial.rejectedLogRecords ?? 0)
    return Number.isSafeInteger(rejected) && rejected >= 0
      ? { rejected, message: String(partial.errorMessage ?? '').slice(0, 300) }
      : undefined
  } catch {
    return undefined
  }
}
