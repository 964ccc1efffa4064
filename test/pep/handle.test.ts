import { describe, expect, test } from 'vitest'
import type { OpenLine } from '../../src/log/event.ts'
import { toolFacts } from '../../src/pdp/tool.ts'
import type { Judgement, Reply } from '../../src/pep/ports.ts'
import {
  alice,
  allow,
  arrival,
  bob,
  call,
  denied,
  handlerIn,
  itemsOf,
  json,
  message,
  modern,
  sealer,
  session,
  stream,
} from './world.ts'

describe('an allowed call', () => {
  test('is judged, recorded, then forwarded, in this order', async () => {
    const world = handlerIn({})
    const answer = await world.handle(arrival(call()))
    expect(world.did).toEqual(['judge decision', 'record', 'forward', 'record'])
    expect(answer).toMatchObject({ kind: 'message', status: 200 })
    expect(world.lines[1]).toMatchObject({
      decision_id: 'id-1',
      custom: { event: 'outcome', end: 'complete', tool_error: false },
    })
  })

  test('I1: what is forwarded is the object that was judged, not the bytes that came', async () => {
    const world = handlerIn({})
    await world.handle(
      arrival(
        '{ "method":"tools/call" , "jsonrpc":"2.0","params":{"arguments":{"b":1.0,"a":[1E2]},"name":"x"},"id":7}',
      ),
    )
    expect(world.calls[0]?.text).toBe(
      '{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"arguments":{"b":1,"a":[100]},"name":"x"}}',
    )
    expect(world.questions[0]?.draft).toMatchObject({
      tool: { name: 'x', declared: 'unknown' },
      arguments: { b: 1, a: [100] },
      params: {},
    })
  })

  test('trap 29: A29: a switch in _meta that no policy sees does not reach the upstream; what the protocol puts there does', async () => {
    const world = handlerIn({})
    const _meta = {
      progressToken: 1,
      traceparent: 't',
      'io.modelcontextprotocol/x': 1,
      'com.github/toolsets': 'all',
      sudo: true,
    }
    await world.handle(arrival({ ...call(), params: { name: 'x', _meta } }))
    const sent = JSON.parse(world.calls[0]?.text ?? '')
    expect(sent.params._meta).toEqual({ progressToken: 1, traceparent: 't', 'io.modelcontextprotocol/x': 1 })
    expect(await world.handle(arrival({ ...call(), params: { name: 'x', _meta: 'sudo' } }))).toMatchObject({
      status: 400,
    })
    expect(world.calls).toHaveLength(1)
  })

  test('I3: has no effect when its record is refused', async () => {
    const world = handlerIn({ durable: false })
    const answer = await world.handle(arrival(call()))
    expect(world.calls).toEqual([])
    expect(answer).toMatchObject({ status: 503, retryAfter: 1 })
  })

  test('I3: goes on unrecorded only where the policy says best_effort', async () => {
    const world = handlerIn({ durable: false, decision: { ...allow, audit: 'best_effort' } })
    await world.handle(arrival(call()))
    expect(world.calls).toHaveLength(1)
  })
})

describe('a denied call', () => {
  test('reaches the model as a tool result, and the upstream not at all', async () => {
    const world = handlerIn({ decision: denied })
    const answer = await world.handle(arrival(call()))
    expect(world.calls).toEqual([])
    const { result, id } = json(answer)
    expect(id).toBe(1)
    expect(result.isError).toBe(true)
    expect(result.resultType).toBeUndefined()
    expect(result.content[0].text).toBe(
      [
        'Denied by policy. (This is not an error of the tool; the call was not sent to "github".)',
        'Why: Merging needs a grant [merge_not_granted]',
        'What would help: ask; or Ask in #platform',
        'Do not try other tools to the same end; tell the user.',
        'Decision id-1 · policy git:ab12',
      ].join('\n'),
    )
    expect(result._meta).toEqual({ 'mcp-opa-sidecar/decision_id': 'id-1' })
  })

  test('has a resultType where the era asks for one', async () => {
    const world = handlerIn({ decision: denied })
    const answer = await world.handle(arrival('', modern(call('x'), 'x')))
    expect(json(answer).result).toMatchObject({ isError: true, resultType: 'complete' })
  })

  test('is answered even when its record is refused', async () => {
    const world = handlerIn({ decision: denied, durable: false })
    expect(json(await world.handle(arrival(call()))).result.isError).toBe(true)
  })

  test('of another method is a JSON-RPC error, code 403, on HTTP 200', async () => {
    const world = handlerIn({ decision: denied })
    const answer = await world.handle(
      arrival({ jsonrpc: '2.0', id: 'a', method: 'prompts/get', params: { name: 'p' } }),
    )
    expect(answer).toMatchObject({ status: 200 })
    expect(json(answer)).toMatchObject({
      id: 'a',
      error: { code: 403, data: { decision_id: 'id-1', reasons: denied.reasons } },
    })
  })

  test('trap 20: server/discover is HTTP 403, for an error would send the client to an older revision', async () => {
    const world = handlerIn({ decision: denied })
    const answer = await world.handle(
      arrival('', modern({ jsonrpc: '2.0', id: 1, method: 'server/discover', params: {} } as never)),
    )
    expect(answer).toMatchObject({ status: 403 })
  })
})

