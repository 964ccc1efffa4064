import { rejectEvent } from '../log/event.ts'
import { recordedName } from '../log/pseudonym.ts'
import type { RpcId } from '../mcp/message.ts'
import type { JsonObject } from '../mcp/strict-json.ts'
import type { Decision } from '../pdp/decision.ts'
import { type Identity, ownerKey, ownerOf } from '../pdp/identity.ts'
import { type Draft, keyedDigest, type Parent, type Setting } from '../pdp/input.ts'
import { draftOfServerRequest } from '../pdp/server-request.ts'
import type { Item } from '../pdp/visible.ts'
import type { Between } from './given.ts'
import type { Context, Exchange } from './handle.ts'
import type { Judgement } from './ports.ts'
import type { Read } from './read.ts'
import type { RefusalReason } from './refusal.ts'

/** An exchange whose caller is known: what its inner messages are asked about with. */
export type Within = { exchange: Exchange; read: Read; identity: Identity }

export const betweenOf = ({ read, identity }: Within): Between => ({
  owner: ownerKey(ownerOf(identity)),
  session: read.session?.upstream ?? '',
})

/** The server may say later that the page was seen to (2025-11-25, "URL Mode Elicitation"). */
export function learnPage(
  { given }: Context,
  within: Within,
  { elicitationId }: JsonObject,
  parent: Parent,
): void {
  if (typeof elicitationId === 'string') given.add(betweenOf(within), 'page', elicitationId, parent)
}

export type Asked =
  | { kind: 'allowed'; decision_id: string }
  | { kind: 'denied'; decision_id: string; decision: Decision; revision?: string }
  | { kind: 'refused'; decision_id: string; reason: RefusalReason }

/** The questions about what travels within an exchange have decisions of their own, and the same of all else. */
export function settingWithin({ ports }: Context, { read }: Pick<Within, 'read'>): Setting {
  const { server, protocol_version, client, mcp_session, http } = read.draft
  return {
    decision_id: ports.newId(),
    time_ms: ports.now(),
    server,
    protocol_version,
    ...(client && { client }),
    ...(mcp_session !== undefined && { mcp_session }),
    http,
  }
}

export function parentOf({ exchange, read }: Pick<Within, 'exchange' | 'read'>): Parent {
  // What comes on a resumed stream comes within the call whose stream it is.
  if (read.place?.call && read.draft.parent) return read.draft.parent
  const { method, tool, task } = read.draft
  const name = tool?.name ?? task?.tool
  return { decision_id: exchange.decision_id, method, ...(name !== undefined && { tool: name }) }
}

/** Asks about what travels within an exchange, and records the answer before it has an effect. */
export async function ask(context: Context, within: Within, draft: Draft, id?: RpcId): Promise<Asked> {
  const { decision_id } = draft
  const judged = await context.ports.judge({
    ask: 'decision',
    who: { identity: within.identity },
    draft,
    trace: within.exchange.arrival.trace,
    ...(id !== undefined && { rpc_id: id }),
  })
  if (judged.kind !== 'decided') {
    const reason = judged.kind === 'unavailable' ? judged.fault : 'internal'
    await reject(context, within, decision_id, reason, id)
    return { kind: 'refused', decision_id, reason }
  }
  const { decision } = judged
  context.ports.count(decision.allow ? 'allowed' : 'denied')
  if (await recorded(context, judged)) {
    const { revision } = judged
    return decision.allow
      ? { kind: 'allowed', decision_id }
      : { kind: 'denied', decision_id, decision, ...(revision !== undefined && { revision }) }
  }
  return { kind: 'refused', decision_id, reason: 'record_refused' }
}

/** Whether what was decided may have its effect now. A denial has none that would have to wait for its record. */
export async function recorded(
  { ports }: Context,
  { decision, line }: Extract<Judgement, { kind: 'decided' }>,
): Promise<boolean> {
  const keep = decision.allow ? (decision.audit ?? 'required') : 'reserve'
  // No line: the policy dropped the record of what it allowed as `best_effort`.
  return line === undefined || (await ports.record(line, keep)) || keep !== 'required'
}

/** The record of what travels within an exchange and never became a question. */
export async function reject(
  { ports, origin, settings }: Context,
  { exchange, identity }: Within,
  decision_id: string,
  code: RefusalReason | 'server_request_unsupported',
  id?: RpcId,
): Promise<void> {
  const { arrival } = exchange
  const facts = {
    decision_id,
    event_id: ports.newId(),
    time_ms: ports.now(),
    ...arrival.trace,
    ...(id !== undefined && { rpc_id: id }),
  }
  await ports.record(
    rejectEvent(
      origin(),
      facts,
      { code, status: 0 },
      arrival.http,
      recordedName(settings.identityKey, identity.subject),
    ),
    'reserve',
    { code, few: true },
  )
}

/** One question about what the caller may know of. On a resumed stream it is about the answer to the call of that stream. */
export function visibleTo(context: Context, { exchange, read, identity }: Within, items: Item[]) {
  const call = read.place?.call
  return context.ports.judge({
    ask: 'visible',
    who: { identity },
    draft: { ...read.draft, ...(call && { kind: 'request', method: call.method }), items },
    trace: exchange.arrival.trace,
  })
}

type Pages =
  | { ok: true; pages: JsonObject[] }
  | { ok: false; fault: 'upstream_malformed' }
  | { ok: false; fault: 'inner'; asked: Exclude<Asked, { kind: 'allowed' }> }
/** Pages that one error may want opened. */
const MOST_PAGES = 16

/** Elicitations in an error (2025-11-25, -32042), each decided as if the server had asked for it. */
export async function screenPages(
  context: Context,
  within: Within,
  elicitations: JsonObject[],
): Promise<Pages> {
  if (elicitations.length > MOST_PAGES) return { ok: false, fault: 'upstream_malformed' }
  const pages: JsonObject[] = []
  for (const params of elicitations) {
    const asking = { method: 'elicitation/create', params: { mode: 'url', ...params } }
    const drafted = draftOfServerRequest(asking, settingWithin(context, within), {
      digest: (value) => keyedDigest(context.settings.digestKey, value),
      parent: parentOf(within),
    })
    if (!drafted.ok || drafted.draft.elicitation?.mode !== 'url')
      return { ok: false, fault: 'upstream_malformed' }
    const asked = await ask(context, within, drafted.draft)
    if (asked.kind !== 'allowed') return { ok: false, fault: 'inner', asked }
    learnPage(context, within, params, parentOf(within))
    pages.push(asJudged(params, drafted.draft))
  }
  return { ok: true, pages }
}

/** A page is opened by the address that was judged, not by a spelling that a client may read otherwise. */
export function asJudged(params: JsonObject, { elicitation }: Draft): JsonObject {
  return elicitation?.url ? { ...params, url: elicitation.url.href } : params
}
