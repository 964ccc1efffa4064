import { isObject, type Json, type JsonObject } from '../mcp/strict-json.ts'
import type { Decision } from '../pdp/decision.ts'
import type { Input } from '../pdp/input.ts'
import { type Masked, scrub, scrubText } from './mask.ts'
import { pseudonymous } from './pseudonym.ts'

/**
 * Decision-log events: OPA's EventV1 names (OPA v1/plugins/logs), one JSON object a line, what OPA has no name for in
 * `custom`. A line is built without its sequence number, which only the spool knows: see `finishLine`.
 */
export type Disposition = 'allowed' | 'denied' | 'allowed_dry_run' | 'rejected' | 'failed'

/** What is the same in every event of this process. */
export type Origin = { labels: Record<string, string>; bundles: Record<string, { revision?: string }> }

/** What a denial calls the policy. */
export const revisionOf = (origin: Origin): string =>
  Object.values(origin.bundles)
    .map((bundle) => bundle.revision ?? 'unversioned')
    .join(', ')

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

/** The record of one decision. Every value of the input is in it once, secrets in none, within bounds. */
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
    /** identities are pseudonyms under it */
    identityKey?: Uint8Array
    /** what the policy's mask makes of the event, before it is text; it sees `custom` as it will be written */
    mask?: (event: JsonObject) => JsonObject
    /** without what the caller sent: an evaluation that was stopped must not be followed by more work on its input */
    brief?: boolean
  },
): OpenLine {
  const given = input as unknown as JsonObject
  // Before it is scrubbed: a name that looks like a credential is the same pseudonym all the same.
  const { value: whole, masked: names } = more.identityKey
    ? pseudonymous(given, more.identityKey)
    : { value: given, masked: [] }
  const clean = (more.brief ? undefined : scrub(whole, '/input', more.digest)) ?? briefOf(whole)
  const { value, truncated } = clean
  const masked = [...names, ...clean.masked]
  const event = {
    ...head(origin, facts),
    path,
    input: value,
    result: decision as unknown as JsonObject,
    ...(masked.length > 0 && { masked }),
    ...(more.error !== undefined && { error: { message: more.error.slice(0, 1000).toWellFormed() } }),
    ...(input.http.source_ip !== undefined && { requested_by: input.http.source_ip }),
    metrics: { timer_rego_query_eval_ns: more.eval_ns },
    custom: {
      event: 'decision',
      event_id: facts.event_id,
      disposition: dispositionOf(decision),
      ...rpcId(facts),
      ...(more.jti !== undefined && { assertion_jti: scrubText(more.jti) }),
      ...(truncated.length > 0 && { truncated }),
      ...more.digests,
    },
  }
  return open(more.mask ? more.mask(event as unknown as JsonObject) : event)
}

/**
 * The event where a mask could not be applied: nobody knows what it would have hidden, so nothing of the input stays but
 * which method and tool were asked for, and by whom as a digest.
 */
export function stripped(event: JsonObject, why: string, digest: (text: string) => string): JsonObject {
  const { input, masked: _, custom, ...rest } = event
  const { method, server, tool, identity } = (isObject(input) ? input : {}) as JsonObject
  const subject = isObject(identity) && typeof identity.subject === 'string' ? identity.subject : undefined
  return {
    ...rest,
    custom: {
      ...(custom as JsonObject),
      mask_error: why.slice(0, 200).toWellFormed(),
      stripped: {
        ...(method !== undefined && { method }),
        ...(server !== undefined && { server }),
        ...(isObject(tool) && tool.name !== undefined && { tool: clip(tool.name) }),
        ...(subject !== undefined && { subject: digest(subject) }),
      },
    },
  }
}

/** What the caller made long is left out; who asked for what stays. */
function briefOf(input: JsonObject): Masked {
  const value: JsonObject = {}
  const truncated: string[] = []
  for (const [key, part] of Object.entries(input)) {
    if (typeof part !== 'object' || part === null || KEPT_BRIEFLY.has(key)) value[key] = clip(part)
    else truncated.push(`/input/${key}`)
  }
  return { value, masked: [], truncated }
}

const KEPT_BRIEFLY = new Set(['tool', 'prompt', 'resource', 'client', 'http', 'identity'])

/** Strings and lists of strings at the first two levels, each shortened. */
function clip(part: Json): Json {
  if (typeof part === 'string') return scrubText(part)
  if (Array.isArray(part))
    return part.slice(0, 100).flatMap((item) => (typeof item === 'string' ? [scrubText(item)] : []))
  if (!isObject(part)) return part
  const plain = Object.entries(part).filter(([, value]) => !isObject(value))
  return Object.fromEntries(plain.map(([key, value]) => [key, clip(value)]))
}

/** An id that the client chose is text of the client's. */
const rpcId = ({ rpc_id }: Facts) =>
  rpc_id === undefined ? {} : { rpc_id: typeof rpc_id === 'string' ? scrubText(rpc_id) : rpc_id }

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
      ...(http.request_id !== undefined && { request_id: scrubText(http.request_id) }),
      ...(subject !== undefined && { subject: scrubText(subject) }),
      ...rpcId(facts),
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
  /** `resumable`: the stream ended before the response, which the client may fetch by resuming it */
  end: 'complete' | 'client_gone' | 'upstream_failed' | 'cut' | 'not_delivered' | 'not_sent' | 'resumable'
  /** `decision_id`: of another decision that was the cause */
  cause?: { code: string; decision_id?: string }
}

export function outcomeEvent(origin: Origin, facts: Facts, outcome: Outcome): OpenLine {
  return open({
    ...head(origin, facts),
    custom: { event: 'outcome', event_id: facts.event_id, ...outcome },
  })
}

/** What the sidecar says of itself and of its log; what it is about is in `more`. */
export function ownEvent(
  origin: Origin,
  facts: Facts,
  event: 'lifecycle' | 'gap' | 'checkpoint' | 'repeat',
  more: JsonObject,
): OpenLine {
  return open({ ...head(origin, facts), custom: { event, event_id: facts.event_id, ...more } })
}

export const lifecycleEvent = (
  origin: Origin,
  facts: Facts,
  cause: JsonObject & { code: string },
): OpenLine => ownEvent(origin, facts, 'lifecycle', { cause })

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

/** `custom` is last and not empty, so the text ends in `}}`. */
function open(event: object): OpenLine {
  return safe(JSON.stringify(event)).slice(0, -2) as OpenLine
}

/** U+2028 and U+2029 end a line for some readers. */
const safe = (text: string): string => text.replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029')

/** An assertion that was used before decided this: it may be a copy. */
export const markReplayed = (line: OpenLine): OpenLine => `${line},"assertion_replayed":true` as OpenLine

/** What a policy that is only tried would have answered, in the record of the decision. */
export const withCandidate = (line: OpenLine, candidate: JsonObject): OpenLine =>
  `${line},"candidate":${safe(JSON.stringify(candidate))}` as OpenLine

/** The same, where it came after that record was written: both answers, under the id of the decision. */
export const candidateEvent = (
  origin: Origin,
  facts: Facts,
  more: { candidate: JsonObject; enforced: JsonObject },
): OpenLine =>
  open({ ...head(origin, facts), custom: { event: 'candidate', event_id: facts.event_id, ...more } })

/** @param prev the hash of the line before, which ties one to the other */
export const finishLine = (line: OpenLine, seq: number, prev?: Buffer): string =>
  prev === undefined
    ? `${line},"seq":${seq}}}\n`
    : `${line},"prev":"${prev.toString('base64')}","seq":${seq}}}\n`
