import { describe, expect, test } from 'vitest'
import { META_CAPABILITIES } from '../../src/mcp/headers.ts'
import type { Identity } from '../../src/pdp/identity.ts'
import type { Call, Reply } from '../../src/pep/ports.ts'
import { createTasks, RELATED_TASK } from '../../src/pep/tasks.ts'
import {
  alice,
  arrival,
  bob,
  by,
  handlerIn,
  itemsOf,
  json,
  judging,
  message,
  modern,
  session,
  stream,
} from './world.ts'

type Allows = Parameters<typeof judging>[0]
const VERSION = '2025-11-25'
const EXTENSION = 'io.modelcontextprotocol/tasks'
const UPSTREAM = 'task-of-the-server'
const status = (taskId = UPSTREAM, more: object = {}) => ({ taskId, status: 'working', ttl: 1000, ...more })
const sent = ({ text }: Call) => JSON.parse(text)

function world(results: Record<string, object>, allows: Allows = () => true) {
  let who: Identity = alice
  let id = 0
  const at = handlerIn({
    judge: judging(allows, () => who),
    reply: (c): Reply => message({ jsonrpc: '2.0', id: c.id, result: results[c.method] }),
  })
  const headers = (as: Identity) => ({ sessionId: session(as, 'up-1', VERSION), protocolVersion: VERSION })
  return {
    ...at,
    results,
    as: (identity: Identity) => {
      who = identity
    },
    legacy: (method: string, params: object, as = alice) =>
      at.handle(arrival({ jsonrpc: '2.0', id: ++id, method, params }, { headers: headers(as), ...by(as) })),
    modern: (
      method: string,
      params: Record<string, unknown>,
      name: string | undefined,
      as = alice,
      declared = true,
    ) => {
      const { body, headers: made } = modern({ method, params }, name)
      const whole = { jsonrpc: '2.0', id: ++id, ...JSON.parse(String(Buffer.from(body ?? []))) }
      if (declared) whole.params._meta[META_CAPABILITIES] = { extensions: { [EXTENSION]: {} } }
      return at.handle(arrival(whole, { ...(made && { headers: made }), ...by(as) }))
    },
  }
}
type World = ReturnType<typeof world>
const start = async (at: World, name = 'x') => {
  at.results['tools/call'] = { task: status() }
  return json(await at.legacy('tools/call', { name, arguments: {}, task: { ttl: 1 } })).result.task
    .taskId as string
}

