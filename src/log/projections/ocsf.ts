import { isObject, type Json, type JsonObject } from '../../mcp/strict-json.ts'
import { codesOf, put, reasonsOf, revisionOf, severityOf, split, textAt, timeOf, valueAt } from './fields.ts'

export const OCSF = 'ocsf/1.8'

export const OCSF_MADE: [field: string, of: string][] = [
  [
    'class_uid, category_uid, type_uid',
    'API Activity (6003) in Application Activity (6), `600300 + activity_id`',
  ],
  [
    'activity_id, activity_name',
    'Read (2) for lists and `resources/read`, `prompts/get`; else Other (99) with the method',
  ],
  ['time', '`timestamp`, in milliseconds'],
  [
    'severity_id',
    'Informational (1); Medium (3) for denied; Low (2) for rejected; High (4) for a gap; or from the severities of the reasons',
  ],
  [
    'action_id, disposition_id',
    'Allowed (1, 1), Denied (2, 2), Observed and Logged (3, 17) for a dry run that would deny',
  ],
  ['status_id, status_detail', 'Success (1) or Failure (2); titles of `result.reasons`'],
  ['is_alert', 'a denial of severity high or critical, and a gap'],
  ['actor.user.groups', '`input.identity.groups`'],
  ['actor.authorizations, policy', 'codes of `result.reasons`; `path` with the revisions of `bundles`'],
  ['resources', 'the tool, prompt or resource, with its kind'],
  ['duration', '`custom.duration_ms`'],
  ['metadata.labels', '`labels` without `id` and `version`, as `name:value`'],
  ['unmapped', 'all that has no place above'],
]

const SEVERITY = { low: 2, medium: 3, high: 4, critical: 5 }
const READS = /^(resources\/(read|list|templates\/list)|prompts\/(get|list)|tools\/list|server\/discover)$/

/** OCSF 1.8, class API Activity, profiles `security_control` and `trace`. */
export function toOcsf(event: JsonObject): JsonObject {
  const { mapped, rest } = split(event, 'ocsf')
  const kind = textAt(event, 'custom.event') ?? 'event'
  const method = textAt(event, 'input.method') ?? textAt(event, 'custom.method')
  const operation = method ?? kind
  const activity = READS.test(operation) ? 2 : 99
  const disposition = textAt(event, 'custom.disposition')
  const worst = severityOf(event)
  const alert = kind === 'gap' || (disposition === 'denied' && (worst === 'high' || worst === 'critical'))
  const trace = textAt(event, 'trace_id') !== undefined
  const out: JsonObject = {
    class_uid: 6003,
    class_name: 'API Activity',
    category_uid: 6,
    category_name: 'Application Activity',
    activity_id: activity,
    activity_name: activity === 2 ? 'Read' : operation,
    type_uid: 600_300 + activity,
    time: timeOf(event),
    severity_id: severity(kind, disposition, worst),
    is_alert: alert,
    metadata: {
      version: '1.8.0',
      profiles: ['security_control', ...(trace ? ['trace'] : [])],
      product: { name: 'mcp-opa-sidecar', vendor_name: 'mcp-opa-sidecar' },
    },
    api: { operation },
  }
  for (const [path, value] of mapped) put(out, path, ofType(path, value))
  // What the class asks of every event.
  if (!isObject(out.actor as Json)) put(out, 'actor.app_name', 'mcp-opa-sidecar')
  if (!isObject(out.src_endpoint as Json)) put(out, 'src_endpoint.svc_name', 'mcp-opa-sidecar')
  if (valueAt(out, 'api.request') !== undefined && valueAt(out, 'api.request.uid') === undefined)
    put(out, 'api.request.uid', textAt(event, 'decision_id') ?? '')
  // An email or a name alone does not say who: OCSF wants a name or an id.
  if (isObject((out.actor as JsonObject).user as Json)) put(out, 'actor.user.type_id', 0)

  const [action, disposed] = ACTIONS[disposition ?? ''] ?? [0, 0]
  if (disposition !== undefined) {
    put(out, 'action_id', action)
    put(out, 'disposition_id', disposed)
    put(out, 'status_id', ['denied', 'rejected', 'failed'].includes(disposition) ? 2 : 1)
  }
  const reasons = reasonsOf(event)
  const titles = reasons.flatMap(({ title }) => (typeof title === 'string' ? [title] : []))
  if (titles.length > 0) put(out, 'status_detail', titles.join('; '))
  const codes = codesOf(event)
  if (codes.length > 0) {
    const decision = disposition === 'denied' ? 'denied' : 'allowed'
    put(
      out,
      'actor.authorizations',
      codes.map((code) => ({ decision, policy: { name: code } })),
    )
  }
  const revision = revisionOf(event)
  if (isObject(out.policy as Json) && revision !== undefined) put(out, 'policy.version', revision)
  const groups = valueAt(event, 'input.identity.groups')
  if (Array.isArray(groups))
    put(
      out,
      'actor.user.groups',
      groups.map((name) => ({ name })),
    )
  const resources = resourcesOf(event)
  if (resources.length > 0) put(out, 'resources', resources)
  const duration = valueAt(event, 'custom.duration_ms')
  if (typeof duration === 'number') put(out, 'duration', Math.round(duration))
  const { labels, timestamp: _, ...left } = rest
  const names = Object.entries(isObject(labels as Json) ? (labels as JsonObject) : {})
  if (names.length > 0)
    put(
      out,
      'metadata.labels',
      names.map(([name, value]) => `${name}:${value}`),
    )
  put(out, 'unmapped', left)
  return out
}

/** Action and disposition of the profile `security_control`. */
const ACTIONS: Record<string, [action: number, disposition: number]> = {
  allowed: [1, 1],
  allowed_dry_run: [3, 17],
  denied: [2, 2],
  rejected: [2, 2],
  failed: [1, 1],
}

function severity(
  kind: string,
  disposition: string | undefined,
  worst: keyof typeof SEVERITY | undefined,
): number {
  if (kind === 'gap') return 4
  if (disposition === 'denied') return worst === undefined ? 3 : SEVERITY[worst]
  return disposition === 'rejected' ? 2 : 1
}

function resourcesOf(event: JsonObject): JsonObject[] {
  const named: [path: string, type: string][] = [
    ['input.tool.name', 'mcp.tool'],
    ['input.prompt.name', 'mcp.prompt'],
    ['input.resource.uri', 'mcp.resource'],
  ]
  return named.flatMap(([path, type]) => {
    const name = textAt(event, path)
    return name === undefined ? [] : [{ name, type }]
  })
}

/** Text where OCSF has text. */
const TEXT = new Set(['status_code'])
const ofType = (path: string, value: Json): Json =>
  TEXT.has(path)
    ? String(value)
    : path === 'api.response.code'
      ? Number(value)
      : path === 'api.request.data' && !isObject(value)
        ? { value }
        : value
