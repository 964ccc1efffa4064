import { isObject, type Json, type JsonObject } from '../mcp/strict-json.ts'
import { type Owner, ownerKey } from '../pdp/identity.ts'
import { createBox, readValues } from './box.ts'

/** A task as the client holds it: sealed like a session, with what its result is to be screened as. */
export type Task = {
  /** the server's own id */
  upstream: string
  owner: Owner
  /** of the request that started it */
  method: string
  tool?: string
}

export type Tasks = {
  /** the one token of a task; it is known from now on */
  seal: (task: Task) => string
  /** undefined: none that we sealed */
  open: (token: string) => Task | undefined
  /** the token of a task of this owner that was started or asked for here */
  known: (owner: Owner, upstream: string) => { token: string; task: Task } | undefined
  /** What the client was asked for within a task, by key of `inputRequests`, as far as this process knows. */
  asked: (task: Pick<Task, 'owner' | 'upstream'>) => Record<string, string>
  remember: (task: Pick<Task, 'owner' | 'upstream'>, asked: Record<string, string>) => void
}

type Known = { task: Task; asked: Record<string, string> }

/** UTF-16 units of a token; it travels in `Mcp-Name`. Tasks of one owner that are known by the server's id, and of all. */
const BOUNDS = { token: 4096, owner: 1000, all: 20_000 }
const MAX_ID = 1024
export const RELATED_TASK = 'io.modelcontextprotocol/related-task'

export function createTasks(secret: Uint8Array, bounds = BOUNDS): Tasks {
  // The same task has the same id wherever it is named.
  const box = createBox(secret, 'task', { longest: bounds.token, stable: true })
  const owners = new Map<string, Map<string, Known>>()
  let count = 0

  const tokenOf = ({ upstream, owner: { issuer, subject, audience }, method, tool }: Task) =>
    box.seal(JSON.stringify([upstream, issuer, subject, audience, method, tool ?? null]))
  const dropOldest = (key: string) => {
    const tasks = owners.get(key)
    const [oldest] = tasks?.keys() ?? []
    if (!tasks || oldest === undefined) return
    tasks.delete(oldest)
    count--
    if (tasks.size === 0) owners.delete(key)
  }
  const learn = (task: Task) => {
    const key = ownerKey(task.owner)
    const tasks = owners.get(key) ?? new Map<string, Known>()
    const { asked = {} } = tasks.get(task.upstream) ?? {}
    if (tasks.delete(task.upstream)) count--
    if (tasks.size >= bounds.owner) dropOldest(key)
    // Moved to the end: the owner that was seen last is dropped from last.
    owners.delete(key)
    owners.set(key, tasks)
    tasks.set(task.upstream, { task, asked })
    count++
    const [first] = owners.keys()
    if (count > bounds.all && first !== undefined) dropOldest(first)
  }

  const find = ({ owner, upstream }: Pick<Task, 'owner' | 'upstream'>) =>
    owners.get(ownerKey(owner))?.get(upstream)

  return {
    seal(task) {
      learn(task)
      return tokenOf(task)
    },
    open(token) {
      const task = readTask(readValues(box.open(token)))
      if (task) learn(task)
      return task
    },
    known(owner, upstream) {
      const task = find({ owner, upstream })?.task
      return task && { token: tokenOf(task), task }
    },
    asked: (task) => find(task)?.asked ?? {},
    remember(task, asked) {
      const known = find(task)
      if (known) known.asked = asked
    },
  }
}

function readTask(values: Json[]): Task | undefined {
  const [upstream, issuer, subject, audience, method, tool] = values
  const strings = [upstream, issuer, subject, audience, method]
  if (!strings.every((part) => typeof part === 'string')) return undefined
  const task: Task = {
    upstream: upstream as string,
    owner: { issuer: issuer as string, subject: subject as string, audience: audience as string },
    method: method as string,
  }
  return typeof tool === 'string' ? { ...task, tool } : task
}

/** An id that a server may give a task, or undefined. */
export const taskIdOf = (value: Json | undefined): string | undefined =>
  typeof value === 'string' && value !== '' && value.length <= MAX_ID ? value : undefined

/**
 * `_meta` with the task that a message says it belongs to under another id; without it where there is none for it.
 * @param rename undefined: the task is none of this owner's
 */
export function renameRelated(object: JsonObject, rename: (id: string) => string | undefined): JsonObject {
  const { _meta } = object
  if (!isObject(_meta) || !isObject(_meta[RELATED_TASK])) return object
  const { [RELATED_TASK]: related, ...rest } = _meta
  const id = taskIdOf((related as JsonObject).taskId)
  const renamed = id === undefined ? undefined : rename(id)
  const meta = renamed === undefined ? rest : { ...rest, [RELATED_TASK]: { taskId: renamed } }
  return { ...object, _meta: meta }
}

/** The task that a message says it belongs to. */
export const relatedTask = ({ _meta }: JsonObject): string | undefined => {
  const related = isObject(_meta) ? _meta[RELATED_TASK] : undefined
  return isObject(related) ? taskIdOf(related.taskId) : undefined
}
