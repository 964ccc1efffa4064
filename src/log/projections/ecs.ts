import type { JsonObject } from '../../mcp/strict-json.ts'
import { codesOf, put, reasonsOf, revisionOf, severityOf, split, textAt, valueAt } from './fields.ts'

export const ECS = 'ecs/8.17'

/** For the table: what is not one value of the event. */
export const ECS_MADE: [field: string, of: string][] = [
  ['@timestamp', '`timestamp`'],
  ['event.kind', '`event`; `alert` for a denial of severity high or critical; `pipeline_error` for a gap'],
  [
    'event.category, event.type',
    '`api` with `access` and `allowed` or `denied`; `configuration` with `change` for lifecycle',
  ],
  ['event.outcome', '`success` or `failure`: of a decision whether it allows, of an outcome how it ended'],
  ['event.severity', '1 to 4 from the severities of the reasons'],
  ['event.duration', '`custom.duration_ms`, in nanoseconds'],
  ['event.reason, rule.name', 'titles and codes of `result.reasons`'],
  ['rule.ruleset, rule.version', '`path` and the revisions of `bundles`'],
  ['labels', '`labels` without `id` and `version`'],
  ['mcp.rest', 'all that has no place above'],
]

const SEVERITY = { low: 1, medium: 2, high: 3, critical: 4 }

/** Elastic Common Schema 8.17; MCP and tools under the names that OpenTelemetry has, and `mcp`. */
export function toEcs(event: JsonObject): JsonObject {
  const { mapped, rest } = split(event, 'ecs')
  const out: JsonObject = { '@timestamp': event.timestamp ?? null, ecs: { version: ECS.slice(4) } }
  for (const [path, value] of mapped) put(out, path, value)
  const kind = textAt(event, 'custom.event')
  const disposition = textAt(event, 'custom.disposition')
  const denied = disposition === 'denied' || disposition === 'rejected'
  const severity = severityOf(event)
  put(out, 'event.module', 'mcp')
  put(out, 'event.dataset', 'mcp.audit')
  put(out, 'event.kind', kindOf(kind, denied, severity))
  if (kind === 'lifecycle' || kind === 'checkpoint') {
    put(out, 'event.category', ['configuration'])
    put(out, 'event.type', [kind === 'lifecycle' ? 'change' : 'info'])
  } else if (kind !== 'gap') {
    put(out, 'event.category', ['api'])
    put(out, 'event.type', disposition === undefined ? ['access'] : ['access', denied ? 'denied' : 'allowed'])
  }
  if (disposition !== undefined)
    put(out, 'event.outcome', denied || disposition === 'failed' ? 'failure' : 'success')
  if (severity !== undefined) put(out, 'event.severity', SEVERITY[severity])
  const duration = valueAt(event, 'custom.duration_ms')
  if (typeof duration === 'number') put(out, 'event.duration', Math.round(duration * 1e6))
  const codes = codesOf(event)
  if (codes.length > 0) {
    put(out, 'rule.name', codes)
    const titles = reasonsOf(event).flatMap(({ title }) => (typeof title === 'string' ? [title] : []))
    if (titles.length > 0) put(out, 'event.reason', titles.join('; '))
  }
  const revision = revisionOf(event)
  if (revision !== undefined) put(out, 'rule.version', revision)
  const path = textAt(event, 'path')
  if (path !== undefined) put(out, 'rule.ruleset', path)
  const { labels, timestamp: _, ...left } = rest
  if (labels !== undefined) put(out, 'labels', labels)
  put(out, 'service.type', 'mcp-opa-sidecar')
  put(out, 'mcp.rest', left)
  return out
}

function kindOf(kind: string | undefined, denied: boolean, severity: string | undefined): string {
  if (kind === 'gap') return 'pipeline_error'
  return denied && (severity === 'high' || severity === 'critical') ? 'alert' : 'event'
}
