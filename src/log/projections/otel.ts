import { isObject, type Json, type JsonObject } from '../../mcp/strict-json.ts'
import { codesOf, revisionOf, severityOf, split, textAt, timeOf } from './fields.ts'

/** Attribute names as in OpenTelemetry's MCP and GenAI conventions, which are in development: the number is ours. */
export const OTEL = 'otel/1'

export const OTEL_MADE: [field: string, of: string][] = [
  ['timeUnixNano, observedTimeUnixNano', '`timestamp`'],
  ['traceId, spanId', '`trace_id`, `span_id`'],
  ['eventName', '`mcp.audit.` and `custom.event`'],
  [
    'severityNumber, severityText',
    'INFO; WARN for denied and rejected; ERROR for failed, a gap and a denial of severity high or critical',
  ],
  ['body', 'the line of the record, byte for byte: nothing is lost, and its place in the log can be proven'],
  ['gen_ai.operation.name', '`execute_tool` for `tools/call`'],
  ['error.type', '`tool_error`, the code of a JSON-RPC error, or `custom.cause.code`'],
  ['mcp.policy.reasons, mcp.policy.revision', 'codes of `result.reasons`; the revisions of `bundles`'],
  ['resource', '`service.name`, `service.version`, `service.instance.id`, and `labels`'],
]

const RESOURCE = new Set(['service.instance.id', 'service.version'])

/** A log record of OTLP (JSON encoding: ids in hexadecimal, integers of 64 bits as text) and the resource it is of. */
export function toOtel(event: JsonObject, line: string): { resource: JsonObject[]; record: JsonObject } {
  const { mapped, rest } = split(event, 'otel')
  const labels = isObject(rest.labels as Json) ? (rest.labels as JsonObject) : {}
  const resource: [string, Json][] = [
    ['service.name', 'mcp-opa-sidecar'],
    ...mapped.filter(([name]) => RESOURCE.has(name)),
    ...Object.entries(labels),
  ]
  const attributes: [string, Json][] = mapped.filter(([name]) => !RESOURCE.has(name))
  const kind = textAt(event, 'custom.event') ?? 'event'
  const method = textAt(event, 'input.method') ?? textAt(event, 'custom.method')
  if (method === 'tools/call') attributes.push(['gen_ai.operation.name', 'execute_tool'])
  const error = errorOf(event)
  if (error !== undefined) attributes.push(['error.type', error])
  const codes = codesOf(event)
  if (codes.length > 0) attributes.push(['mcp.policy.reasons', codes])
  const revision = revisionOf(event)
  if (revision !== undefined) attributes.push(['mcp.policy.revision', revision])
  attributes.push(['mcp.audit.schema', OTEL])

  const time = `${timeOf(event)}000000`
  const [number, text] = severity(event, kind)
  const [trace, span] = [textAt(event, 'trace_id'), textAt(event, 'span_id')]
  return {
    resource: resource.map(attribute),
    record: {
      timeUnixNano: time,
      observedTimeUnixNano: time,
      severityNumber: number,
      severityText: text,
      eventName: `mcp.audit.${kind}`,
      body: { stringValue: line },
      attributes: attributes.map(attribute),
      ...(trace !== undefined && /^[0-9a-f]{32}$/.test(trace) && { traceId: trace }),
      ...(span !== undefined && /^[0-9a-f]{16}$/.test(span) && { spanId: span }),
    },
  }
}

function severity(event: JsonObject, kind: string): [number: number, text: string] {
  const disposition = textAt(event, 'custom.disposition')
  const worst = severityOf(event)
  if (kind === 'gap' || disposition === 'failed') return [17, 'ERROR']
  if (disposition === 'denied') return worst === 'high' || worst === 'critical' ? [17, 'ERROR'] : [13, 'WARN']
  return disposition === 'rejected' ? [13, 'WARN'] : [9, 'INFO']
}

function errorOf(event: JsonObject): string | undefined {
  const custom = isObject(event.custom as Json) ? (event.custom as JsonObject) : {}
  if (custom.tool_error === true) return 'tool_error'
  if (typeof custom.rpc_error === 'number') return String(custom.rpc_error)
  return custom.event === 'outcome' || custom.event === 'reject'
    ? textAt(event, 'custom.cause.code')
    : undefined
}

const attribute = ([key, value]: [string, Json]): JsonObject => ({ key, value: anyValue(value) })

function anyValue(value: Json): JsonObject {
  if (typeof value === 'string') return { stringValue: value }
  if (typeof value === 'boolean') return { boolValue: value }
  if (typeof value === 'number')
    return Number.isSafeInteger(value) ? { intValue: String(value) } : { doubleValue: value }
  if (value === null) return {}
  if (Array.isArray(value)) return { arrayValue: { values: value.map(anyValue) } }
  return { kvlistValue: { values: Object.entries(value).map(attribute) } }
}
