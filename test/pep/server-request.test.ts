import { describe, expect, test } from 'vitest'
import type { Identity } from '../../src/pdp/identity.ts'
import { createGiven } from '../../src/pep/given.ts'
import type { Call, Reply } from '../../src/pep/ports.ts'
import {
  alice,
  arrival,
  bob,
  by,
  call,
  handlerIn,
  itemsOf,
  json,
  judging,
  message,
  session,
  stream,
} from './world.ts'

const sampling = {
  jsonrpc: '2.0',
  id: 7,
  method: 'sampling/createMessage',
  params: { messages: [{ role: 'user', content: { type: 'text', text: 'hi' } }], maxTokens: 5 },
}
const form = {
  jsonrpc: '2.0',
  id: 'e1',
  method: 'elicitation/create',
  params: { message: 'Your name?', requestedSchema: { type: 'object' } },
}
const page = (url: string) => ({
  jsonrpc: '2.0',
  id: 'u1',
  method: 'elicitation/create',
  params: { mode: 'url', message: 'Sign in', url, elicitationId: 'x' },
})
const done = { jsonrpc: '2.0', id: 1, result: { content: [] } }
const VERSION = '2025-11-25'
const headers = { sessionId: session(alice, 'up-1', VERSION), protocolVersion: VERSION }
type Allows = Parameters<typeof judging>[0]

/** A world whose upstream asks for `requests` on the stream of a call, and takes answers. */
function asking(requests: object[], allows: Allows = () => true, who: () => Identity = () => alice) {
  const reply = (c: Call): Reply =>
    c.kind === 'request'
      ? stream(...requests, done)
      : c.kind === 'open'
        ? stream(...requests)
        : { kind: 'accepted' }
  return handlerIn({ judge: judging(allows, who), reply })
}
const ask = (world: ReturnType<typeof handlerIn>) =>
  world.handle(arrival(call('x'), { headers, ...by(alice) }))
const answer = (world: ReturnType<typeof handlerIn>, body: object, as = alice, more = headers) =>
  world.handle(arrival({ jsonrpc: '2.0', ...body }, { headers: more, ...by(as) }))

describe('a request of the server', () => {
  test('is decided as to_client within its call, recorded, and then delivered', async () => {
    const world = asking([sampling])
    const items = await itemsOf(await ask(world))
    expect(items).toEqual([sampling, done])
    const [, asked] = world.questions
    expect(asked).toMatchObject({
      ask: 'decision',
      who: { identity: { subject: 'alice' } },
      draft: {
        direction: 'to_client',
        kind: 'request',
        method: 'sampling/createMessage',
        params: sampling.params,
        parent: { decision_id: 'id-1', method: 'tools/call', tool: 'x' },
        protocol_version: VERSION,
      },
    })
    expect(asked?.draft.decision_id).not.toBe('id-1')
    expect(world.did).toEqual(['judge decision', 'record', 'forward', 'judge decision', 'record', 'record'])
    expect(world.declined).toEqual([])
  })

  test('trap 7: comes on the stream of a session, too, within its opening', async () => {
    const world = asking([sampling])
    const opened = await world.handle(arrival('', { verb: 'GET', headers, ...by(alice) }))
    expect(await itemsOf(opened)).toEqual([sampling])
    expect(world.questions[1]?.draft.parent).toMatchObject({ method: 'stream/open' })
  })

  test.each([sampling, form])(
    'that is denied is not delivered, and the server is told: %#',
    async (request) => {
      const world = asking([request], (draft) => draft.direction === 'to_server')
      expect(await itemsOf(await ask(world))).toEqual([done])
      expect(world.declined).toEqual([[request.id, request.method]])
    },
  )

  test('is not delivered where its record is refused', async () => {
    const world = handlerIn({
      judge: judging(() => true),
      reply: () => stream(sampling, done),
      durable: (n) => n === 1,
    })
    expect(await itemsOf(await ask(world))).toEqual([done])
    expect(world.declined).toEqual([[7, 'sampling/createMessage']])
  })

  test('ping needs no question', async () => {
    const ping = { jsonrpc: '2.0', id: 3, method: 'ping', params: {} }
    const world = asking([ping])
    expect(await itemsOf(await ask(world))).toEqual([ping, done])
    expect(await answer(world, { id: 3, result: {} })).toMatchObject({ status: 202 })
    expect(world.questions.map((question) => question.ask)).toEqual(['decision', 'identity'])
    expect(world.calls.at(-1)).toMatchObject({ kind: 'response', session: 'up-1' })
  })

  test('of a revision that has no such request is refused', async () => {
    const world = asking([form])
    const old = { sessionId: session(alice, 'up-1', '2024-11-05'), protocolVersion: '2024-11-05' }
    const items = await itemsOf(await world.handle(arrival(call('x'), { headers: old, ...by(alice) })))
    expect(items).toEqual([done])
    expect(world.declined).toEqual([['e1', 'elicitation/create']])
  })

  test('more than a minute may refuse ends the stream', async () => {
    const many = Array.from({ length: 17 }, (_, id) => ({ ...sampling, id: 100 + id }))
    const world = asking(many, (draft) => draft.direction === 'to_server')
    expect(await itemsOf(await ask(world))).toMatchObject([{ id: 1, error: { code: 502 } }])
    expect(world.declined).toHaveLength(16)
  })

  test('more than wait in one session are refused', async () => {
    const many = Array.from({ length: 66 }, (_, id) => ({ ...sampling, id: 100 + id }))
    const world = asking(many)
    expect(await itemsOf(await ask(world))).toHaveLength(65)
    expect(world.declined).toHaveLength(2)
  })
})

