import { describe, expect, test } from 'vitest'
import type { Identity } from '../../src/pdp/identity.ts'
import type { Call, Reply } from '../../src/pep/ports.ts'
import { alice, arrival, bob, by, handlerIn, json, judging, message, modern } from './world.ts'

type Allows = Parameters<typeof judging>[0]
const STATE = 'the server’s own state'
const elicit = { method: 'elicitation/create', params: { message: 'Your name?', requestedSchema: {} } }
const required = (more: object = {}) => ({
  resultType: 'input_required',
  inputRequests: { name: elicit, roots: { method: 'roots/list' } },
  requestState: STATE,
  ...more,
})
const params = (more: object = {}) => ({ name: 'x', arguments: { a: 1 }, ...more })
const call = (more: object = {}, name = 'x') =>
  modern({ method: 'tools/call', params: { ...params(more), name } }, name)

function world(
  reply: (call: Call) => object,
  allows: Allows = () => true,
  who: () => Identity = () => alice,
) {
  const at = handlerIn({
    judge: judging(allows, who),
    reply: (c): Reply => message({ jsonrpc: '2.0', id: c.id, result: reply(c) }),
  })
  let id = 0
  const send = (more: object = {}, as = alice, name = 'x') => {
    const { body, headers } = call(more, name)
    const text = JSON.parse(String(Buffer.from(body ?? [])))
    return at.handle(
      arrival({ jsonrpc: '2.0', id: ++id, ...text }, { ...(headers && { headers }), ...by(as) }),
    )
  }
  return { ...at, send }
}
const inner = (at: ReturnType<typeof world>) =>
  at.questions.filter(({ draft }) => draft.direction === 'to_client' || draft.kind === 'response')

describe('a result that asks for input', () => {
  test('has each of its requests decided, and its state sealed', async () => {
    const at = world(() => required())
    const { result } = json(await at.send())
    expect(result).toMatchObject({
      resultType: 'input_required',
      inputRequests: { name: elicit, roots: { method: 'roots/list', params: {} } },
    })
    expect(result.requestState).not.toContain(STATE)
    expect(inner(at).map(({ draft }) => [draft.method, draft.parent])).toEqual([
      ['elicitation/create', { decision_id: 'id-1', method: 'tools/call', tool: 'x' }],
      ['roots/list', { decision_id: 'id-1', method: 'tools/call', tool: 'x' }],
    ])
  })

  test('is the call’s denial where one of them is denied', async () => {
    const at = world(
      () => required(),
      ({ method }) => method !== 'roots/list',
    )
    const { result } = json(await at.send())
    expect(result).toMatchObject({ isError: true, resultType: 'complete' })
    expect(result.content[0].text).toContain('is withheld')
    expect(JSON.stringify(result)).not.toContain('Your name?')
  })

  test.each<[string, object]>([
    [
      'a request that the protocol does not have there',
      { inputRequests: { a: { method: 'tools/call', params: {} } } },
    ],
    ['a request that is none', { inputRequests: { a: 1 } }],
    [
      'a page that cannot be read',
      {
        inputRequests: { a: { method: 'elicitation/create', params: { mode: 'url', url: 'https://a@b/' } } },
      },
    ],
    [
      'more requests than anyone asks',
      { inputRequests: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [i, elicit])) },
    ],
    ['a state that is no text', { requestState: 1 }],
    ['neither', { inputRequests: undefined, requestState: undefined }],
  ])('with %s is not delivered', async (_name, more) => {
    const at = world(() => required(more))
    expect(json(await at.send()).error.code).toBe(502)
  })

  test('of a method that has none, or of a legacy revision, is withheld', async () => {
    const at = world(() => required())
    const list = modern({ method: 'tools/list', params: {} })
    const body = { jsonrpc: '2.0', id: 1, ...JSON.parse(String(Buffer.from(list.body ?? []))) }
    expect(
      json(await at.handle(arrival(body, { ...list, body: Buffer.from(JSON.stringify(body)) }))).result,
    ).toBeUndefined()
    const legacy = await at.handle(arrival({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: params() }))
    expect(json(legacy).result.isError).toBe(true)
  })
})