describe('nothing reaches the upstream', () => {
  const judgements: [string, Judgement, number][] = [
    ['no identity', { kind: 'unidentified', fault: 'assertion_expired' }, 403],
    ['no keys', { kind: 'unavailable', fault: 'keys_unavailable' }, 503],
    ['a full queue', { kind: 'unavailable', fault: 'queue_full' }, 503],
    ['another identity’s session', { kind: 'foreign_session', identity: bob }, 404],
    ['an answer to another question', { kind: 'visible', visible: [] }, 500],
  ]
  test.each(judgements)('with %s', async (_name, judgement, status) => {
    const world = handlerIn({ judge: () => judgement })
    const answer = await world.handle(arrival(call()))
    expect(answer).toMatchObject({ kind: 'message', status })
    expect(world.calls).toEqual([])
    expect(json(answer).error.data.decision_id).toBe('id-1')
    expect(world.lines).toMatchObject([
      { decision_id: 'id-1', custom: { event: 'reject', cause: { status } } },
    ])
  })

  test('without an assertion, which is not even judged', async () => {
    const world = handlerIn({})
    expect(await world.handle(arrival(call(), { who: undefined }))).toMatchObject({ status: 403 })
    expect(world.did).toEqual(['record'])
  })

  const bodies: [string, unknown, number][] = [
    ['trap 1: a batch', [call()], 400],
    ['an empty batch', [], 400],
    ['trap 14: a call without an id', { jsonrpc: '2.0', method: 'tools/call', params: { name: 'x' } }, 400],
    ['a notification with an id', { jsonrpc: '2.0', id: 1, method: 'notifications/initialized' }, 400],
    [
      'a task that is none',
      { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'x', task: 1 } },
      400,
    ],
    ['a call without a name', { jsonrpc: '2.0', id: 1, method: 'tools/call', params: {} }, 400],
    [
      'arguments that are no object',
      { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'x', arguments: [] } },
      400,
    ],
    [
      'a URI in another spelling',
      { jsonrpc: '2.0', id: 1, method: 'resources/read', params: { uri: 'file:///a/../b' } },
      400,
    ],
    ['an unknown method, legacy', { jsonrpc: '2.0', id: 1, method: 'tasks/result' }, 200],
  ]
  test.each(bodies)('for %s', async (_name, body, status) => {
    const world = handlerIn({})
    const answer = await world.handle(arrival(body))
    expect(answer).toMatchObject({ kind: 'message', status })
    expect(json(answer).error.data.decision_id).toBe('id-1')
    expect(world.did).toEqual(['record'])
  })

  test('of the modern era when the upstream is of the legacy one', async () => {
    const world = handlerIn({ eras: ['legacy'] })
    const answer = await world.handle(arrival('', modern(call('x'), 'x')))
    expect(answer).toMatchObject({ status: 404 })
    expect(json(answer).error.code).toBe(-32601)
  })
})

