import { ASSUMED_VERSION, LATEST_LEGACY, LEGACY_VERSIONS } from '../mcp/headers.ts'
import { sameOwner } from '../pdp/identity.ts'
import { type Draft, draftOfStream, keyedDigest } from '../pdp/input.ts'
import type { Context, Exchange } from './handle.ts'
import { type Answered, taskOf } from './place.ts'
import { type Read, type ReadResult, settingOf } from './read.ts'
import type { RefusalReason } from './refusal.ts'
import { claimedOwnerOf, draftTask, openSession } from './sealed.ts'
import type { Task } from './tasks.ts'

/**
 * GET opens the stream of a session, or one that is resumed; DELETE ends a session. All of it is legacy. A server without
 * sessions has no stream that is one client's alone, but for the rest of one that it began.
 */
export function readStream(context: Context, exchange: Exchange): ReadResult {
  const { arrival } = exchange
  const no = (reason: RefusalReason): ReadResult => ({ ok: false, reason, id: null })
  const session = openSession(context, arrival)
  const { protocolVersion, lastEventId } = arrival.headers
  const resumes = arrival.verb === 'GET' && lastEventId !== undefined
  if (session === 'unknown') return no('unknown_session')
  if (session === undefined && !resumes && !arrival.sse) return no('no_session')
  if (protocolVersion !== undefined && !LEGACY_VERSIONS.includes(protocolVersion))
    return no('unsupported_version')
  const version = session?.version ?? protocolVersion ?? (arrival.sse ? LATEST_LEGACY : ASSUMED_VERSION)
  const setting = settingOf(context, exchange, version, session)
  const draft = draftOfStream(arrival.verb === 'GET' ? 'stream/open' : 'session/end', setting)
  const read: Read = {
    message: undefined,
    method: undefined,
    id: null,
    draft,
    era: 'legacy',
    version,
    session,
    ...(session && { owner: session.owner }),
  }
  if (!resumes) return { ok: true, read }
  const owner = session?.owner ?? claimedOwnerOf(arrival)
  const place = owner && context.sealer.places.open(lastEventId, { upstream: session?.upstream ?? '', owner })
  if (!place) return { ok: true, read: { ...read, refusal: 'unknown_event' } }
  const digest = (value: string) => keyedDigest(context.settings.digestKey, value)
  const token = place.call && taskOf(place.call)
  const task = token === undefined ? undefined : context.tasks.open(token)
  // It was sealed with the place, for the same owner.
  if (token !== undefined && !(task && sameOwner(task.owner, owner)))
    return { ok: true, read: { ...read, refusal: 'unknown_event' } }
  draft.params = { lastEventId: digest(lastEventId) }
  if (place.call) draft.parent = parentOf(place.call, task)
  if (task) draft.task = draftTask(task, digest)
  return { ok: true, read: { ...read, place, ...(task && token !== undefined && { task: { token, task } }) } }
}

const parentOf = (
  { decision_id, method, name }: Answered,
  task: Task | undefined,
): NonNullable<Draft['parent']> => {
  const tool = method === 'tools/call' ? name : task?.tool
  return { decision_id, method, ...(tool !== undefined && { tool }) }
}