describe('a task of 2025-11-25', () => {
  test('is held sealed, always under the same id, and named by a digest to the policy', async () => {
    const at = world({ 'tasks/get': status(), 'tasks/cancel': status() })
    const token = await start(at)
    expect(token).not.toContain(UPSTREAM)
    for (const method of ['tasks/get', 'tasks/cancel']) {
      expect(json(await at.legacy(method, { taskId: token })).result.taskId).toBe(token)
      expect(sent(at.calls.at(-1) as Call).params).toEqual({ taskId: UPSTREAM })
      expect(at.questions.at(-1)?.draft).toMatchObject({
        method,
        task: { owner: 'same', tool: 'x', digest: expect.stringMatching(/^hmac:/) },
        params: {},
      })
    }
    expect(await start(at)).toBe(token)
    const seen = JSON.stringify([at.questions, at.lines])
    expect(seen).not.toContain(UPSTREAM)
    expect(seen).not.toContain(token)
  })

  test('its call when denied is an error, for a result would be read as the start of a task', async () => {
    const at = world({}, () => false)
    const body = json(await at.legacy('tools/call', { name: 'x', task: { ttl: 1 } }))
    expect(body.error.code).toBe(403)
  })

  test('trap 17: its result is screened as the call’s answer, by what may be seen now', async () => {
    const at = world({
      'tasks/result': {
        content: [
          { type: 'resource_link', uri: 'test://shown', name: 'a' },
          { type: 'resource_link', uri: 'test://hidden', name: 'b' },
        ],
        _meta: { [RELATED_TASK]: { taskId: UPSTREAM } },
      },
    })
    const taskId = await start(at)
    const { result } = json(await at.legacy('tasks/result', { taskId }))
    expect(result.content).toHaveLength(1)
    expect(result._meta[RELATED_TASK]).toEqual({ taskId })
  })

  test('is nobody else’s, and none that we did not seal', async () => {
    const at = world({ 'tasks/get': status(), 'tasks/result': { content: [] }, 'tasks/cancel': status() })
    const token = await start(at)
    for (const method of ['tasks/get', 'tasks/result', 'tasks/cancel']) {
      for (const taskId of [UPSTREAM, `${token.slice(0, -1)}x`, '', undefined, 1]) {
        const refused = await at.legacy(method, { taskId })
        expect(refused).toMatchObject({ status: 404 })
        expect(json(refused).error.data.reason).toBe('unknown_task')
      }
    }
    at.as(bob)
    for (const method of ['tasks/get', 'tasks/result', 'tasks/cancel'])
      expect(await at.legacy(method, { taskId: token }, bob)).toMatchObject({ status: 404 })
    expect(at.calls).toHaveLength(1)
  })

  test('an answer about another task is none', async () => {
    const at = world({ 'tasks/get': status('another') })
    expect(json(await at.legacy('tasks/get', { taskId: await start(at) })).error.code).toBe(502)
  })

  test('a list has the tasks of this identity whose tool may be seen', async () => {
    const at = world({
      'tasks/list': { tasks: [status(), status('foreign'), status('second')], nextCursor: 'n' },
    })
    const token = await start(at)
    at.results['tools/call'] = { task: status('second') }
    await at.legacy('tools/call', { name: 'hidden', task: {} })
    const { result } = json(await at.legacy('tasks/list', {}))
    expect(result.tasks.map((task: { taskId: string }) => task.taskId)).toEqual([token])
    expect(result.nextCursor).toBe('n')
    expect(at.questions.at(-1)?.draft.items).toMatchObject([
      { kind: 'task', key: 'x' },
      { kind: 'task', key: 'hidden' },
    ])
    at.as(bob)
    expect(json(await at.legacy('tasks/list', {}, bob)).result.tasks).toEqual([])
  })

  test('news of it reach its owner under the client’s id, of others nobody', async () => {
    const at = world({})
    const token = await start(at)
    const frames = ['foreign', UPSTREAM].flatMap((taskId) => [
      { jsonrpc: '2.0', method: 'notifications/tasks/status', params: status(taskId) },
      {
        jsonrpc: '2.0',
        method: 'notifications/message',
        params: { level: 'info', data: 1, _meta: { [RELATED_TASK]: { taskId } } },
      },
    ])
    const news = handlerIn({ judge: judging(() => true), reply: () => stream(...frames), kept: at.kept })
    const headers = { sessionId: session(alice, 'up-1', VERSION) }
    const items = await itemsOf(await news.handle(arrival('', { verb: 'GET', headers, ...by(alice) })))
    expect(items).toEqual([
      { jsonrpc: '2.0', method: 'notifications/tasks/status', params: status(token) },
      {
        jsonrpc: '2.0',
        method: 'notifications/message',
        params: { level: 'info', data: 1, _meta: { [RELATED_TASK]: { taskId: token } } },
      },
    ])
  })
})