describe('a list', () => {
  const tools = [
    { name: 'seen', inputSchema: {} },
    { name: 'hidden', inputSchema: {} },
  ]
  const list = { jsonrpc: '2.0', id: 1, method: 'tools/list', params: { cursor: '' } }

  test('trap 12: is narrowed in one question; its cursor and _meta stay', async () => {
    const world = handlerIn({
      reply: () => message({ jsonrpc: '2.0', id: 1, result: { tools, nextCursor: 'n', _meta: { k: 1 } } }),
    })
    const answer = await world.handle(arrival(list))
    expect(json(answer).result).toEqual({ tools: [tools[0]], nextCursor: 'n', _meta: { k: 1 } })
    expect(world.did).toEqual(['judge decision', 'record', 'forward', 'judge visible', 'record'])
    expect(world.questions[1]?.draft.items).toMatchObject([
      { kind: 'tool', key: 'seen' },
      { kind: 'tool', key: 'hidden' },
    ])
    expect(world.lines[1]).toMatchObject({ custom: { listed: 2, hidden: 1 } })
  })

  test('has its schemas in the question where the policy narrows them, and as many as fit', async () => {
    const schema = (title: string) => ({ type: 'object', title, properties: { repo: { type: 'string' } } })
    const large = schema('x'.repeat(1 << 20))
    const listed = [
      { name: 'seen', inputSchema: schema('t') },
      { name: 'none', inputSchema: null },
      { name: 'large', inputSchema: large },
      { name: 'after', inputSchema: schema('t') },
    ]
    const narrower = { type: 'object', properties: { repo: { enum: ['app'] } } }
    const world = handlerIn({
      narrows: true,
      judge: (question) =>
        question.ask === 'visible'
          ? {
              kind: 'visible',
              visible: [
                [0, { inputSchema: narrower }],
                [2, true],
              ],
            }
          : {
              kind: 'decided',
              identity: alice,
              decision: allow,
              line: '{"custom":{"event":"decision"' as OpenLine,
            },
      reply: () => message({ jsonrpc: '2.0', id: 1, result: { tools: listed } }),
    })
    const answer = await world.handle(arrival(list))
    expect(json(answer).result.tools).toEqual([{ name: 'seen', inputSchema: narrower }, listed[2]])
    const { items = [] } = world.questions[1]?.draft ?? {}
    expect(items[0]).toMatchObject({ key: 'seen', inputSchema: schema('t') })
    expect(items.map(({ inputSchema }) => inputSchema !== undefined)).toEqual([true, false, false, false])
    const plain = handlerIn({ reply: () => message({ jsonrpc: '2.0', id: 1, result: { tools: listed } }) })
    await plain.handle(arrival(list))
    expect(plain.questions[1]?.draft.items?.some(({ inputSchema }) => inputSchema)).toBe(false)
    // What the sidecar knows of a tool is the server's own.
    const { digest } = toolFacts(listed[0] as never)
    expect(items[0]?.digest).toBe(digest)
  })

  test('is made private for modern caches, on every page', async () => {
    const result = { tools, ttlMs: 5, cacheScope: 'public', resultType: 'complete' }
    const world = handlerIn({ reply: () => message({ jsonrpc: '2.0', id: 1, result }) })
    const answer = await world.handle(arrival('', modern({ ...list })))
    expect(json(answer).result.cacheScope).toBe('private')
  })

  test('is an error, never empty, when what may be seen is not known', async () => {
    const world = handlerIn({
      judge: (question) =>
        question.ask === 'visible'
          ? { kind: 'unavailable', fault: 'visible_undecided' }
          : {
              kind: 'decided',
              identity: alice,
              decision: allow,
              line: '{"custom":{"event":"decision"' as OpenLine,
            },
      reply: () => message({ jsonrpc: '2.0', id: 1, result: { tools } }),
    })
    const answer = await world.handle(arrival(list))
    expect(json(answer).error).toMatchObject({ code: -32603 })
    expect(json(answer).result).toBeUndefined()
  })

  test('with two things of one name is not delivered', async () => {
    const world = handlerIn({
      reply: () => message({ jsonrpc: '2.0', id: 1, result: { tools: [tools[0], tools[0]] } }),
    })
    expect(json(await world.handle(arrival(list))).error.code).toBe(502)
  })

  test('teaches what its tools declare, to the one who was sent it', async () => {
    const definition = {
      name: 'seen',
      annotations: { readOnlyHint: true },
      inputSchema: { properties: { owner: {} } },
    }
    const claims = Buffer.from(JSON.stringify({ iss: 'i', sub: 'alice', aud: 'a' })).toString('base64url')
    const world = handlerIn({
      reply: () => message({ jsonrpc: '2.0', id: 1, result: { tools: [definition] } }),
    })
    const by = (sub: string) => ({
      who: {
        assertion: `h.${Buffer.from(JSON.stringify({ iss: 'i', sub, aud: 'a' })).toString('base64url')}.s`,
      },
    })
    await world.handle(arrival(list, { who: { assertion: `h.${claims}.s` } }))
    await world.handle(arrival(call('seen', { owner: 'acme', extra: { a: 1 } }), by('alice')))
    expect(world.questions.at(-1)?.draft).toMatchObject({
      tool: { name: 'seen', declared: 'listed', annotations: { readOnlyHint: true }, closed: false },
      undeclared_arguments: ['/extra'],
    })
    await world.handle(arrival(call('seen', {}), by('bob')))
    expect(world.questions.at(-1)?.draft.tool).toEqual({ name: 'seen', declared: 'unknown' })
    const before = world.calls.length
    expect(await world.handle(arrival(call('seen', { Owner: 'x' }), by('alice')))).toMatchObject({
      status: 400,
    })
    expect(world.calls).toHaveLength(before)
  })
})