describe('the page of an elicitation', () => {
  test('is read as a browser reads it, and delivered as it was judged', async () => {
    const world = asking([page('https://Login.Bücher.example:443/a?b')])
    const items = await itemsOf(await ask(world))
    const href = 'https://login.xn--bcher-kva.example/a?b'
    expect(world.questions[1]?.draft).toMatchObject({
      elicitation: {
        mode: 'url',
        message: 'Sign in',
        url: { href, scheme: 'https', host: 'login.xn--bcher-kva.example', port: 443, path: '/a' },
      },
      params: { elicitationId: 'x' },
    })
    expect(items[0]).toMatchObject({ params: { url: href } })
  })

  test.each([
    'https://user@evil.example/',
    'https://login.acme.com\\@evil.example/',
    'https://login.acme.com\n.evil.example/',
    'https:login.acme.com',
    'https:///login.acme.com',
    'https://login.acme.com\u200b.evil.example/',
    'not an address',
    'mailto:a@b.c',
  ])('%j is refused unasked', async (url) => {
    const world = asking([page(url)])
    expect(await itemsOf(await ask(world))).toEqual([done])
    expect(world.declined).toEqual([['u1', 'elicitation/create']])
    expect(world.questions).toHaveLength(1)
    expect(JSON.stringify(world.lines)).toContain('bad_elicitation')
  })

  test('in a form is refused: nobody would have asked about it', async () => {
    const world = asking([{ ...form, params: { ...form.params, url: 'https://evil.example/' } }])
    expect(await itemsOf(await ask(world))).toEqual([done])
  })
})

describe('trap 6: what a client answers', () => {
  const accept = { id: 'e1', result: { action: 'accept', content: { name: 'Ann' }, _meta: { sudo: 1 } } }

  test('is decided where it carries data, and goes to the session that asked', async () => {
    const world = asking([form])
    await itemsOf(await ask(world))
    expect(await answer(world, accept)).toMatchObject({ kind: 'accepted', status: 202 })
    expect(world.questions.at(-1)?.draft).toMatchObject({
      direction: 'to_server',
      kind: 'response',
      method: 'elicitation/create',
      response: { result: { action: 'accept', content: { name: 'Ann' } } },
      parent: { decision_id: 'id-1', method: 'tools/call', tool: 'x' },
    })
    expect(JSON.parse(world.calls.at(-1)?.text ?? '')).toEqual({
      jsonrpc: '2.0',
      id: 'e1',
      result: { action: 'accept', content: { name: 'Ann' }, _meta: {} },
    })
  })

  test.each([
    ['a refusal', { id: 'e1', result: { action: 'decline' } }],
    ['a page that was opened', { id: 'e1', result: { action: 'accept' } }],
  ])('%s has no data and needs no question', async (_name, body) => {
    const world = asking([form])
    await itemsOf(await ask(world))
    expect(await answer(world, body)).toMatchObject({ status: 202 })
    expect(world.questions.at(-1)?.ask).toBe('identity')
    expect(world.calls.at(-1)?.kind).toBe('response')
  })

  test('that is denied stays here: 202 to the client, and the server is told', async () => {
    const world = asking([form], (draft) => draft.kind !== 'response')
    await itemsOf(await ask(world))
    expect(await answer(world, accept)).toMatchObject({ status: 202 })
    expect(world.calls.filter(({ kind }) => kind === 'response')).toEqual([])
    expect(world.declined).toEqual([['e1', 'elicitation/create']])
    expect(await answer(world, accept)).toMatchObject({ status: 400 })
  })

  test.each([
    ['to nothing', { id: 99, result: {} }],
    ['to the same number as text', { id: '7', result: { role: 'assistant' } }],
    ['to the client’s own request', { id: 1, result: {} }],
  ])('%s is refused', async (_name, body) => {
    const world = asking([sampling])
    await itemsOf(await ask(world))
    const refused = await answer(world, body)
    expect(refused).toMatchObject({ status: 400 })
    expect(json(refused).error.data.reason).toBe('unexpected_response')
    expect(world.calls).toHaveLength(1)
  })

  test('a second time is refused', async () => {
    const world = asking([sampling])
    await itemsOf(await ask(world))
    const body = { id: 7, result: { role: 'assistant', content: { type: 'text', text: 'x' }, model: 'm' } }
    const [one, two] = await Promise.all([answer(world, body), answer(world, body)])
    expect(
      [one, two].map((it) => (it.kind === 'accepted' ? 202 : it.kind === 'message' && it.status)),
    ).toEqual([202, 400])
    expect(world.calls.filter(({ kind }) => kind === 'response')).toHaveLength(1)
  })

  test('of another person to it is refused, on their own session and on this one', async () => {
    let who = alice
    const world = asking([sampling], undefined, () => who)
    await itemsOf(await ask(world))
    who = bob
    const body = { id: 7, result: { role: 'assistant' } }
    expect(
      await answer(world, body, bob, { ...headers, sessionId: session(bob, 'up-1', VERSION) }),
    ).toMatchObject({ status: 400 })
    expect(await answer(world, body, bob)).toMatchObject({ status: 404 })
    expect(world.calls).toHaveLength(1)
  })

  test('on another session is refused', async () => {
    const world = asking([sampling])
    await itemsOf(await ask(world))
    const other = { ...headers, sessionId: session(alice, 'up-2', VERSION) }
    expect(await answer(world, { id: 7, result: {} }, alice, other)).toMatchObject({ status: 400 })
  })

  test('after the session ended is refused', async () => {
    const world = asking([sampling])
    await itemsOf(await ask(world))
    await world.handle(arrival('', { verb: 'DELETE', headers, ...by(alice) }))
    expect(await answer(world, { id: 7, result: {} })).toMatchObject({ status: 400 })
  })
})