describe('a task of 2026-07-28', () => {
  const started = { resultType: 'task', ...status() }
  const begin = async (at: World) => {
    at.results['tools/call'] = started
    return json(await at.modern('tools/call', { name: 'x', arguments: {} }, 'x')).result.taskId as string
  }

  test('is held sealed; its id in the header is made anew', async () => {
    const at = world({ 'tasks/get': { resultType: 'complete', ...status() } })
    const taskId = await begin(at)
    expect(json(await at.modern('tasks/get', { taskId }, taskId)).result.taskId).toBe(taskId)
    expect(at.calls.at(-1)?.headers['mcp-name']).toBe(UPSTREAM)
    expect(await at.modern('tasks/get', { taskId }, 'another')).toMatchObject({ status: 400 })
  })

  test('what it came to is screened as the call’s answer', async () => {
    const result = { content: [{ type: 'resource_link', uri: 'test://hidden', name: 'b' }] }
    const at = world({ 'tasks/get': { ...status(), status: 'completed', result } })
    const taskId = await begin(at)
    const shown = json(await at.modern('tasks/get', { taskId }, taskId)).result
    expect(shown).toMatchObject({ taskId, status: 'completed', result: { content: [] } })
  })

  test('what it asks the client is decided, and so is what it is told', async () => {
    const inputRequests = { a: { method: 'elicitation/create', params: { message: 'm' } } }
    const allows: Allows = ({ kind, direction }) => kind !== 'response' && direction === 'to_server'
    const at = world({ 'tasks/get': { ...status(), status: 'input_required', inputRequests } }, allows)
    const taskId = await begin(at)
    expect(json(await at.modern('tasks/get', { taskId }, taskId)).error.code).toBe(403)
    const before = at.calls.length
    const inputResponses = { a: { action: 'accept', content: { b: 1 } } }
    expect(json(await at.modern('tasks/update', { taskId, inputResponses }, taskId)).error.code).toBe(403)
    expect(at.calls).toHaveLength(before)
  })

  test('an answer is judged as what its task asked for; one to nothing is asked about as such', async () => {
    const inputRequests = { a: { method: 'elicitation/create', params: { message: 'm' } } }
    const at = world({
      'tasks/get': { ...status(), status: 'input_required', inputRequests },
      'tasks/update': { resultType: 'complete' },
    })
    const taskId = await begin(at)
    await at.modern('tasks/get', { taskId }, taskId)
    const inputResponses = { a: { roots: [] }, other: { roots: [] }, nothing: { ignored: true } }
    await at.modern('tasks/update', { taskId, inputResponses }, taskId)
    const answers = at.questions.flatMap(({ draft }) => (draft.kind === 'response' ? [draft.method] : []))
    expect(answers).toEqual(['elicitation/create', 'roots/list', 'unknown'])
    expect(sent(at.calls.at(-1) as Call).params.inputResponses).toEqual(inputResponses)
    const before = at.calls.length
    const two = { b: { action: 'accept', roots: [] } }
    expect(await at.modern('tasks/update', { taskId, inputResponses: two }, taskId)).toMatchObject({
      status: 400,
    })
    expect(at.calls).toHaveLength(before)
  })

  test('is for clients that declare the extension; others learn no more than that', async () => {
    const at = world({ 'tasks/get': { resultType: 'complete', ...status() } })
    const taskId = await begin(at)
    for (const method of ['tasks/get', 'tasks/cancel', 'tasks/update']) {
      for (const id of [taskId, 'made-up']) {
        const refused = await at.modern(method, { taskId: id }, id, alice, false)
        expect(refused).toMatchObject({ status: 400 })
        expect(json(refused).error).toMatchObject({
          code: -32021,
          data: { requiredCapabilities: { extensions: { [EXTENSION]: {} } }, reason: 'missing_capability' },
        })
      }
    }
    for (const taskIds of [[taskId], ['made-up'], 1, null]) {
      const listen = { notifications: { taskIds } }
      const refused = await at.modern('subscriptions/listen', listen, undefined, alice, false)
      expect(json(refused).error).toMatchObject({ code: -32021, data: { reason: 'missing_capability' } })
    }
    expect(at.calls).toHaveLength(1)
  })

  test('is listened to by its owner only', async () => {
    const at = world({})
    const taskId = await begin(at)
    at.results['subscriptions/listen'] = {}
    const listen = (ids: unknown[], as = alice) =>
      at.modern('subscriptions/listen', { notifications: { taskIds: ids } }, undefined, as)
    await listen([taskId])
    expect(sent(at.calls.at(-1) as Call).params.notifications).toEqual({ taskIds: [UPSTREAM] })
    expect(at.questions.at(-1)?.draft.params).toMatchObject({
      notifications: { taskIds: [expect.stringMatching(/^hmac:/)] },
    })
    const before = at.calls.length
    expect(await listen([taskId, UPSTREAM])).toMatchObject({ status: 404 })
    at.as(bob)
    expect(await listen([taskId], bob)).toMatchObject({ status: 404 })
    expect(at.calls).toHaveLength(before)
  })
})

test('tables are bounded: the one who was not seen for the longest loses the oldest', () => {
  const tasks = createTasks(Buffer.from('k'), { token: 4096, owner: 2, all: 3 })
  const owner = (subject: string) => ({ issuer: 'i', subject, audience: 'a' })
  const add = (subject: string, upstream: string) =>
    tasks.seal({ upstream, owner: owner(subject), method: 'tools/call' })
  const known = (subject: string, upstream: string) => tasks.known(owner(subject), upstream) !== undefined
  const token = add('a', '1')
  add('a', '2')
  add('a', '3')
  expect(['1', '2', '3'].map((id) => known('a', id))).toEqual([false, true, true])
  add('b', '1')
  add('b', '2')
  expect(known('a', '2')).toBe(false)
  expect(known('b', '1')).toBe(true)
  // What is forgotten is learned again from the token.
  expect(tasks.open(token)?.upstream).toBe('1')
  expect(known('a', '1')).toBe(true)
})
