import { isObject, type Json, type JsonObject } from '../../mcp/strict-json.ts'

/**
 * Where a value of an event goes in each schema: the table of docs/siem.md. What is made of several values is in the file
 * of each schema; what has no row is kept whole under `REST`.
 */
export type Field = {
  from: string
  ecs?: string
  otel?: string
  ocsf?: string
  /** written as text: what a client chooses to be a number or text must have one type in an index */
  text?: true
}

export const FIELDS: Field[] = [
  { from: 'custom.event_id', ecs: 'event.id', otel: 'log.record.uid', ocsf: 'metadata.uid' },
  { from: 'custom.seq', ecs: 'event.sequence', otel: 'mcp.audit.seq', ocsf: 'metadata.sequence' },
  { from: 'custom.event', ecs: 'mcp.event', otel: 'mcp.audit.event', ocsf: 'metadata.event_code' },
  { from: 'custom.disposition', ecs: 'mcp.disposition', otel: 'mcp.audit.disposition' },
  {
    from: 'decision_id',
    ecs: 'mcp.decision_id',
    otel: 'mcp.audit.decision_id',
    ocsf: 'metadata.correlation_uid',
  },
  { from: 'trace_id', ecs: 'trace.id', ocsf: 'trace.uid' },
  { from: 'span_id', ecs: 'span.id' },
  { from: 'labels.id', ecs: 'service.node.name', otel: 'service.instance.id', ocsf: 'metadata.product.uid' },
  {
    from: 'labels.version',
    ecs: 'service.version',
    otel: 'service.version',
    ocsf: 'metadata.product.version',
  },
  { from: 'path', ecs: 'mcp.policy.path', otel: 'mcp.policy.path', ocsf: 'policy.name' },
  { from: 'requested_by', ecs: 'source.ip', otel: 'client.address', ocsf: 'src_endpoint.ip' },
  { from: 'error.message', ecs: 'error.message', otel: 'error.message', ocsf: 'api.response.error_message' },

  { from: 'input.server', ecs: 'service.target.name', otel: 'mcp.server.name', ocsf: 'api.service.name' },
  { from: 'input.method', ecs: 'event.action', otel: 'mcp.method.name', ocsf: 'api.operation' },
  {
    from: 'input.protocol_version',
    ecs: 'mcp.protocol.version',
    otel: 'mcp.protocol.version',
    ocsf: 'api.version',
  },
  { from: 'input.tool.name', ecs: 'gen_ai.tool.name', otel: 'gen_ai.tool.name' },
  { from: 'input.tool.declared', ecs: 'mcp.tool.declared', otel: 'mcp.tool.declared' },
  { from: 'input.tool.digest', ecs: 'mcp.tool.digest', otel: 'mcp.tool.digest' },
  {
    from: 'input.tool.annotations.destructiveHint',
    ecs: 'mcp.tool.destructive',
    otel: 'mcp.tool.destructive',
  },
  { from: 'input.prompt.name', ecs: 'gen_ai.prompt.name', otel: 'gen_ai.prompt.name' },
  { from: 'input.resource.uri', ecs: 'mcp.resource.uri', otel: 'mcp.resource.uri' },
  {
    from: 'input.arguments',
    ecs: 'mcp.arguments',
    otel: 'gen_ai.tool.call.arguments',
    ocsf: 'api.request.data',
  },
  { from: 'input.identity.subject', ecs: 'user.id', otel: 'user.id', ocsf: 'actor.user.uid' },
  { from: 'input.identity.email', ecs: 'user.email', otel: 'user.email', ocsf: 'actor.user.email_addr' },
  {
    from: 'input.identity.name',
    ecs: 'user.full_name',
    otel: 'user.full_name',
    ocsf: 'actor.user.full_name',
  },
  { from: 'input.identity.groups', ecs: 'user.roles', otel: 'user.roles' },
  { from: 'input.identity.source', ecs: 'mcp.identity.source', otel: 'mcp.identity.source' },
  {
    from: 'input.identity.issuer',
    ecs: 'mcp.identity.issuer',
    otel: 'mcp.identity.issuer',
    ocsf: 'actor.session.issuer',
  },
  { from: 'input.identity.sid', ecs: 'mcp.identity.session', otel: 'session.id', ocsf: 'actor.session.uid' },
  { from: 'input.client.name', ecs: 'user_agent.name', otel: 'mcp.client.name', ocsf: 'actor.app_name' },
  { from: 'input.client.version', ecs: 'user_agent.version', otel: 'mcp.client.version' },
  { from: 'input.mcp_session', ecs: 'mcp.session.id', otel: 'mcp.session.id' },
  {
    from: 'input.http.request_id',
    ecs: 'http.request.id',
    otel: 'http.request.id',
    ocsf: 'http_request.uid',
  },
  { from: 'custom.request_id', ecs: 'http.request.id', otel: 'http.request.id', ocsf: 'http_request.uid' },
  {
    from: 'custom.rpc_id',
    ecs: 'mcp.request.id',
    otel: 'jsonrpc.request.id',
    ocsf: 'api.request.uid',
    text: true,
  },
  { from: 'custom.subject', ecs: 'user.id', otel: 'user.id', ocsf: 'actor.user.uid' },

  { from: 'custom.method', ecs: 'event.action', otel: 'mcp.method.name', ocsf: 'api.operation' },
  {
    from: 'custom.status',
    ecs: 'http.response.status_code',
    otel: 'http.response.status_code',
    ocsf: 'api.response.code',
  },
  {
    from: 'custom.rpc_error',
    ecs: 'mcp.response.status_code',
    otel: 'rpc.response.status_code',
    ocsf: 'api.response.error',
    text: true,
  },
  { from: 'custom.tool_error', ecs: 'mcp.tool.error', otel: 'mcp.tool.error' },
  { from: 'custom.bytes', ecs: 'http.response.body.bytes', otel: 'http.response.body.size' },
  { from: 'custom.end', ecs: 'mcp.end', otel: 'mcp.audit.end', ocsf: 'api.response.message' },
  { from: 'custom.count', ecs: 'mcp.count', otel: 'mcp.audit.count', ocsf: 'count' },
  { from: 'custom.cause.code', ecs: 'event.code', otel: 'mcp.audit.cause', ocsf: 'status_code' },
]