describe('trap 28: an error that wants pages opened (2025-11-25, -32042)', () => {
  const error = (url: string) => ({
    code: -32042,
    message: 'sign in',
    data: { elicitations: [{ mode: 'url', elicitationId: 'a', url, message: 'm' }] },
  })
  const reply = (url: string) => () => message({ jsonrpc: '2.0', id: 1, error: error(url) })

  test('is delivered where each page is allowed', async () => {
    const world = handlerIn({ judge: judging(() => true), reply: reply('https://Login.acme.com') })
    expect(json(await ask(world)).error).toEqual(error('https://login.acme.com/'))
    expect(world.questions[1]?.draft).toMatchObject({
      method: 'elicitation/create',
      elicitation: { mode: 'url', url: { host: 'login.acme.com' } },
    })
  })
  test('is the call’s denial where one is not', async () => {
    const allows: Allows = ({ elicitation }) => elicitation === undefined
    const world = handlerIn({ judge: judging(allows), reply: reply('https://evil.example/') })
    const { result, error: none } = json(await ask(world))
    expect(none).toBeUndefined()
    expect(result.isError).toBe(true)
    expect(result.content[0].text).toContain('withheld')
    expect(JSON.stringify(result)).not.toContain('evil.example')
  })
  test('with a page that cannot be read is no answer', async () => {
    const world = handlerIn({ judge: judging(() => true), reply: reply('https://a@evil.example/') })
    expect(json(await ask(world)).error.code).toBe(502)
  })
})

