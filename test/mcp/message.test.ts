import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { LEGACY_VERSIONS, MODERN_VERSIONS } from '../../src/mcp/headers.ts'
import { isRpcId, readMessage, writeMessage } from '../../src/mcp/message.ts'
import { METHODS, methodOf, methodToServer } from '../../src/mcp/methods.ts'
import { isObject, type Json, parseStrict } from '../../src/mcp/strict-json.ts'
import { createRandom, plain, randomJson } from './random.ts'

const request = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'evil', arguments: {} } }
const without = (key: string) => Object.fromEntries(Object.entries(request).filter(([name]) => name !== key))

describe('what is not exactly one JSON-RPC message is refused', () => {
  test.each<[row: string, value: unknown, fault: string]>([
    ['A20 batch', [request, request], 'batch'],
    ['A20 batch of one', [request], 'batch'],
    ['A20 empty batch', [], 'batch'],
    ['A20 batch within a batch', [[request]], 'batch'],
    ['A21 fraction as id', { ...request, id: 1.5 }, 'bad_id'],
    ['A21 null as id', { ...request, id: null }, 'bad_id'],
    ['A21 object as id', { ...request, id: {} }, 'bad_id'],
    ['A21 array as id', { ...request, id: [1] }, 'bad_id'],
    ['A21 true as id', { ...request, id: true }, 'bad_id'],
    ['A21 2^53 as id', { ...request, id: 2 ** 53 }, 'bad_id'],
    ['A21 long id', { ...request, id: 'x'.repeat(257) }, 'bad_id'],
    ['A24 response without id', { jsonrpc: '2.0', result: {} }, 'bad_response'],
    ['A24 response with null as id', { jsonrpc: '2.0', id: null, error: {} }, 'bad_id'],
    ['A24 response with a result that is no object', { jsonrpc: '2.0', id: 1, result: 1 }, 'bad_response'],
    ['A24 response with params', { jsonrpc: '2.0', id: 1, result: {}, params: {} }, 'bad_response'],
    ['A24 response with an error that is text', { jsonrpc: '2.0', id: 1, error: 'no' }, 'bad_response'],
    ['A25 method and result', { ...request, result: {} }, 'not_a_message'],
    ['A25 method and error', { ...request, error: {} }, 'not_a_message'],
    ['A25 result and error', { jsonrpc: '2.0', id: 1, result: {}, error: {} }, 'not_a_message'],
    ['A25 method and a result that is null', { ...request, result: null }, 'not_a_message'],
    ['A25 neither', { jsonrpc: '2.0', id: 1 }, 'not_a_message'],
    ['A25 another member', { ...request, extra: 1 }, 'unknown_member'],
    ['A2 a member in another case', { ...without('method'), Method: 'tools/call' }, 'unknown_member'],
    ['A3 a member that folds to a known one', { ...without('params'), paramſ: {} }, 'unknown_member'],
    ['A6 constructor as a member', { ...request, constructor: {} }, 'unknown_member'],
    ['A26 no jsonrpc', without('jsonrpc'), 'not_a_message'],
    ['A26 jsonrpc 2.00', { ...request, jsonrpc: '2.00' }, 'not_a_message'],
    ['A26 jsonrpc as a number', { ...request, jsonrpc: 2 }, 'not_a_message'],
    ['A26 jsonrpc 1.0', { ...request, jsonrpc: '1.0' }, 'not_a_message'],
    ['A26 jsonrpc with a blank', { ...request, jsonrpc: '2.0 ' }, 'not_a_message'],
    ['A26 method null', { ...request, method: null }, 'bad_method'],
    ['A26 method empty', { ...request, method: '' }, 'bad_method'],
    ['A26 method a list', { ...request, method: ['tools/call'] }, 'bad_method'],
    ['A27 params a list', { ...request, params: ['evil'] }, 'bad_params'],
    ['A27 params null', { ...request, params: null }, 'bad_params'],
    ['A27 params text', { ...request, params: 'evil' }, 'bad_params'],
    ['A27 params a number', { ...request, params: 1 }, 'bad_params'],
    ['A2 Name in params', { ...request, params: { Name: 'evil' } }, 'bad_params'],
    ['A2 ARGUMENTS in params', { ...request, params: { name: 'x', ARGUMENTS: {} } }, 'bad_params'],
    ['A3 a params key with a long s', { ...request, params: { name: 'x', argumentſ: {} } }, 'bad_params'],
    ['A2 _META in params', { ...request, params: { _META: {} } }, 'bad_params'],
    ['A2 task in another case', { ...request, params: { name: 'x', Task: {} } }, 'bad_params'],
    ['a number', 1, 'not_a_message'],
    ['text', 'tools/call', 'not_a_message'],
    ['null', null, 'not_a_message'],
  ])('%s', (_row, value, fault) => expect(readMessage(value as Json)).toMatchObject({ ok: false, fault }))

  test('the id comes back in a refusal where it could be read, else null', () => {
    expect(readMessage({ ...request, extra: 1 })).toMatchObject({ id: 1 })
    expect(readMessage({ ...request, id: 'a', method: '' })).toMatchObject({ id: 'a' })
    expect(readMessage({ ...request, id: {} })).toMatchObject({ id: null })
    expect(readMessage([request] as Json)).toMatchObject({ id: null })
  })
})

