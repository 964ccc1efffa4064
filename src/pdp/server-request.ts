import type { Request, Response } from '../mcp/message.ts'
import { isObject, type Json, type JsonObject } from '../mcp/strict-json.ts'
import {
  addHosted,
  base,
  type Draft,
  type DraftResult,
  type Known,
  no,
  type Parent,
  type Setting,
} from './input.ts'
import { readPage } from './uri.ts'

/** The question about a request of the server to the client, or about one within a result. */
export function draftOfServerRequest(
  { method, params: { _meta, ...params } }: Pick<Request, 'method' | 'params'>,
  setting: Setting,
  known: Pick<Known, 'digest' | 'parent'> & { hosted?: Parent },
): DraftResult {
  const draft: Draft = {
    ...base(setting),
    direction: 'to_client',
    kind: 'request',
    method,
    ...(known.parent && { parent: known.parent }),
    params,
  }
  if (method === 'elicitation/create') return addElicitation(draft, params)
  if (method.startsWith('tasks/') && params.taskId !== undefined) {
    const { taskId, ...left } = params
    if (typeof taskId !== 'string') return no('bad_task')
    // It is the client's own task: its id was never the server's to seal.
    addHosted(draft, taskId, known.digest, known.hosted)
    draft.params = left
  }
  return { ok: true, draft }
}

function addElicitation(draft: Draft, params: JsonObject): DraftResult {
  const { mode = 'form', url, message, requestedSchema, ...left } = params
  if (mode !== 'form' && mode !== 'url') return no('bad_elicitation')
  const page = typeof url === 'string' ? readPage(url) : undefined
  // An address in a form is one that nobody asked about; a page without one that can be read is none.
  if (mode === 'url' ? !page : url !== undefined) return no('bad_elicitation')
  if (message !== undefined && typeof message !== 'string') return no('bad_elicitation')
  if (requestedSchema !== undefined && !isObject(requestedSchema)) return no('bad_elicitation')
  draft.elicitation = {
    mode,
    ...(page && { url: page }),
    ...(message !== undefined && { message }),
    ...(requestedSchema && { schema: requestedSchema }),
  }
  draft.params = left
  return { ok: true, draft }
}

/** The question about what a client answers to a request of the server. */
export function draftOfAnswer(
  method: string,
  answer: { result: JsonObject } | { error: JsonObject },
  setting: Setting,
  parent: Parent | undefined,
  digest: Known['digest'],
): Draft {
  const response =
    'result' in answer
      ? { result: withoutTaskIds(withoutMeta(answer.result), digest) }
      : { error: answer.error }
  return {
    ...base(setting),
    direction: 'to_server',
    kind: 'response',
    method,
    response,
    ...(parent && { parent }),
    params: {},
  }
}

const withoutMeta = ({ _meta, ...rest }: JsonObject): JsonObject => rest

/** A client's tasks are named to the policy by digests, as the server's are. */
function withoutTaskIds(result: JsonObject, digest: Known['digest']): JsonObject {
  const named = (task: Json | undefined): Json | undefined =>
    isObject(task) && typeof task.taskId === 'string' ? { ...task, taskId: digest(task.taskId) } : task
  const { task, tasks } = result
  return {
    ...(named(result) as JsonObject),
    ...(task !== undefined && { task: named(task) as Json }),
    ...(Array.isArray(tasks) && { tasks: tasks.map((one) => named(one) as Json) }),
  }
}

/** Whether an answer tells the server more than that it was read: an empty one and a refused elicitation do not. */
export function carriesData(method: string, answer: Response): boolean {
  if (method === 'ping') return false
  if (answer.error) return true
  const { action, content, ...rest } = withoutMeta(answer.result)
  if (method !== 'elicitation/create') return true
  if (Object.keys(rest).length > 0 || !['accept', 'decline', 'cancel'].includes(String(action))) return true
  return content !== undefined && !(isObject(content) && Object.keys(content).length === 0)
}