describe('a task that the client hosts', () => {
  const asked = { ...sampling, params: { ...sampling.params, task: { ttl: 1000 } } }
  const hosted = (taskId: string) => ({ result: { task: { taskId, status: 'working' } } })
  const about = (taskId: string) => ({ jsonrpc: '2.0', id: 8, method: 'tasks/result', params: { taskId } })
  const start = async (requests: object[]) => {
    const world = asking([asked])
    await itemsOf(await ask(world))
    expect(await answer(world, { id: 7, ...hosted('of-the-client') })).toMatchObject({ status: 202 })
    const next = handlerIn({
      judge: judging(() => true),
      reply: (c) => (c.kind === 'open' ? stream(...requests) : { kind: 'accepted' }),
      kept: world.kept,
    })
    return { world, next }
  }
  const open = async (at: ReturnType<typeof handlerIn>, as = alice, more = headers) =>
    itemsOf(await at.handle(arrival('', { verb: 'GET', headers: more, ...by(as) })))

  test('is the client’s where it said so in this session, and goes back to what asked for it', async () => {
    const { world, next } = await start([about('of-the-client')])
    const started = world.questions.find(({ draft }) => draft.method === 'sampling/createMessage')
    expect(await open(next)).toEqual([about('of-the-client')])
    expect(next.questions.at(-1)?.draft).toMatchObject({
      method: 'tasks/result',
      task: { owner: 'same', digest: expect.stringMatching(/^hmac:/) },
      parent: { method: 'sampling/createMessage' },
      params: {},
    })
    expect(started).toBeDefined()
    const note = {
      method: 'notifications/tasks/status',
      params: { taskId: 'of-the-client', status: 'completed' },
    }
    expect(await answer(next, note)).toMatchObject({ status: 202 })
    expect(next.questions.at(-1)?.draft).toMatchObject({
      task: { owner: 'same' },
      parent: { method: 'sampling/createMessage' },
      params: { status: 'completed' },
    })
    expect(JSON.parse(next.calls.at(-1)?.text ?? '').params.taskId).toBe('of-the-client')
    // No policy and no record sees the id itself.
    const seen = JSON.stringify([world.questions, next.questions, world.lines, next.lines])
    expect(seen).not.toContain('of-the-client')
  })

  test('of an id that it did not give is told to the policy as not known', async () => {
    const { next } = await start([about('made-up')])
    await open(next)
    expect(next.questions.at(-1)?.draft.task).toMatchObject({ owner: 'unknown' })
    const elsewhere = { ...headers, sessionId: session(alice, 'up-2', VERSION) }
    const { next: other } = await start([about('of-the-client')])
    await open(other, alice, elsewhere)
    expect(other.questions.at(-1)?.draft.task).toMatchObject({ owner: 'unknown' })
  })

  test('is forgotten with its session', async () => {
    const { next } = await start([about('of-the-client')])
    await next.handle(arrival('', { verb: 'DELETE', headers, ...by(alice) }))
    await open(next)
    expect(next.questions.at(-1)?.draft.task).toMatchObject({ owner: 'unknown' })
  })
})

describe('word that a page was seen to', () => {
  const complete = (elicitationId: unknown) => ({
    jsonrpc: '2.0',
    method: 'notifications/elicitation/complete',
    params: { elicitationId },
  })
  test('reaches the one who was given the page, and no other session', async () => {
    const world = asking([page('https://login.acme.com/'), complete('x'), complete('y'), complete(1)])
    expect(await itemsOf(await ask(world))).toEqual([page('https://login.acme.com/'), complete('x'), done])
    const other = handlerIn({
      judge: judging(() => true),
      reply: () => stream(complete('x')),
      kept: world.kept,
    })
    const elsewhere = { ...headers, sessionId: session(alice, 'up-2', VERSION) }
    const open = (more: typeof headers) =>
      other.handle(arrival('', { verb: 'GET', headers: more, ...by(alice) }))
    expect(await itemsOf(await open(elsewhere))).toEqual([])
    expect(await itemsOf(await open(headers))).toEqual([complete('x')])
  })

  test('reaches nobody where the page was denied', async () => {
    const world = asking([page('https://evil.example/'), complete('x')], ({ elicitation }) => !elicitation)
    expect(await itemsOf(await ask(world))).toEqual([done])
  })

  test('reaches the one whose error wanted the page opened', async () => {
    const data = {
      elicitations: [{ mode: 'url', elicitationId: 'a', url: 'https://login.acme.com/', message: 'm' }],
    }
    const error = { code: -32042, message: 'sign in', data }
    const world = handlerIn({
      judge: judging(() => true),
      reply: (c) => (c.kind === 'open' ? stream(complete('a')) : message({ jsonrpc: '2.0', id: 1, error })),
    })
    await ask(world)
    const opened = await world.handle(arrival('', { verb: 'GET', headers, ...by(alice) }))
    expect(await itemsOf(opened)).toEqual([complete('a')])
  })
})

test('what was given is bounded: the session that was not heard of for the longest loses the oldest', () => {
  const given = createGiven({ session: 2, all: 3, id: 10 })
  const parent = { decision_id: 'd', method: 'sampling/createMessage' }
  const of = (session: string) => ({ owner: 'alice', session })
  const known = (session: string, ...ids: string[]) =>
    ids.map((id) => given.find(of(session), 'task', id) !== undefined)
  for (const id of ['1', '2', '3', 'longer than it may be', '']) given.add(of('a'), 'task', id, parent)
  expect(known('a', '1', '2', '3', 'longer than it may be', '')).toEqual([false, true, true, false, false])
  expect(given.find(of('a'), 'page', '2')).toBe(undefined)
  given.add(of('b'), 'task', '1', parent)
  given.add(of('b'), 'task', '2', parent)
  expect(known('a', '2', '3')).toEqual([false, true])
  given.end(of('a'))
  given.add(of('c'), 'task', '1', parent)
  expect([...known('b', '1', '2'), ...known('c', '1')]).toEqual([true, true, true])
})
