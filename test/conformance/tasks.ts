import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { CLIENT_CAPABILITIES_META_KEY, type McpServer } from '@modelcontextprotocol/server'
import * as z from 'zod/v4'
import { NAME_SCHEMA } from './data.ts'

/** The extension for tasks (SEP-2663), which the server's SDK does not have: a tool's answer is fetched later. */
export const TASKS = 'io.modelcontextprotocol/tasks'
const HEADER_MISMATCH = -32020
const MISSING_CAPABILITY = -32021
const INVALID_PARAMS = -32602
const INTERNAL_ERROR = -32603
const TTL = 60_000
const POLL = 100

type Fields = Record<string, unknown>
type Result = { content: { type: 'text'; text: string }[]; isError?: boolean }
type Task = {
  taskId: string
  status: 'working' | 'input_required' | 'completed' | 'failed' | 'cancelled'
  createdAt: string
  lastUpdatedAt: string
  ttlMs: number
  pollIntervalMs: number
  result?: Result
  error?: { code: number; message: string }
  inputRequests?: Fields
}
/** What a tool does as a task: it may ask for input, and stops where the task was cancelled. */
type Work = (args: Fields, asks: (requests: Fields) => Promise<Fields>, stop: AbortSignal) => Promise<Result>

const text = (value: string): Result => ({ content: [{ type: 'text', text: value }] })
const question = (message: string, requestedSchema: object = NAME_SCHEMA) => ({
  method: 'elicitation/create',
  params: { mode: 'form', message, requestedSchema },
})
const CONFIRM = { type: 'object', properties: { confirm: { type: 'boolean' } }, required: ['confirm'] }

const slow: Work = async ({ seconds, label }, _, stop) => {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, Number(seconds) * 1000)
    const stopped = () => {
      clearTimeout(timer)
      resolve()
    }
    stop.addEventListener('abort', stopped, { once: true })
  })
  return text(`computed ${String(label ?? '')} for ${String(seconds)} s`)
}

/** `required`: without a task there is no answer. */
const TOOLS: Record<string, { work: Work; required?: true; shape?: z.ZodRawShape }> = {
  slow_compute: { work: slow, shape: { seconds: z.number(), label: z.string().optional() } },
  failing_job: {
    required: true,
    work: async () => ({ ...text('This job intentionally fails'), isError: true }),
  },
  protocol_error_job: {
    required: true,
    work: async () => {
      throw new Error('This job intentionally breaks')
    },
  },
  confirm_delete: {
    required: true,
    shape: { filename: z.string() },
    work: async ({ filename }, asks) => {
      const { confirm } = await asks({ confirm: question(`Delete ${String(filename)}?`, CONFIRM) })
      const { action } = confirm as { action?: string }
      return text(`${action === 'accept' ? 'deleted' : 'kept'} ${String(filename)}`)
    },
  },
  multi_input: {
    required: true,
    work: async (_, asks) => {
      const answers = await asks({ first: question('The first?'), second: question('The second?') })
      return text(Object.keys(answers).sort().join(' and '))
    },
  },
}
/** It asks before it becomes a task (SEP-2322), and is one from the last round on. */
const ASKS_FIRST = 'test_tool_with_task'

/** The tools as they are listed, and as they answer a client that knows no tasks. */
export function registerTaskTools(server: McpServer): void {
  const greet = { description: 'greets', inputSchema: z.object({ name: z.string() }) }
  server.registerTool('greet', greet, ({ name }) => text(`Hello, ${name}!`))
  for (const [name, { work, shape = {} }] of Object.entries(TOOLS)) {
    const config = { description: `becomes a task as ${name} should`, inputSchema: z.object(shape) }
    server.registerTool(name, config, (args: Fields) =>
      work(args, async () => ({}), new AbortController().signal),
    )
  }
  const config = { description: 'asks, then becomes a task', inputSchema: z.object({}) }
  server.registerTool(ASKS_FIRST, config, () => text('this needs a task'))
}

/**
 * Answers what is about tasks in a request of 2026-07-28.
 * @returns false: it is not about tasks
 */