describe('the retry', () => {
  const inputResponses = {
    name: { action: 'accept', content: { name: 'Ann' }, _meta: { sudo: 1 } },
    roots: { roots: [{ uri: 'file:///home/ann' }] },
  }
  const first = async (at: ReturnType<typeof world>) => json(await at.send()).result.requestState as string

  test('trap 27: is decided again in full, each answer for itself; the server gets its own state', async () => {
    const at = world(({ text }) => (text.includes('inputResponses') ? { content: [] } : required()))
    const requestState = await first(at)
    const before = at.questions.length
    expect(json(await at.send({ inputResponses, requestState })).result).toEqual({ content: [] })
    const [retry, name, roots] = at.questions.slice(before)
    expect(retry?.draft).toMatchObject({
      method: 'tools/call',
      arguments: { a: 1 },
      params: { inputResponses: ['name', 'roots'], requestState: expect.stringMatching(/^hmac:/) },
    })
    expect(name?.draft).toMatchObject({
      kind: 'response',
      direction: 'to_server',
      method: 'elicitation/create',
      response: { result: { action: 'accept', content: { name: 'Ann' } } },
      parent: { method: 'tools/call', tool: 'x' },
    })
    expect(roots?.draft).toMatchObject({ method: 'roots/list', response: { result: { roots: [{}] } } })
    const sent = JSON.parse(at.calls.at(-1)?.text ?? '')
    expect(sent.params).toMatchObject({
      requestState: STATE,
      inputResponses: { name: { action: 'accept', _meta: {} } },
    })
    const seen = JSON.stringify(at.questions) + JSON.stringify(at.lines)
    expect(seen).not.toContain(STATE)
    expect(seen).not.toContain(requestState)
  })

  test('is not sent where one of its answers is denied', async () => {
    const at = world(
      () => required(),
      ({ kind, method }) => kind !== 'response' || method !== 'roots/list',
    )
    const requestState = await first(at)
    const { result } = json(await at.send({ inputResponses, requestState }))
    expect(result).toMatchObject({ isError: true, resultType: 'complete' })
    expect(result.content[0].text).toContain('was not sent')
    expect(at.calls).toHaveLength(1)
    expect(at.lines.at(-1)).toMatchObject({
      custom: { event: 'outcome', end: 'not_sent', disposition: 'denied', cause: { code: 'input_response' } },
    })
  })

  test('an answer is judged as what was asked for, whatever its form', async () => {
    const at = world(() => required())
    const requestState = await first(at)
    await at.send({ inputResponses: { name: { roots: [] } }, requestState })
    expect(inner(at).find(({ draft }) => draft.kind === 'response')?.draft.method).toBe('elicitation/create')
  })

  test('a refused elicitation has no data: there is nothing to ask', async () => {
    const at = world(() => required())
    const before = inner(at).length
    await at.send({ inputResponses: { a: { action: 'decline' } } })
    expect(inner(at)).toHaveLength(before + 2)
    expect(at.calls).toHaveLength(1)
  })

  test.each<[string, unknown]>([
    ['that is no object', { a: 1 }],
    ['of no known form', { a: {} }],
    ['of two forms', { a: { action: 'accept', roots: [] } }],
    ['that are a list', []],
    ['that are null', null],
  ])('answers %s are refused', async (_name, responses) => {
    const at = world(() => required())
    const refused = await at.send({ inputResponses: responses })
    expect(refused).toMatchObject({ status: 400 })
    expect(json(refused).error.data.reason).toBe('bad_input_response')
    expect(at.calls).toEqual([])
  })

  test('with another’s state, a changed one, or one for another tool is refused', async () => {
    let who = alice
    const at = world(
      () => required(),
      undefined,
      () => who,
    )
    const requestState = await first(at)
    for (const state of [`${requestState}-TAMPERED`, STATE, '', requestState.slice(0, -2)])
      expect(await at.send({ inputResponses, requestState: state })).toMatchObject({ status: 400 })
    expect(await at.send({ inputResponses, requestState }, alice, 'y')).toMatchObject({ status: 400 })
    who = bob
    const stolen = await at.send({ inputResponses, requestState }, bob)
    expect(json(stolen).error.data.reason).toBe('bad_request_state')
    expect(at.calls).toHaveLength(1)
  })

  test('in a legacy revision there are no such members', async () => {
    const at = world(() => required())
    for (const member of ['inputResponses', 'requestState']) {
      const body = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: params({ [member]: {} }) }
      expect(await at.handle(arrival(body))).toMatchObject({ status: 400 })
    }
  })
})