describe('a stream', () => {
  const progress = {
    jsonrpc: '2.0',
    method: 'notifications/progress',
    params: { progressToken: 1, progress: 1 },
  }
  const result = { jsonrpc: '2.0', id: 1, result: { content: [] } }

  test('delivers what passes, drops what does not, ends with the response', async () => {
    const request = { jsonrpc: '2.0', id: 9, method: 'sampling/unknown', params: {} }
    const world = handlerIn({
      reply: () =>
        stream(
          progress,
          { jsonrpc: '2.0', method: 'notifications/unknown' },
          request,
          { not: 'a message' },
          result,
          progress,
        ),
    })
    const items = await itemsOf(await world.handle(arrival(call())))
    expect(items).toEqual([progress, result])
    expect(world.declined).toEqual([[9, 'sampling/unknown']])
    expect(world.lines.at(-1)).toMatchObject({ custom: { event: 'outcome', dropped: 3, end: 'complete' } })
    expect(world.lines.some((line) => JSON.stringify(line).includes('server_request_unsupported'))).toBe(true)
  })

  test('that breaks off ends with an error for the open id', async () => {
    const world = handlerIn({ reply: () => stream(progress) })
    const items = await itemsOf(await world.handle(arrival(call())))
    expect(items[1]).toMatchObject({ id: 1, error: { code: 502 } })
    expect(world.lines.at(-1)).toMatchObject({ custom: { disposition: 'failed', end: 'upstream_failed' } })
  })

  test('with a response to another id delivers an error instead', async () => {
    const world = handlerIn({ reply: () => stream({ ...result, id: '1' }) })
    expect(await itemsOf(await world.handle(arrival(call())))).toMatchObject([
      { id: 1, error: { code: 502 } },
    ])
  })

  test.each(['partial', 'input-required', 1])('a result of type %s is withheld', async (resultType) => {
    const world = handlerIn({ reply: () => message({ jsonrpc: '2.0', id: 1, result: { resultType } }) })
    const { result: shown } = json(await world.handle(arrival('', modern(call('x'), 'x'))))
    expect(shown).toMatchObject({ isError: true, resultType: 'complete' })
    expect(shown.content[0].text).toContain('is withheld')
  })
})

