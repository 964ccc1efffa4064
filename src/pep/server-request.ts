import { type Request, withProtocolMeta, writeMessage } from '../mcp/message.ts'
import { methodOf } from '../mcp/methods.ts'
import { ownerKey, ownerOf } from '../pdp/identity.ts'
import { keyedDigest } from '../pdp/input.ts'
import { draftOfServerRequest } from '../pdp/server-request.ts'
import type { Context } from './handle.ts'
import { asJudged, ask, betweenOf, learnPage, parentOf, reject, settingWithin, type Within } from './inner.ts'
import type { Call } from './ports.ts'
import type { RefusalReason } from './refusal.ts'

/** Requests of the upstream that one stream may have refused in a minute: each costs a record, and an answer to it. */
const REFUSED_A_MINUTE = 16

/**
 * A request of the server to the client (legacy): judged like any other message, on whichever stream it comes, and
 * on record before it is delivered. What is not delivered is answered here, as the policy contract says.
 * @returns what goes to the client; `refused`: nothing, the server has been told; `flood`: the stream ends
 */
export function createServerRequests(context: Context, within: Within & { call: Call }) {
  const { ports, pending, settings } = context
  const mayRefuse = createAllowance(ports.now)
  const { read, call } = within
  const owner = ownerKey(ownerOf(within.identity))

  return async (request: Request): Promise<Request | 'refused' | 'flood'> => {
    const no = async (
      code: RefusalReason | 'server_request_unsupported' | undefined,
      decision_id?: string,
    ) => {
      if (!mayRefuse()) return 'flood'
      if (code !== undefined) await reject(context, within, decision_id ?? ports.newId(), code, request.id)
      ports.decline(call, request.id, request.method)
      return 'refused'
    }
    const row = methodOf('to_client', request.method, read.version)
    if (row?.shape !== 'request') return no('server_request_unsupported')
    const message = withProtocolMeta(request)
    if (Buffer.byteLength(writeMessage(message)) > settings.limits.bytes) return no('too_large')
    const key = { owner, session: read.session?.upstream ?? '', id: request.id }
    const parent = parentOf(within)
    if (row.treatment === 'protocol') {
      const decision_id = within.exchange.decision_id
      if (pending.add(key, { method: request.method, decision_id, parent, at: ports.now() }))
        return no('too_many')
      ports.count('protocol')
      // It says nothing but that it asks: what else is in it, nobody was asked about.
      const { _meta } = message.params
      return { ...message, params: _meta === undefined ? {} : { _meta } }
    }
    const { taskId } = message.params
    const hosted =
      typeof taskId === 'string' ? context.given.find(betweenOf(within), 'task', taskId) : undefined
    const drafted = draftOfServerRequest(message, settingWithin(context, within), {
      digest: (value) => keyedDigest(settings.digestKey, value),
      parent,
      ...(hosted && { hosted }),
    })
    if (!drafted.ok) return no(drafted.fault)
    const { draft } = drafted
    const asked = await ask(context, within, draft, request.id)
    if (asked.kind !== 'allowed') return no(undefined)
    const { decision_id } = asked
    const full = pending.add(key, { method: request.method, decision_id, parent, at: ports.now() })
    if (full) return no(full === 'repeated' ? 'duplicate_id' : 'too_many', decision_id)
    if (draft.elicitation?.mode === 'url') learnPage(context, within, message.params, parent)
    return { ...message, params: asJudged(message.params, draft) }
  }
}

/** True as long as there are not too many. A refusal now and then for as long as a stream lives is none too many. */
function createAllowance(now: () => number): () => boolean {
  let since = now()
  let left = REFUSED_A_MINUTE
  return () => {
    if (now() - since >= 60_000) {
      since = now()
      left = REFUSED_A_MINUTE
    }
    return left-- > 0
  }
}
