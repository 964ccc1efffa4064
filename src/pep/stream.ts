import type { Outcome } from '../log/event.ts'
import { type Notification, type Request, type RpcId, writeMessage } from '../mcp/message.ts'
import { methodOf } from '../mcp/methods.ts'
import { ownerOf } from '../pdp/identity.ts'
import { canonicalUri } from '../pdp/uri.ts'
import { withChanges } from './changes.ts'
import { failureText, finish, outcomeOf, type Passed, textOf } from './deliver.ts'
import { readUpstream, type Screened, screen, screenResult } from './filter.ts'
import { createFollower, SUBSCRIPTION_ID } from './follow.ts'
import type { Context } from './handle.ts'
import { betweenOf, visibleTo } from './inner.ts'
import { answeredOf, requestOf } from './place.ts'
import type { StreamItem, UpstreamFrame } from './ports.ts'
import type { RefusalReason } from './refusal.ts'
import { createServerRequests } from './server-request.ts'
import { ofOwnTask, ofOwnTasks, withinOwnTask } from './task-results.ts'

/** `screened`: of the response that ends a stream. */
export type Item = StreamItem & { screened?: Screened }

/** Messages for the client out of those of the upstream: until the response, the end, or the stream's age. */
export async function* streamOf(
  context: Context,
  passed: Passed,
  frames: AsyncIterable<UpstreamFrame>,
): AsyncGenerator<Item> {
  try {
    yield* messagesOf(context, passed, frames)
  } finally {
    // A stream that is waited on ends with the wait only.
    passed.call.stop?.()
  }
}

async function* messagesOf(
  context: Context,
  passed: Passed,
  frames: AsyncIterable<UpstreamFrame>,
): AsyncGenerator<Item> {
  const { arrival } = passed.exchange
  const request = askedIn(passed)
  const resumed = passed.read.place !== undefined
  let resumable = resumed
  const outcome = { frames: 0, dropped: 0, bytes: 0, status: 200 }
  const serverRequest = createServerRequests(context, passed)
  const follower = createFollower(context, passed)
  const long = passed.call.kind === 'open' || passed.call.long === true
  /** what the client is told in place of the response that does not come */
  let last = (id: RpcId) => failureText(passed, fault, id)
  let fault: RefusalReason = 'upstream_failed'
  let ending: Partial<Outcome> & { end: Outcome['end'] } = { end: 'client_gone' }
  try {
    for await (const frame of long ? withChanges(frames, context.changes) : frames) {
      // The last chunk may have held more than was to be delivered.
      if (passed.call.signal.aborted) break
      if (!frame) {
        const change = await follower.changed()
        if ('revoked' in change) {
          const { revoked } = change
          const withheld: Screened = { ok: false, fault: 'inner', asked: revoked }
          fault = 'stream_revoked'
          if (request) last = () => textOf(context, passed, request, withheld)
          break
        }
        for (const news of change.news) yield { text: writeMessage(news), final: false }
        continue
      }
      const { data, ...mark } = frame
      const place = placeOf(context, passed, mark)
      if (data === '') {
        resumable ||= place.id !== undefined
        if (place.id !== undefined || place.retry !== undefined) yield { text: '', final: false, ...place }
        continue
      }
      outcome.frames++
      outcome.bytes += Buffer.byteLength(data)
      const message = readUpstream(data)
      // Some replay more than the one stream.
      if (message?.kind === 'response' && request && (!resumed || message.id === request.id)) {
        const screened = await screen(context, passed, request, message)
        ending = outcomeOf(screened)
        yield { text: textOf(context, passed, request, screened), final: true, screened, ...place }
        return
      }
      const shown =
        message?.kind === 'notification'
          ? await notificationFor(context, passed, message)
          : message?.kind === 'request'
            ? await serverRequest(message)
            : undefined
      if (typeof shown === 'object') {
        if (shown.kind === 'notification') follower.saw(shown)
        resumable ||= place.id !== undefined
        yield { text: writeMessage(shown), final: false, ...place }
        continue
      }
      outcome.dropped++
      context.ports.count('dropped')
      if (shown !== 'flood') continue
      fault = 'upstream_malformed'
      break
    }
    const cut = fault !== 'upstream_failed'
    ending =
      fault === 'stream_revoked'
        ? { end: 'cut', cause: { code: fault } }
        : resumable && request && !cut
          ? { end: 'resumable' }
          : request || cut
            ? { end: 'upstream_failed', ...(cut && { cause: { code: fault } }) }
            : { end: 'complete' }
  } catch {
    ending = { end: 'upstream_failed' }
  } finally {
    if (arrival.signal.aborted) ending = { ...ending, end: 'client_gone' }
    else if (passed.call.signal.aborted) ending = { end: 'cut' }
    // Its time is up, which is no failure (2026-07-28, "Subscriptions").
    if (passed.call.long && ending.end === 'cut' && fault !== 'stream_revoked') last = ended
    finish(context, passed, { ...outcome, ...ending })
  }
  // The client waits for this id; a stream that only ends would have it wait on, unless it can resume it: the upstream
  // may end a stream before the response (2025-11-25, "Streamable HTTP", polling).
  if (request && (!resumable || fault !== 'upstream_failed')) yield { text: last(request.id), final: true }
}