export function createTasks(): (request: IncomingMessage, response: ServerResponse, body: Fields) => boolean {
  const tasks = new Map<string, { task: Task; stop: AbortController; answer: (given: Fields) => void }>()

  const begin = (work: Work, args: Fields): Task => {
    const now = new Date().toISOString()
    const taskId = randomUUID()
    const task: Task = {
      taskId,
      status: 'working',
      createdAt: now,
      lastUpdatedAt: now,
      ttlMs: TTL,
      pollIntervalMs: POLL,
    }
    const stop = new AbortController()
    const entry = { task, stop, answer: (_: Fields) => {} }
    const become = (change: Partial<Task>) => {
      if (task.status === 'cancelled') return
      Object.assign(task, { lastUpdatedAt: new Date().toISOString() }, change)
    }
    const asks = (requests: Fields) =>
      new Promise<Fields>((resolve) => {
        const open = { ...requests }
        const given: Fields = {}
        become({ status: 'input_required', inputRequests: open })
        // Answers may come one by one; those to what was not asked are nothing.
        entry.answer = (answers) => {
          for (const [key, answer] of Object.entries(answers)) {
            if (!(key in open)) continue
            given[key] = answer
            delete open[key]
          }
          if (Object.keys(open).length > 0) return
          delete task.inputRequests
          become({ status: 'working' })
          resolve(given)
        }
      })
    tasks.set(taskId, entry)
    work(args, asks, stop.signal).then(
      (result) => become({ status: 'completed', result }),
      (error: Error) => become({ status: 'failed', error: { code: INTERNAL_ERROR, message: error.message } }),
    )
    // It is told as it was when it began.
    return { ...task, status: 'working' }
  }

  return (request, response, { id, method, params = {} }) => {
    const { name, taskId, arguments: args = {}, inputResponses, _meta } = params as Fields
    const say = (status: number, outcome: Fields) => {
      response.writeHead(status, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ jsonrpc: '2.0', id, ...outcome }))
      return true
    }
    const fail = (code: number, message: string, data?: object) =>
      // What is wrong with a request's form or its client has a status of its own; other errors have none.
      say(code === INVALID_PARAMS ? 200 : 400, { error: { code, message, ...(data && { data }) } })
    const done = (more: Fields = {}) => say(200, { result: { resultType: 'complete', ...more } })
    const capabilities = (_meta as Fields | undefined)?.[CLIENT_CAPABILITIES_META_KEY] as Fields | undefined
    const knows = (capabilities?.extensions as Fields | undefined)?.[TASKS] !== undefined
    const missing = () =>
      fail(MISSING_CAPABILITY, 'the client does not declare the extension for tasks', {
        requiredCapabilities: { extensions: { [TASKS]: {} } },
      })

    if (method === 'tools/call' && typeof name === 'string') {
      const tool = Object.hasOwn(TOOLS, name) ? TOOLS[name] : undefined
      if (!tool && name !== ASKS_FIRST) return false
      if (request.headers['mcp-name'] !== name) return false
      if (!knows) return tool && !tool.required ? false : missing()
      if (tool) return say(200, { result: { resultType: 'task', ...begin(tool.work, args as Fields) } })
      const given = (inputResponses as Fields | undefined)?.user_name as { content?: Fields } | undefined
      if (!given)
        return say(200, {
          result: { resultType: 'input_required', inputRequests: { user_name: question('Your name?') } },
        })
      const work: Work = async () => text(`Hello, ${String(given.content?.name)}!`)
      return say(200, { result: { resultType: 'task', ...begin(work, {}) } })
    }
    if (method !== 'tasks/get' && method !== 'tasks/update' && method !== 'tasks/cancel') return false
    if (request.headers['mcp-name'] !== taskId) return fail(HEADER_MISMATCH, 'Mcp-Name is not the task')
    if (!knows) return missing()
    const entry = tasks.get(String(taskId))
    if (!entry) return fail(INVALID_PARAMS, 'no such task')
    const { task, stop, answer } = entry
    if (method === 'tasks/get') return done({ ...task })
    if (method === 'tasks/update') answer((inputResponses ?? {}) as Fields)
    else if (task.status === 'working' || task.status === 'input_required') {
      delete task.inputRequests
      Object.assign(task, { status: 'cancelled', lastUpdatedAt: new Date().toISOString() })
      stop.abort()
    }
    return done()
  }
}