/** What is in an event at a dotted path; undefined where nothing is. */
export function valueAt(event: JsonObject, path: string): Json | undefined {
  let at: Json | undefined = event
  for (const key of path.split('.')) at = isObject(at) && Object.hasOwn(at, key) ? at[key] : undefined
  return at
}

export function put(target: JsonObject, path: string, value: Json): void {
  const keys = path.split('.')
  const last = keys.pop() as string
  let at = target
  for (const key of keys) {
    if (!isObject(at[key])) at[key] = {}
    at = at[key] as JsonObject
  }
  at[last] = value
}

/** The values that have a place in this schema, and the event without them. */
export function split(
  event: JsonObject,
  schema: 'ecs' | 'otel' | 'ocsf',
): { mapped: [path: string, value: Json][]; rest: JsonObject } {
  const rest = structuredClone(event)
  const mapped: [string, Json][] = []
  for (const field of FIELDS) {
    const to = field[schema]
    const value = to === undefined ? undefined : valueAt(event, field.from)
    if (to === undefined || value === undefined) continue
    // A value of the first row wins: what is said twice is said alike.
    if (!mapped.some(([path]) => path === to)) mapped.push([to, field.text ? String(value) : value])
    remove(rest, field.from)
  }
  return { mapped, rest }
}

function remove(target: JsonObject, path: string): void {
  const cut = path.lastIndexOf('.')
  const parent = cut < 0 ? target : valueAt(target, path.slice(0, cut))
  if (!isObject(parent as Json)) return
  delete (parent as JsonObject)[path.slice(cut + 1)]
  if (cut >= 0 && Object.keys(parent as JsonObject).length === 0) remove(target, path.slice(0, cut))
}

export const textAt = (event: JsonObject, path: string): string | undefined => {
  const value = valueAt(event, path)
  return typeof value === 'string' ? value : undefined
}

/** Reasons of the decision: the grants that matched, or why not. */
export const reasonsOf = (event: JsonObject): JsonObject[] => {
  const reasons = valueAt(event, 'result.reasons')
  return Array.isArray(reasons) ? reasons.filter((reason): reason is JsonObject => isObject(reason)) : []
}

export const codesOf = (event: JsonObject): string[] =>
  reasonsOf(event).flatMap(({ code }) => (typeof code === 'string' ? [code] : []))

export const timeOf = (event: JsonObject): number => {
  const time = Date.parse(textAt(event, 'timestamp') ?? '')
  return Number.isNaN(time) ? 0 : time
}

/** The worst severity that a reason has: `critical`, `high`, `medium`, `low`. */
export function severityOf(event: JsonObject): 'critical' | 'high' | 'medium' | 'low' | undefined {
  const had = new Set(reasonsOf(event).map(({ severity }) => severity))
  return (['critical', 'high', 'medium', 'low'] as const).find((severity) => had.has(severity))
}

/** Revisions of the bundles, as one text. */
export const revisionOf = (event: JsonObject): string | undefined => {
  const bundles = event.bundles
  const revisions = Object.values(isObject(bundles as Json) ? (bundles as JsonObject) : {}).flatMap(
    (bundle) => (isObject(bundle) && typeof bundle.revision === 'string' ? [bundle.revision] : []),
  )
  return revisions.length > 0 ? revisions.join(',') : undefined
}