describe('the three forms', () => {
  test('a request, with and without params', () => {
    expect(readMessage(request)).toEqual({
      ok: true,
      message: { kind: 'request', id: 1, method: 'tools/call', params: request.params },
    })
    expect(readMessage({ jsonrpc: '2.0', id: 'a', method: 'ping' })).toMatchObject({
      message: { params: {} },
    })
  })
  test('A22 a request without an id is a notification: its method decides whether that may be', () => {
    expect(readMessage(without('id'))).toMatchObject({ ok: true, message: { kind: 'notification' } })
    expect(methodToServer('tools/call')?.shape).toBe('request')
  })
  test('A23 a notification with an id is a request: its method decides whether that may be', () => {
    const value = { jsonrpc: '2.0', id: 1, method: 'notifications/initialized' }
    expect(readMessage(value)).toMatchObject({ ok: true, message: { kind: 'request' } })
    expect(methodToServer('notifications/initialized')?.shape).toBe('notification')
  })
  test('responses', () => {
    expect(readMessage({ jsonrpc: '2.0', id: 7, result: {} })).toEqual({
      ok: true,
      message: { kind: 'response', id: 7, result: {} },
    })
    expect(readMessage({ jsonrpc: '2.0', id: 7, error: { code: 1, message: '' } })).toMatchObject({
      message: { kind: 'response', error: { code: 1 } },
    })
  })
  test('A21 ids', () => {
    for (const id of [0, -1, 1, '', 'a', 'x'.repeat(256), Number.MAX_SAFE_INTEGER])
      expect(isRpcId(id)).toBe(true)
    for (const id of [null, undefined, 1.5, Number.NaN, 2 ** 53, {}, [], true, 'x'.repeat(257)])
      expect(isRpcId(id)).toBe(false)
  })
  test('keys of arguments are the server’s: only keys of params are held to their spelling', () => {
    const params = { name: 'x', arguments: { Name: 1, ARGUMENTS: 2, Cursor: 3 } }
    expect(readMessage({ ...request, params })).toMatchObject({ ok: true })
  })
})

describe('properties', () => {
  test('what is written reads back as what was read, and has no line break', () => {
    const random = createRandom(11)
    let read = 0
    for (let i = 0; i < 3_000; i++) {
      const id = random.pick<Json>([1, 0, 'a', '', null, 1.5])
      const value: { [key: string]: Json } = { jsonrpc: '2.0' }
      if (random.chance(0.7)) value.id = id
      if (random.chance(0.7)) value.method = random.pick(['tools/call', 'x', '\u2028'])
      if (random.chance(0.6)) value.params = randomJson(random, 3)
      if (random.chance(0.2)) value.result = randomJson(random, 3)
      if (random.chance(0.2)) value.error = randomJson(random, 2)
      const one = readMessage(value)
      if (!one.ok) continue
      read++
      const text = writeMessage(one.message)
      expect(text).not.toMatch(/[\r\n]/)
      const again = parseStrict(text)
      expect(again.ok).toBe(true)
      if (again.ok) expect(readMessage(again.value)).toEqual(plain(one))
      // Nothing is added and nothing is lost, but for the empty params that mean the same.
      if (again.ok && isObject(again.value)) {
        const { params, ...rest } = again.value
        const { params: given, ...before } = value
        expect(rest).toEqual(plain(before))
        expect(params).toEqual(one.message.kind === 'response' ? undefined : plain(given ?? {}))
      }
    }
    expect(read).toBeGreaterThan(300)
  })
})