describe('a session', () => {
  const initialize = {
    jsonrpc: '2.0',
    id: 0,
    method: 'initialize',
    params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'c', version: '1' } },
  }
  const agreed = {
    jsonrpc: '2.0',
    id: 0,
    result: { protocolVersion: '2025-06-18', capabilities: {}, serverInfo: { name: 's' } },
  }

  test.each(['message', 'stream'] as const)(
    'is sealed with the version of the result, from a %s',
    async (kind) => {
      const world = handlerIn({
        reply: () =>
          ({ ...(kind === 'message' ? message(agreed) : stream(agreed)), session: 'secret-up' }) as Reply,
      })
      const answer = await world.handle(arrival(initialize))
      expect(answer).toMatchObject({ kind: 'message', status: 200 })
      const token = answer.kind === 'message' ? (answer.session ?? '') : ''
      expect(token).not.toContain('secret-up')
      expect(sealer.open(token)).toMatchObject({
        upstream: 'secret-up',
        version: '2025-06-18',
        owner: { subject: 'alice' },
        client: { name: 'c' },
      })
    },
  )

  test('goes upstream as the upstream’s own id, with the version in force', async () => {
    const world = handlerIn({})
    const token = session()
    await world.handle(arrival(call(), { headers: { sessionId: token, protocolVersion: '2025-06-18' } }))
    expect(world.calls[0]).toMatchObject({
      session: 'up-1',
      headers: { 'mcp-protocol-version': '2025-06-18' },
    })
    expect(world.questions[0]?.owner).toEqual({ issuer: 'i', subject: 'alice', audience: 'a' })
    expect(JSON.stringify(world.questions)).not.toContain(token)
  })

  test.each(['made-up', 'v1.AAAA', `${'v1.'}${'A'.repeat(80)}`])(
    'id %s that we did not seal is 404',
    async (sessionId) => {
      for (const verb of ['POST', 'GET', 'DELETE'] as const) {
        const world = handlerIn({})
        const answer = await world.handle(
          arrival(verb === 'POST' ? call() : '', { verb, headers: { sessionId } }),
        )
        expect(answer).toMatchObject({ status: 404 })
        expect(world.did).toEqual(['record'])
      }
    },
  )

  test('a version that is not the session’s changes nothing: the session’s goes upstream', async () => {
    const world = handlerIn({})
    const answer = await world.handle(
      arrival(call(), { headers: { sessionId: session(), protocolVersion: '2025-03-26' } }),
    )
    expect(answer).toMatchObject({ status: 200 })
    expect(world.calls[0]?.headers['mcp-protocol-version']).toBe('2025-06-18')
  })

  test('id on a handshake or a modern request is dropped', async () => {
    const world = handlerIn({ reply: () => message(agreed) })
    await world.handle(arrival(initialize, { headers: { sessionId: 'fixed-by-the-client' } }))
    const next = modern(call('x'), 'x')
    await world.handle(arrival('', { ...next, headers: { ...next.headers, sessionId: 'fixed' } }))
    for (const { session: sent } of world.calls) expect(sent).toBeUndefined()
  })

  test('GET and DELETE need one, and ask the policy', async () => {
    const bare = handlerIn({})
    expect(await bare.handle(arrival('', { verb: 'GET' }))).toMatchObject({ status: 405 })
    const world = handlerIn({ reply: (c) => (c.kind === 'open' ? stream() : { kind: 'accepted' }) })
    expect(await world.handle(arrival('', { verb: 'GET', headers: { sessionId: session() } }))).toMatchObject(
      { kind: 'stream' },
    )
    expect(
      await world.handle(arrival('', { verb: 'DELETE', headers: { sessionId: session() } })),
    ).toMatchObject({ kind: 'accepted', status: 200 })
    expect(world.questions.map((question) => question.draft.method)).toEqual(['stream/open', 'session/end'])
  })
})

describe('a notification about another request', () => {
  test.each(['notifications/cancelled', 'notifications/progress'])('%s needs a session', async (method) => {
    const body = { jsonrpc: '2.0', method, params: { requestId: 1 } }
    const bare = handlerIn({})
    expect(await bare.handle(arrival(body))).toMatchObject({ status: 405 })
    expect(bare.calls).toEqual([])
    const world = handlerIn({ reply: () => ({ kind: 'accepted' }) })
    expect(await world.handle(arrival(body, { headers: { sessionId: session() } }))).toMatchObject({
      status: 202,
    })
    expect(world.calls).toHaveLength(1)
  })

  test('notifications/initialized needs none: a server may have no sessions', async () => {
    const world = handlerIn({ reply: () => ({ kind: 'accepted' }) })
    expect(
      await world.handle(arrival({ jsonrpc: '2.0', method: 'notifications/initialized' })),
    ).toMatchObject({ status: 202 })
  })
})

describe('the upstream credential', () => {
  test.each([
    ['Bearer gho_x', true, 'Bearer gho_x'],
    ['Bearer gho_x', false, undefined],
    ['Bearer Pomerium-x', true, undefined],
    ['bearer  pomerium-x', true, undefined],
    ['Pomerium x', true, undefined],
  ])('%s with forward %s goes on as %s', async (authorization, forwards, expected) => {
    const world = handlerIn({ forwards })
    await world.handle(arrival(call(), { authorization }))
    expect(world.calls[0]?.authorization).toBe(expected)
    expect(JSON.stringify([world.questions, world.lines])).not.toContain(authorization)
  })
})
