import type { JsonObject } from '../mcp/strict-json.ts'
import type { Decision } from '../pdp/decision.ts'
import type { Input } from '../pdp/input.ts'
import { scrub } from './mask.ts'

/**
 * Decision-log events: OPA's EventV1 names (OPA v1/plugins/logs), one JSON object a line, what OPA has no name for in
 * `custom`. A line is built without its sequence number, which only the spool knows: see `finishLine`.
 */
export type Disposition = 'allowed' | 'denied' | 'allowed_dry_run' | 'rejected' | 'failed'

/** What is the same in every event of this process. */
export type Origin = { labels: Record<string, string>; bundles: Record<string, { revision?: string }> }

export type Facts = {
  decision_id: string
  /** unique to this event, UUIDv7 */
  event_id: string
  /** milliseconds since the epoch */
  time_ms: number
  trace_id?: string
  span_id?: string
  rpc_id?: string | number | null
}

/** An event line without its end; the spool adds `seq` and closes it. */
export type OpenLine = string & { readonly open: unique symbol }

/** The record of one decision. Every value of the input is in it once, secrets in none. */
export function decisionEvent(
  origin: Origin,
  facts: Facts,
  path: string,
  input: Input,
  decision: Decision,
  more: {
    error?: string
    eval_ns: number
    digest: (text: string) => string
    digests: JsonObject
    jti?: string
  },
): OpenLine {
  const { identity, ...asked } = input
  const clean = scrub(asked as unknown as JsonObject, '/input', more.digest)
  const claims = scrub(identity as unknown as JsonObject, '/input/identity', more.digest)
  const masked = [...clean.masked, ...claims.masked]
  const truncated = [...clean.truncated, ...claims.truncated]
  return open({
    ...head(origin, facts),
    path,
    input: { ...clean.value, identity: claims.value },
    result: decision as unknown as JsonObject,
    ...(masked.length > 0 && { masked }),
    ...(more.error !== undefined && { error: { message: more.error } }),
    ...(input.http.source_ip !== undefined && { requested_by: input.http.source_ip }),
    metrics: { timer_rego_query_eval_ns: more.eval_ns },
    custom: {
      event: 'decision',
      event_id: facts.event_id,
      disposition: dispositionOf(decision),
      ...(facts.rpc_id !== undefined && { rpc_id: facts.rpc_id }),
      ...(more.jti !== undefined && { assertion_jti: more.jti }),
      ...(truncated.length > 0 && { truncated }),
      ...more.digests,
    },
  })
}

const dispositionOf = (decision: Decision): Disposition => {
  if (!decision.allow) return 'denied'
  return decision.dry_run && !decision.dry_run.allow ? 'allowed_dry_run' : 'allowed'
}

/** A refusal before there was a question: no input, no result. */
export function rejectEvent(
  origin: Origin,
  facts: Facts,
  cause: { code: string; status: number },
  http: Input['http'],
  subject?: string,
): OpenLine {
  return open({
    ...head(origin, facts),
    ...(http.source_ip !== undefined && { requested_by: http.source_ip }),
    custom: {
      event: 'reject',
      event_id: facts.event_id,
      disposition: 'rejected',
      cause,
      ...(http.request_id !== undefined && { request_id: http.request_id }),
      ...(subject !== undefined && { subject }),
      ...(facts.rpc_id !== undefined && { rpc_id: facts.rpc_id }),
    },
  })
}

/** What came of an allowed message, joined to its decision by `decision_id`. */
export type Outcome = {
  disposition: Disposition
  method: string
  status?: number
  tool_error?: boolean
  rpc_error?: number
  duration_ms: number
  bytes?: number
  frames?: number
  /** of a list: how many things it named, and how many of them were taken out */
  listed?: number
  hidden?: number
  dropped?: number
  end: 'complete' | 'client_gone' | 'upstream_failed' | 'cut' | 'not_delivered'
  cause?: { code: string }
}

export function outcomeEvent(origin: Origin, facts: Facts, outcome: Outcome): OpenLine {
  return open({
    ...head(origin, facts),
    custom: { event: 'outcome', event_id: facts.event_id, ...outcome },
  })
}

export function lifecycleEvent(origin: Origin, facts: Facts, cause: JsonObject & { code: string }): OpenLine {
  return open({ ...head(origin, facts), custom: { event: 'lifecycle', event_id: facts.event_id, cause } })
}

function head(origin: Origin, facts: Facts) {
  return {
    labels: origin.labels,
    decision_id: facts.decision_id,
    ...(facts.trace_id !== undefined && { trace_id: facts.trace_id }),
    ...(facts.span_id !== undefined && { span_id: facts.span_id }),
    bundles: origin.bundles,
    timestamp: new Date(facts.time_ms).toISOString(),
  }
}

/** `custom` is last and not empty, so the text ends in `}}`; U+2028 and U+2029 end a line for some readers. */
function open(event: object): OpenLine {
  const text = JSON.stringify(event).replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029')
  return text.slice(0, -2) as OpenLine
}

export const finishLine = (line: OpenLine, seq: number): string => `${line},"seq":${seq}}}\n`
