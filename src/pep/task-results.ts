import type { Notification, Request } from '../mcp/message.ts'
import { isObject, type JsonObject } from '../mcp/strict-json.ts'
import { ownerOf } from '../pdp/identity.ts'
import { keyedDigest } from '../pdp/input.ts'
import type { Item, Visible } from '../pdp/visible.ts'
import type { Context } from './handle.ts'
import type { Within } from './inner.ts'
import type { Named } from './side-doors.ts'
import { relatedTask, renameRelated, type Task, taskIdOf } from './tasks.ts'

/** A result with the client's ids of tasks in place of the server's. Undefined: it speaks of a task not asked for. */
export function renameTasks(
  context: Context,
  within: Within,
  request: Request,
  came: JsonObject,
): JsonObject | undefined {
  const owner = ownerOf(within.identity)
  const { task: asked } = within.read
  const result = renameRelated(came, (id) =>
    id === asked?.task.upstream ? asked.token : context.tasks.known(owner, id)?.token,
  )
  if (request.method === 'tasks/get' || request.method === 'tasks/cancel') {
    if (result.taskId === undefined) return result
    return asked && result.taskId === asked.task.upstream ? { ...result, taskId: asked.token } : undefined
  }
  if (request.method !== 'tools/call') return result
  const started = (id: string): string => {
    const { name } = request.params
    const task: Task = { upstream: id, owner, method: request.method }
    return context.tasks.seal(typeof name === 'string' ? { ...task, tool: name } : task)
  }
  if (result.resultType === 'task') {
    const id = taskIdOf(result.taskId)
    return id === undefined ? undefined : { ...result, taskId: started(id) }
  }
  if (within.read.era === 'modern' || !isObject(result.task)) return result
  const id = taskIdOf(result.task.taskId)
  return id === undefined ? undefined : { ...result, task: { ...result.task, taskId: started(id) } }
}

/** The item of a task: shown to those who may know of its tool. */
export const itemOfTask = ({ settings }: Context, { upstream, tool, method }: Task): Item => ({
  kind: 'task',
  key: tool ?? method,
  digest: keyedDigest(settings.digestKey, upstream),
})

/** Tasks of a list; those that this identity is not known to have started are left out without a question. */
export function itemsOfTasks(context: Context, { identity }: Within, result: JsonObject): Named | undefined {
  const { tasks } = result
  if (!Array.isArray(tasks) || !tasks.every(isObject)) return undefined
  const own = tasks.flatMap((thing) => {
    const id = taskIdOf(thing.taskId)
    const known = id === undefined ? undefined : context.tasks.known(ownerOf(identity), id)
    return known ? [{ thing: { ...thing, taskId: known.token }, item: itemOfTask(context, known.task) }] : []
  })
  return {
    items: own.map(({ item }) => item),
    keep: (visible: Visible) => ({
      ...result,
      tasks: own.flatMap(({ thing }, i) => (visible.has(i) ? [thing] : [])),
    }),
  }
}

/** A notification about a task under the client's id, and the item that must be visible; undefined: it is not theirs. */
export function ofOwnTask(
  context: Context,
  { identity }: Within,
  { params }: Notification,
): { params: JsonObject; item: Item; task: Task; token: string } | undefined {
  const id = taskIdOf(params.taskId)
  const known = id === undefined ? undefined : context.tasks.known(ownerOf(identity), id)
  if (!known) return undefined
  const { token, task } = known
  const own = (other: string) => context.tasks.known(ownerOf(identity), other)?.token
  return {
    params: { ...renameRelated(params, own), taskId: token },
    item: itemOfTask(context, task),
    task,
    token,
  }
}

/** What the server says within a task, under the client's id of it; undefined: the task is not theirs. */
export function withinOwnTask(
  context: Context,
  { identity }: Within,
  params: JsonObject,
): JsonObject | undefined {
  const id = relatedTask(params)
  if (id === undefined) return params
  const known = context.tasks.known(ownerOf(identity), id)
  return known && renameRelated(params, () => known.token)
}

/** What a server granted to a listener, with the client's ids of the tasks. */
export function ofOwnTasks(context: Context, { identity }: Within, { params }: Notification): JsonObject {
  const { notifications } = params
  if (!isObject(notifications) || !Array.isArray(notifications.taskIds)) return params
  const taskIds = notifications.taskIds.flatMap((id) => {
    const known = taskIdOf(id) && context.tasks.known(ownerOf(identity), String(id))
    return known ? [known.token] : []
  })
  return { ...params, notifications: { ...notifications, taskIds } }
}