const ended = (id: RpcId): string =>
  writeMessage({
    kind: 'response',
    id,
    result: { resultType: 'complete', _meta: { [SUBSCRIPTION_ID]: id } },
  })

/** The request that an answer is waited for: of the message, or of the call whose stream is resumed. */
function askedIn({ read }: Passed): Request | undefined {
  if (read.message?.kind === 'request') return read.message
  return read.place?.call && requestOf(read.place.call)
}

/** The place in the stream, sealed for the client. */
function placeOf(
  context: Context,
  { exchange, read, identity }: Passed,
  { id, retry }: Omit<UpstreamFrame, 'data'>,
): Pick<StreamItem, 'id' | 'retry'> {
  if (read.era === 'modern') return {}
  const holder = { upstream: read.session?.upstream ?? '', owner: ownerOf(identity) }
  const asked = read.message?.kind === 'request' ? read.message : undefined
  const call = asked ? answeredOf(exchange.decision_id, asked, read.task?.token) : read.place?.call
  const place = id === undefined || (asked && !call) ? undefined : { id, ...(call && { call }) }
  const sealed = place && context.sealer.places.seal(place, holder)
  return { ...(sealed !== undefined && { id: sealed }), ...(retry !== undefined && { retry }) }
}

/** What of a notification of the upstream is for this client; undefined: nothing. What it names must be visible to them. */
async function notificationFor(
  context: Context,
  passed: Passed,
  message: Notification,
): Promise<Notification | undefined> {
  const { method } = message
  const row = methodOf('to_client', method, passed.read.version)
  if (row?.shape !== 'notification') return undefined
  if (row.treatment === 'protocol') {
    const params = withinOwnTask(context, passed, ofOwnTasks(context, passed, message))
    return params && { ...message, params }
  }
  if (method === 'notifications/resources/updated') {
    const { uri } = message.params
    const key = typeof uri === 'string' ? canonicalUri(uri) : undefined
    return key !== undefined && (await isVisible(context, passed, { kind: 'resource', key }))
      ? message
      : undefined
  }
  if (method === 'notifications/elicitation/complete') {
    const { elicitationId: id } = message.params
    return typeof id === 'string' && context.given.find(betweenOf(passed), 'page', id) ? message : undefined
  }
  const own = ofOwnTask(context, passed, message)
  if (!own || !(await isVisible(context, passed, own.item))) return undefined
  if (method !== 'notifications/tasks') return { ...message, params: own.params }
  // It has all that the answer to `tasks/get` has, and is screened as one.
  const read = { ...passed.read, task: { token: own.token, task: own.task } }
  const asked: Request = { kind: 'request', id: 0, method: 'tasks/get', params: {} }
  const came = { ...own.params, taskId: own.task.upstream }
  const screened = await screenResult(context, { ...passed, read }, 'tasks/get', asked, came)
  return screened.ok ? { ...message, params: screened.result } : undefined
}

async function isVisible(
  context: Context,
  passed: Passed,
  item: { kind: string; key: string },
): Promise<boolean> {
  const judged = await visibleTo(context, passed, [item])
  return judged.kind === 'visible' && judged.visible.length === 1
}
