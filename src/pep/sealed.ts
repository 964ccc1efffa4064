import type { Notification, Request } from '../mcp/message.ts'
import { isObject } from '../mcp/strict-json.ts'
import { claimedOwner, type Owner, ownerKey, ownerOf } from '../pdp/identity.ts'
import type { Draft } from '../pdp/input.ts'
import type { Context } from './handle.ts'
import { type State, targetOf } from './input-required.ts'
import type { Arrival } from './ports.ts'
import type { RefusalReason } from './refusal.ts'
import type { Session } from './session.ts'
import { renameRelated, type Task } from './tasks.ts'

/** The server's id of a task, where the one who asks holds it. */
export function ownTask({ tasks }: Context, arrival: Arrival, token: string): string | undefined {
  const task = tasks.open(token)
  return task && ownerKey(task.owner) === claimedKey(arrival) ? task.upstream : undefined
}

type Opened =
  | {
      ok: true
      message: Request | Notification
      owners: Owner[]
      task?: { token: string; task: Task }
      state?: State
    }
  | { ok: false; reason: RefusalReason }

/** The message with what was sealed for the client in the server's own words. */
export function openTokens(context: Context, arrival: Arrival, came: Request | Notification): Opened {
  const { tasks, states } = context
  const message = { ...came, params: renameRelated(came.params, (id) => ownTask(context, arrival, id)) }
  const { taskId, requestState } = message.params
  const no: Opened = { ok: false, reason: 'unknown_task' }
  if (message.method.startsWith('tasks/') && message.method !== 'tasks/list') {
    const task = typeof taskId === 'string' ? tasks.open(taskId) : undefined
    if (!task || typeof taskId !== 'string') return no
    const params = { ...message.params, taskId: task.upstream }
    return { ok: true, message: { ...message, params }, owners: [task.owner], task: { token: taskId, task } }
  }
  if (typeof requestState === 'string') {
    const state = states.open(requestState)
    if (!state || state.method !== message.method || state.target !== targetOf(message as Request))
      return { ok: false, reason: 'bad_request_state' }
    const params = { ...message.params, requestState: state.upstream }
    return { ok: true, message: { ...message, params }, owners: [state.owner], state }
  }
  const { notifications } = message.params
  if (
    message.method === 'subscriptions/listen' &&
    isObject(notifications) &&
    Array.isArray(notifications.taskIds)
  ) {
    const opened = notifications.taskIds.map((id) => (typeof id === 'string' ? tasks.open(id) : undefined))
    const all = opened.filter((task) => task !== undefined)
    if (all.length !== opened.length) return no
    const taskIds = all.map((task) => task.upstream)
    const params = { ...message.params, notifications: { ...notifications, taskIds } }
    return { ok: true, message: { ...message, params }, owners: all.map((task) => task.owner) }
  }
  return { ok: true, message, owners: [] }
}

export const draftTask = (
  { upstream, tool }: Task,
  digest: (value: string) => string,
): NonNullable<Draft['task']> => ({
  digest: digest(upstream),
  owner: 'same',
  ...(tool !== undefined && { tool }),
})

export function openSession(context: Context, arrival: Arrival): Session | undefined | 'unknown' {
  const { sessionId } = arrival.headers
  return sessionId === undefined ? undefined : (context.sealer.open(sessionId) ?? 'unknown')
}

export function claimedOwnerOf({ who }: Arrival): Owner | undefined {
  if (!who) return undefined
  return 'identity' in who ? ownerOf(who.identity) : claimedOwner(who.assertion)
}

export function claimedKey(arrival: Arrival): string {
  const owner = claimedOwnerOf(arrival)
  return owner ? ownerKey(owner) : ''
}