describe('A28 the table of methods', () => {
  test.each([
    'foo/bar',
    'sampling/createMessage',
    'elicitation/create',
    'roots/list',
    'notifications/anything',
    'notifications/resources/updated',
    'notifications/',
    'tools/call/',
    ' tools/call',
    'tools/call\u0000',
    'TOOLS/CALL',
    'Tools/Call',
    'tools//call',
    'rpc.discover',
    '__proto__',
    'constructor',
    'toString',
    '',
  ])('trap 33: %j is not in it, to the server', (method) => {
    for (const version of [...LEGACY_VERSIONS, ...MODERN_VERSIONS])
      expect(methodOf('to_server', method, version)).toBe(undefined)
  })

  test.each([
    'tools/call',
    'initialize',
    'notifications/initialized',
    'completion/complete',
    '',
    '__proto__',
  ])('%j is not in it, to the client', (method) => {
    for (const version of [...LEGACY_VERSIONS, ...MODERN_VERSIONS])
      expect(methodOf('to_client', method, version)).toBe(undefined)
  })

  test('each row in each revision is what the schemas and the contract say', () => {
    const versions = [...LEGACY_VERSIONS, ...MODERN_VERSIONS]
    const rows = METHODS.map(([direction, name, { shape, treatment }]) => {
      const marks = versions.map((version) => (methodOf(direction, name, version) ? 'x' : '-')).join('')
      return `${direction} ${name} ${shape} ${treatment} ${marks}`
    })
    expect(rows).toMatchInlineSnapshot(`
      [
        "to_server initialize request decide xxxx-",
        "to_server server/discover request decide ----x",
        "to_server ping request protocol xxxx-",
        "to_server tools/list request decide xxxxx",
        "to_server tools/call request decide xxxxx",
        "to_server prompts/list request decide xxxxx",
        "to_server prompts/get request decide xxxxx",
        "to_server resources/list request decide xxxxx",
        "to_server resources/templates/list request decide xxxxx",
        "to_server resources/read request decide xxxxx",
        "to_server resources/subscribe request decide xxxx-",
        "to_server resources/unsubscribe request decide xxxx-",
        "to_server subscriptions/listen request decide ----x",
        "to_server completion/complete request decide xxxxx",
        "to_server logging/setLevel request decide xxxx-",
        "to_server tasks/get request decide ---xx",
        "to_server tasks/cancel request decide ---xx",
        "to_server tasks/result request decide ---x-",
        "to_server tasks/list request decide ---x-",
        "to_server tasks/update request decide ----x",
        "to_server notifications/initialized notification protocol xxxx-",
        "to_server notifications/cancelled notification protocol xxxx-",
        "to_server notifications/progress notification protocol xxxx-",
        "to_server notifications/roots/list_changed notification protocol xxxx-",
        "to_server notifications/tasks/status notification decide ---x-",
        "to_client ping request protocol xxxx-",
        "to_client sampling/createMessage request decide xxxx-",
        "to_client roots/list request decide xxxx-",
        "to_client elicitation/create request decide --xx-",
        "to_client tasks/get request decide ---x-",
        "to_client tasks/result request decide ---x-",
        "to_client tasks/list request decide ---x-",
        "to_client tasks/cancel request decide ---x-",
        "to_client notifications/cancelled notification protocol xxxxx",
        "to_client notifications/progress notification protocol xxxxx",
        "to_client notifications/message notification protocol xxxxx",
        "to_client notifications/tools/list_changed notification protocol xxxxx",
        "to_client notifications/prompts/list_changed notification protocol xxxxx",
        "to_client notifications/resources/list_changed notification protocol xxxxx",
        "to_client notifications/resources/updated notification filter xxxxx",
        "to_client notifications/subscriptions/acknowledged notification protocol ----x",
        "to_client notifications/elicitation/complete notification filter ---x-",
        "to_client notifications/tasks/status notification filter ---x-",
        "to_client notifications/tasks notification filter ----x",
      ]
    `)
  })

  test('the table in the documentation is this one', () => {
    const page = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8')
    const rows = page.split('\n').filter((line) => /^\| to_(?:server|client) /.test(line))
    expect(rows).toEqual(
      METHODS.map(
        ([direction, name, { treatment, since, until }]) =>
          `| ${direction} | \`${name}\` | ${treatment} | ${since} | ${until} |`,
      ),
    )
  })

  test('to the server nothing that carries data of a person passes without a question', () => {
    const unasked = METHODS.flatMap(([direction, name, { treatment }]) =>
      direction === 'to_server' && treatment !== 'decide' ? [name] : [],
    )
    expect(unasked).toEqual([
      'ping',
      'notifications/initialized',
      'notifications/cancelled',
      'notifications/progress',
      'notifications/roots/list_changed',
    ])
  })

  test('every list is narrowed by the member that names its things', () => {
    const lists = METHODS.flatMap(([, name, { list }]) => (list ? [[name, list]] : []))
    expect(lists).toEqual([
      ['tools/list', { member: 'tools', kind: 'tool', key: 'name' }],
      ['prompts/list', { member: 'prompts', kind: 'prompt', key: 'name' }],
      ['resources/list', { member: 'resources', kind: 'resource', key: 'uri' }],
      ['resources/templates/list', { member: 'resourceTemplates', kind: 'template', key: 'uriTemplate' }],
      ['tasks/list', { member: 'tasks', kind: 'task', key: 'taskId' }],
    ])
  })
})
