import type { OpenLine } from '../log/event.ts'
import type { Era, McpHeaders } from '../mcp/headers.ts'
import type { Message, RpcId } from '../mcp/message.ts'
import type { JsonObject } from '../mcp/strict-json.ts'
import type { Decision, Permit } from '../pdp/decision.ts'
import type { Identity, IdentityFault, Owner } from '../pdp/identity.ts'
import type { Draft } from '../pdp/input.ts'
import type { RefusalReason } from './refusal.ts'

/** The world as the flow of a message sees it: plain functions, given by `main.ts` or by a test. */
export type Ports = {
  judge: (question: Question) => Promise<Judgement>
  forward: (permit: Permit, call: Call) => Promise<Reply>
  /** Refuses a request of the upstream towards it; nothing of the client's goes with it. */
  decline: (
    call: Pick<Call, 'session' | 'owner' | 'version' | 'authorization'>,
    id: RpcId,
    method: string,
  ) => void
  /** True once the line is durable. A `required` line that is not must have no effect. */
  record: (line: OpenLine, keep: Keep, tally?: Tally) => Promise<boolean>
  count: (
    name: 'denied' | 'allowed' | 'rejected' | 'failed' | 'protocol' | 'dropped',
    reason?: RefusalReason,
  ) => void
  /** milliseconds since the epoch */
  now: () => number
  /** UUIDv7 */
  newId: () => string
}

/**
 * `required`: recorded, or nothing is done. `best_effort`: done all the same. `reserve`: of what is done or refused
 * already; it may use the room that is set aside for when there is no other.
 */
export type Keep = 'required' | 'best_effort' | 'reserve'

/**
 * What may be counted in place of being recorded: one `repeat` record says how many of a kind there were.
 * `few`: it is recorded as long as they are few.
 */
export type Tally = { code: string; few: boolean; method?: string; subject?: string }

export type Trace = { trace_id?: string; span_id?: string }

/**
 * One hop to the judge: verify the assertion, compare it with the owner of the session, add the identity to the
 * draft, evaluate, write the event.
 */
export type Question = {
  ask: 'identity' | 'decision' | 'visible'
  /** to be verified, or an identity that a verification of this exchange gave */
  who: { assertion: string } | { identity: Identity }
  /** of the session that the request names */
  owner?: Owner
  draft: Draft
  trace: Trace
  rpc_id?: RpcId
}

/** `expires` in seconds since the epoch */
export type AssertionUse = { jti: string; expires: number }

export type Judgement =
  /** `assertion`: what tells a second use of it; absent where none was verified */
  | { kind: 'identified'; identity: Identity; assertion?: AssertionUse }
  | {
      kind: 'decided'
      identity: Identity
      decision: Decision
      line: OpenLine | undefined
      /** of the policy that decided: by now another may be in force */
      revision?: string
      assertion?: AssertionUse
    }
  | { kind: 'visible'; visible: [number, true | { inputSchema: JsonObject }][] }
  | { kind: 'unidentified'; fault: IdentityFault }
  | { kind: 'foreign_session'; identity: Identity }
  | {
      kind: 'unavailable'
      fault:
        | 'no_bundle'
        | 'bundle_stale'
        | 'queue_full'
        | 'suspended'
        | 'keys_unavailable'
        | 'visible_undecided'
        | 'replay_table_full'
    }

/** What is sent to the upstream: a message, the opening of its stream, or the end of a session. */
export type Call = {
  kind: 'request' | 'notification' | 'response' | 'open' | 'end'
  /** of a request */
  id?: RpcId
  method: string
  era: Era
  version: string
  /** the message, serialised from the object that was judged */
  text: string
  headers: Record<string, string>
  /** the upstream's own session id */
  session?: string
  /** whose it is: of an identity that was verified */
  owner?: string
  /** the upstream's own id of the event after which a stream is resumed */
  lastEventId?: string
  /** the one upstream credential that came with a verified assertion */
  authorization?: string
  signal: AbortSignal
  /** the answer is a stream that stays open */
  long?: true
  /** ends a stream that stays open */
  stop?: () => void
}

export type Reply =
  /** `message`: what an upstream that had to read the body already read in it, strictly */
  | { kind: 'message'; status: number; body: Uint8Array; message?: Message; session?: string }
  | { kind: 'stream'; frames: AsyncIterable<UpstreamFrame>; session?: string }
  | { kind: 'accepted'; session?: string }
  | { kind: 'status'; status: number }
  | { kind: 'failed'; fault: 'upstream_failed' | 'upstream_timeout' | 'upstream_malformed' | 'upstream_busy' }

/** One event of a stream of the upstream: `data` is a message, or empty; `id` is the upstream's own, to resume from. */
export type UpstreamFrame = { data: string; id?: string; retry?: number }

/** One request as it arrived, whatever carried it. */
export type Arrival = {
  verb: 'POST' | 'GET' | 'DELETE'
  body: Uint8Array
  headers: McpHeaders
  /** an assertion to be verified, or the identity that this listener is configured to give; undefined: neither came */
  who: Question['who'] | undefined
  authorization: string | undefined
  http: { request_id?: string; source_ip?: string }
  trace: Trace
  /** fires when the client has gone */
  signal: AbortSignal
  /** HTTP with SSE (2024-11-05): opening a stream begins a session, before any handshake, and nothing else does */
  sse?: true
  /** called when the message is let through, before it is sent */
  onForward?: () => void
  /** Takes a place for the identity that was verified, or says which bound is reached. `long`: of a stream that stays. */
  admit?: (identity: Identity, long: boolean) => RefusalReason | undefined
}

/** What is answered, before it is written in the form of a transport. */
export type Answer =
  | {
      kind: 'message'
      status: number
      text: string
      session?: string
      retryAfter?: number
      decision_id: string
    }
  /** `cut` fires when the stream has had its time, which one that is not read would not notice */
  | {
      kind: 'stream'
      items: AsyncIterable<StreamItem>
      session?: string
      decision_id: string
      cut?: AbortSignal
      /** it stays open: no call that somebody waits for */
      long?: boolean
    }
  | { kind: 'accepted'; status: 200 | 202 | 204; session?: string; decision_id: string }

/**
 * One message of a stream, or none (an empty `text`) where an event only moves on the id to resume from. `final` is the
 * response, after which nothing comes. `retry` in milliseconds.
 */
export type StreamItem = { text: string; final: boolean; id?: string; retry?: number }
