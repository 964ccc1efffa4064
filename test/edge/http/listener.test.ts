import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createIssuer, encode, people } from '../../support/assertions.ts'
import { type Parsed, postBytes, type RawAnswer, requestBytes, sendRaw } from '../../support/raw.ts'
import {
  httpAnswer,
  type Recorder,
  rpcResult,
  startRecorder,
  UPSTREAM_SESSION,
} from '../../support/recorder.ts'
import { type Sidecar, startSidecar } from '../../support/sidecar.ts'

/** In every request that is refused; must be in no answer. */
const CANARY = 'canary-7f3a'
/** Granted to engineering, and not. */
const SAFE = 'get_me'
const EVIL = 'delete_repository'

const issuer = createIssuer()
let upstream: Recorder
let sidecar: Sidecar

beforeAll(async () => {
  upstream = await startRecorder()
  sidecar = await startSidecar({
    upstream: upstream.url,
    jwks: issuer.jwks,
    config: {
      plugins: { mcp: { allowed_hosts: ['mcp.example.com'], allowed_origins: ['https://ok.example'] } },
    },
  })
})
afterAll(async () => {
  expect(await sidecar.stop()).toBe(0)
  await upstream.close()
})
beforeEach(() => upstream.reset())

const T = (name: string, args: object = { note: CANARY }) =>
  JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: args } })
const post = (body: string | Buffer | object, headers: Record<string, string | undefined> = {}) =>
  postBytes(issuer.mint(), body, headers)

type Refusal = { status: number; code: number; reason: string; id?: unknown }
const KNOWN_HEADERS = [
  'allow',
  'cache-control',
  'connection',
  'content-length',
  'content-type',
  'date',
  'keep-alive',
  'retry-after',
]

/** What every refusal must be: an answer of the contract's form, one record, nothing sent, nothing said of the input. */
async function refused(sent: Parameters<typeof sendRaw>[1], expected: Refusal): Promise<RawAnswer> {
  const { answers, interim, rest } = await sendRaw(sidecar.port, sent)
  expect(interim).toEqual([])
  expect(answers).toHaveLength(1)
  expect(rest).toHaveLength(0)
  return assertRefusal(answers[0]!, expected)
}

async function assertRefusal(
  answer: RawAnswer,
  { status, code, reason, id = null }: Refusal,
): Promise<RawAnswer> {
  expect(`${answer.status} ${answer.body}`).toContain(`${status} {`)
  expect(answer.header('content-type')).toBe('application/json')
  for (const [name] of answer.headers) expect(KNOWN_HEADERS).toContain(name)
  const body = answer.json()
  expect(Object.keys(body).sort()).toEqual(['error', 'id', 'jsonrpc'])
  expect(body).toMatchObject({ jsonrpc: '2.0', id, error: { code, data: { reason } } })
  expect(body.error.message).toMatch(/^[\x20-\x7e]{10,200}$/)
  expectClean(answer)
  const records = await sidecar.recordsOf(body.error.data.decision_id)
  expect(records).toHaveLength(1)
  expect(records[0]!.custom).toMatchObject({
    event: 'reject',
    disposition: 'rejected',
    cause: { code: reason },
  })
  expect(records[0]).not.toHaveProperty('input')
  expect(JSON.stringify(records)).not.toContain(CANARY)
  expect(upstream.bytes()).toBe(0)
  return answer
}

/** No echo of the input, no stack, no name of a file or of what is inside. */
function expectClean(answer: RawAnswer): void {
  const all = `${JSON.stringify(answer.headers)}${answer.body}`
  expect(all).not.toContain(CANARY)
  expect(all).not.toMatch(
    /\bat \S+ \(|\.ts:|\.js:|node:|Error:|undici|HPE_|ERR_|node_modules|Express|fastify/,
  )
}

/** A denial in the form of the method, with one record, and nothing sent. */
async function denied(sent: Parameters<typeof sendRaw>[1]): Promise<Parsed> {
  const { answers } = await sendRaw(sidecar.port, sent)
  expect(answers).toHaveLength(1)
  const answer = answers[0]!
  expect(answer.status).toBe(200)
  expectClean(answer)
  const body = answer.json()
  const decisionId = body.result?._meta['mcp-opa-sidecar/decision_id'] ?? body.error.data.decision_id
  const records = await sidecar.recordsOf(decisionId)
  expect(records).toHaveLength(1)
  expect(records[0]).toMatchObject({
    result: { allow: false },
    custom: { event: 'decision', disposition: 'denied' },
  })
  expect(upstream.bytes()).toBe(0)
  return body
}

async function allowed(sent: Parameters<typeof sendRaw>[1], at = sidecar): Promise<RawAnswer> {
  const { answers } = await sendRaw(at.port, sent)
  expect(answers.map((answer) => `${answer.status} ${answer.body}`)).toHaveLength(1)
  expect(answers[0]!.status).toBeLessThan(300)
  expect(upstream.requests().length).toBeGreaterThan(0)
  return answers[0]!
}

const PARSE = -32700
const INVALID = -32600
const PARAMS = -32602
const NO_METHOD = -32601

describe('the measure of the rest', () => {
  test('an allowed call goes through, and has a decision and an outcome on record', async () => {
    const answer = await allowed(post(T(SAFE, {})))
    expect(answer.json()).toMatchObject({ id: 1, result: { content: [{ text: `called ${SAFE}` }] } })
    const decision = sidecar.records().findLast((event) => event.custom.event === 'decision')!
    expect(decision).toMatchObject({
      result: { allow: true },
      input: { identity: { subject: people.alice.sub } },
    })
    const both = await sidecar.recordsOf(decision.decision_id, 2)
    expect(both.map((event) => event.custom.event)).toEqual(['decision', 'outcome'])
  })
  test('a denied call reaches the model as a result and the upstream not at all', async () => {
    const body = await denied(post(T(EVIL)))
    expect(body).toMatchObject({ id: 1, result: { isError: true } })
    expect(body.result.content).toHaveLength(1)
  })
  test('a denied request of another method is an error', async () => {
    const body = await denied(
      post({ jsonrpc: '2.0', id: 'p', method: 'prompts/get', params: { name: CANARY } }),
    )
    expect(body).toMatchObject({ id: 'p', error: { code: 403 } })
  })
})

describe('1.A JSON and JSON-RPC', () => {
  const base = '"jsonrpc":"2.0","id":1,"method":"tools/call"'
  const evil = `{"name":"${EVIL}","arguments":{"note":"${CANARY}"}}`
  const safe = `{"name":"${SAFE}"}`
  const parse = (reason: string): Refusal => ({ status: 400, code: PARSE, reason })
  const invalid = (reason: string, id: unknown = 1): Refusal => ({ status: 400, code: INVALID, reason, id })
  const params = (reason: string, id: unknown = 1): Refusal => ({ status: 400, code: PARAMS, reason, id })
  const method = (id: unknown = 1): Refusal => ({
    status: 200,
    code: NO_METHOD,
    reason: 'unknown_method',
    id,
  })

  test.each<[row: string, body: string | Buffer, expected: Refusal]>([
    ['A1 params twice', `{${base},"params":${safe},"params":${evil}}`, parse('duplicate_key')],
    [
      'A1 method twice, once escaped',
      `{"jsonrpc":"2.0","id":1,"method":"tools/list","m\\u0065thod":"tools/call","params":${evil}}`,
      parse('duplicate_key'),
    ],
    ['A1 name twice', `{${base},"params":{"name":"${SAFE}","name":"${EVIL}"}}`, parse('duplicate_key')],
    [
      'A1 an argument twice, deep',
      `{${base},"params":{"name":"${SAFE}","arguments":{"a":[{"b":1,"b":2}]}}}`,
      parse('duplicate_key'),
    ],
    [
      'A2 Method beside method',
      `{"jsonrpc":"2.0","id":1,"method":"tools/list","Method":"tools/call","params":${evil}}`,
      parse('ambiguous_key'),
    ],
    [
      'A2 METHOD alone',
      `{"jsonrpc":"2.0","id":1,"METHOD":"tools/call","params":${evil}}`,
      invalid('unknown_member'),
    ],
    ['A2 Params alone', `{${base},"Params":${evil}}`, invalid('unknown_member')],
    ['A2 Name beside name', `{${base},"params":{"name":"${SAFE}","Name":"${EVIL}"}}`, parse('ambiguous_key')],
    ['A2 Name alone', `{${base},"params":{"Name":"${EVIL}"}}`, params('bad_params')],
    ['A3 paramſ after params', `{${base},"params":${safe},"param\\u017f":${evil}}`, parse('ambiguous_key')],
    ['A3 paramſ alone', `{${base},"paramſ":${evil}}`, invalid('unknown_member')],
    [
      'A3 argumentſ alone',
      `{${base},"params":{"name":"${SAFE}","argument\\u017f":{}}}`,
      params('bad_params'),
    ],
    [
      'A4 name and NUL',
      `{${base},"params":{"name":"${SAFE}","name\\u0000":"${EVIL}"}}`,
      parse('forbidden_key'),
    ],
    ['A5 an argument in two cases', T(SAFE, { owner: 'acme', Owner: CANARY }), parse('ambiguous_key')],
    ['A6 __proto__', `{"__proto__":{"x":1},${base},"params":${safe}}`, parse('forbidden_key')],
    [
      'A6 __proto__ in arguments',
      `{${base},"params":{"name":"${SAFE}","arguments":{"__proto__":{"name":"${EVIL}"}}}}`,
      parse('forbidden_key'),
    ],
    ['A7 a big id', `{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}`, parse('unsafe_number')],
    [
      'A7 a big argument',
      `{${base},"params":{"name":"${SAFE}","arguments":{"n":9007199254740993}}}`,
      parse('unsafe_number'),
    ],
    [
      'A8 1e400',
      `{${base},"params":{"name":"${SAFE}","arguments":{"amount":1e400}}}`,
      parse('unsafe_number'),
    ],
    ['A9 lone surrogate', `{${base},"params":{"name":"ev\\ud800il"}}`, parse('lone_surrogate')],
    ['A10 0xff', Buffer.from(T(`${CANARY}\xff`), 'latin1'), parse('invalid_utf8')],
    ['A10 overlong', Buffer.from(T('\xc0\xaf'), 'latin1'), parse('invalid_utf8')],
    ['A11 byte order mark', `\ufeff${T(EVIL)}`, parse('byte_order_mark')],
    ['A12 UTF-16', Buffer.from(T(EVIL), 'utf16le'), parse('syntax')],
    ['A13 two documents', T(SAFE) + T(EVIL), parse('syntax')],
    ['A13 trailing text', `${T(SAFE)} ${CANARY}`, parse('syntax')],
    ['A14 comment', `{${base}/*,"params":${evil}*/}`, parse('syntax')],
    ['A14 NaN', `{${base},"params":{"name":"${SAFE}","arguments":{"n":NaN}}}`, parse('syntax')],
    ['A14 single quotes', `{'jsonrpc':'2.0'}`, parse('syntax')],
    ['A14 trailing comma', `{${base},}`, parse('syntax')],
    ['A14 empty body', '', parse('syntax')],
    ['A15 raw control character', `{${base},"params":{"name":"\x01"}}`, parse('syntax')],
    ['A16 a megabyte of brackets', '['.repeat(1 << 20), parse('too_deep')],
    [
      'A17 many keys',
      `{${Array.from({ length: 60_000 }, (_, i) => `"${i.toString(36)}":0`).join(',')}}`,
      parse('too_many_keys'),
    ],
    ['A20 batch', `[${T(SAFE)},${T(EVIL)}]`, invalid('batch', null)],
    ['A20 batch of one', `[${T(SAFE)}]`, invalid('batch', null)],
    ['A20 empty batch', '[]', invalid('batch', null)],
    ['A20 batch in a batch', `[[${T(EVIL)}]]`, invalid('batch', null)],
    ['A21 fraction as id', `{"jsonrpc":"2.0","id":1.5,"method":"ping"}`, invalid('bad_id', null)],
    [
      'A21 null as id',
      `{"jsonrpc":"2.0","id":null,"method":"tools/call","params":${evil}}`,
      invalid('bad_id', null),
    ],
    ['A21 object as id', `{"jsonrpc":"2.0","id":{"a":"${CANARY}"},"method":"ping"}`, invalid('bad_id', null)],
    ['A21 true as id', `{"jsonrpc":"2.0","id":true,"method":"ping"}`, invalid('bad_id', null)],
    ['A21 long id', `{"jsonrpc":"2.0","id":"${CANARY.repeat(30)}","method":"ping"}`, invalid('bad_id', null)],
    [
      'A22 tools/call without id',
      `{"jsonrpc":"2.0","method":"tools/call","params":${evil}}`,
      invalid('wrong_shape', null),
    ],
    [
      'A22 safe without id',
      `{"jsonrpc":"2.0","method":"tools/call","params":${safe}}`,
      invalid('wrong_shape', null),
    ],
    [
      'A22 initialize without id',
      `{"jsonrpc":"2.0","method":"initialize","params":{"protocolVersion":"2025-11-25"}}`,
      invalid('wrong_shape', null),
    ],
    [
      'A23 a notification with an id',
      `{"jsonrpc":"2.0","id":1,"method":"notifications/initialized"}`,
      invalid('wrong_shape'),
    ],
    [
      'A23 an unknown notification',
      `{"jsonrpc":"2.0","method":"notifications/${CANARY}"}`,
      { status: 400, code: NO_METHOD, reason: 'unknown_method' },
    ],
    [
      'A24 a response',
      `{"jsonrpc":"2.0","id":7,"result":{"a":"${CANARY}"}}`,
      invalid('unexpected_response', null),
    ],
    [
      'A24 an error response',
      `{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"${CANARY}"}}`,
      invalid('unexpected_response', null),
    ],
    ['A25 method and result', `{${base},"params":${evil},"result":{}}`, invalid('not_a_message')],
    ['A25 method and error', `{${base},"params":${evil},"error":null}`, invalid('not_a_message')],
    ['A25 another member', `{${base},"params":${safe},"${CANARY}":1}`, invalid('unknown_member')],
    ['A26 no jsonrpc', `{"id":1,"method":"tools/call","params":${evil}}`, invalid('not_a_message')],
    ['A26 jsonrpc 2.00', `{"jsonrpc":"2.00","id":1,"method":"ping"}`, invalid('not_a_message')],
    ['A26 jsonrpc as a number', `{"jsonrpc":2.0,"id":1,"method":"ping"}`, invalid('not_a_message')],
    ['A26 method null', `{"jsonrpc":"2.0","id":1,"method":null}`, invalid('bad_method')],
    ['A26 method empty', `{"jsonrpc":"2.0","id":1,"method":""}`, invalid('bad_method')],
    ['A26 method with a blank', `{"jsonrpc":"2.0","id":1,"method":" tools/call","params":${evil}}`, method()],
    [
      'A26 method with NUL',
      `{"jsonrpc":"2.0","id":1,"method":"tools/call\\u0000","params":${evil}}`,
      method(),
    ],
    ['A26 method in capitals', `{"jsonrpc":"2.0","id":1,"method":"TOOLS/CALL","params":${evil}}`, method()],
    ['A27 params a list', `{${base},"params":["${EVIL}"]}`, params('bad_params')],
    ['A27 params null', `{${base},"params":null}`, params('bad_params')],
    ['A27 params text', `{${base},"params":"${CANARY}"}`, params('bad_params')],
    ['A27 no params', `{${base}}`, params('missing_name')],
    ['A27 a name that is no text', `{${base},"params":{"name":["${EVIL}"]}}`, params('missing_name')],
    [
      'A27 arguments a list',
      `{${base},"params":{"name":"${SAFE}","arguments":["${CANARY}"]}}`,
      params('bad_arguments'),
    ],
    ['A27 arguments null', `{${base},"params":{"name":"${SAFE}","arguments":null}}`, params('bad_arguments')],
    [
      'A28 tasks/result',
      `{"jsonrpc":"2.0","id":1,"method":"tasks/result","params":{"taskId":"${CANARY}"}}`,
      { status: 404, code: -32602, reason: 'unknown_task', id: 1 },
    ],
    ['A28 foo/bar', `{"jsonrpc":"2.0","id":"x","method":"foo/${CANARY}"}`, method('x')],
    ['A28 sampling from a client', `{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage"}`, method()],
    ['A28 a task that is none', `{${base},"params":{"name":"${SAFE}","task":1}}`, params('bad_task')],
    [
      'A28 input responses',
      `{${base},"params":{"name":"${SAFE}","inputResponses":{}}}`,
      params('bad_input_response'),
    ],
    [
      'A29 a version in _meta that the header has not',
      `{${base},"params":{"name":"${SAFE}","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`,
      { status: 400, code: -32020, reason: 'header_mismatch', id: 1 },
    ],
  ])('%s', async (_row, body, expected) => {
    await refused(post(body), expected)
  })

  test('trap 32: A16, A17 what is larger than a body may be', async () => {
    const large: Refusal = { status: 413, code: INVALID, reason: 'too_large' }
    await refused([post('', { 'content-length': String(10 << 20) })], large)
    await refused(post('['.repeat((1 << 20) + 1)), large)
    const chunk = `${(1 << 18).toString(16)}\r\n${' '.repeat(1 << 18)}\r\n`
    const chunked = { 'transfer-encoding': 'chunked', 'content-length': undefined }
    await refused([post('', chunked), chunk, chunk, chunk, chunk, chunk], large)
  })

  test('A5 an argument that only its case tells from a declared one', async () => {
    upstream.respond((request) => {
      const tools = [
        { name: SAFE, inputSchema: { type: 'object', properties: { owner: { type: 'string' } } } },
      ]
      return request.json.method === 'tools/list'
        ? httpAnswer(200, rpcResult(request.json.id, { tools }))
        : undefined
    })
    // A person of the test's own: what is listed is remembered.
    const carol = { ...people.alice, sub: 'carol-sub-3', user: 'carol-sub-3' }
    await allowed(postBytes(issuer.mint(carol), { jsonrpc: '2.0', id: 1, method: 'tools/list' }))
    upstream.reset()
    await refused(postBytes(issuer.mint(carol), T(SAFE, { Owner: CANARY })), params('ambiguous_argument'))
    await refused(
      postBytes(issuer.mint(carol), T(SAFE, { owner: 'acme', owneR: CANARY })),
      parse('ambiguous_key'),
    )
  })

  test('trap 4: A29 E1 E2 the modern era: headers and body', async () => {
    const meta = {
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientCapabilities': {},
    }
    const body = {
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: { name: SAFE, arguments: {}, _meta: meta },
    }
    const headers = { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': SAFE }
    const mismatch: Refusal = { status: 400, code: -32020, reason: 'header_mismatch', id: 1 }
    await refused(post(body, { ...headers, 'mcp-method': 'tools/list' }), mismatch)
    await refused(post(body, { ...headers, 'mcp-name': CANARY }), mismatch)
    await refused(post(body, { ...headers, 'mcp-name': undefined }), mismatch)
    await refused(post(body, { ...headers, 'mcp-protocol-version': '2025-11-25' }), mismatch)
    await refused(
      post({ ...body, method: 'foo/bar' }, { ...headers, 'mcp-method': 'foo/bar', 'mcp-name': undefined }),
      {
        status: 404,
        code: NO_METHOD,
        reason: 'unknown_method',
        id: 1,
      },
    )
    // The protocol asks that the version is named again; what is none is not.
    const unsupported = await refused(
      post(T(SAFE), { 'mcp-protocol-version': `2099-01-01${'0'.repeat(99)}` }),
      {
        status: 400,
        code: -32022,
        reason: 'unsupported_version',
        id: 1,
      },
    )
    expect(unsupported.json().error.data.requested).toBe('no revision')
    const future = await sendRaw(sidecar.port, post(T(SAFE), { 'mcp-protocol-version': '2099-01-01' }))
    expect(future.answers[0]?.json().error.data.requested).toBe('2099-01-01')
    await allowed(post(body, headers))
    const [request] = upstream.requests()
    expect(request?.header('mcp-method')).toBe('tools/call')
    expect(request?.header('mcp-name')).toBe(SAFE)
    expect(request?.header('mcp-protocol-version')).toBe('2026-07-28')
  })

  test('trap 2: A18, A19, I1 what goes on is written anew from what was judged', async () => {
    const body = `\t{ "params" : {"arguments":{"b":1.0,"a":"\\u0041\\/","2":1E2,"é":"\u2028"} ,"name":"get\\u005fme"},\r\n"method":"tools\\/call","id":"\\u0031","jsonrpc":"2.0"} `
    await allowed(post(body))
    expect(upstream.requests()[0]?.body).toBe(
      `{"jsonrpc":"2.0","id":"1","method":"tools/call","params":{"arguments":{"2":100,"b":1,"a":"A/","é":"\u2028"},"name":"get_me"}}`,
    )
  })
})

describe('1.B HTTP', () => {
  const type: Refusal = { status: 415, code: INVALID, reason: 'bad_content_type' }
  const http: Refusal = { status: 400, code: INVALID, reason: 'bad_http' }
  const path: Refusal = { status: 404, code: INVALID, reason: 'bad_path' }
  const verb: Refusal = { status: 405, code: INVALID, reason: 'bad_verb' }
  const repeated: Refusal = { status: 400, code: INVALID, reason: 'repeated_header' }
  const list = (body: string | Buffer, more: [string, string][] = []): [string, string][] => [
    ['Host', 'mcp.example.com'],
    ['Content-Type', 'application/json'],
    ['Content-Length', String(Buffer.byteLength(body))],
    ['X-Pomerium-Jwt-Assertion', issuer.mint()],
    ...more,
  ]
  const without = (name: string, headers: [string, string][]) =>
    headers.filter(([key]) => key.toLowerCase() !== name)

  test.each([
    'text/plain',
    'text/plain; application/json',
    `multipart/form-data; boundary=${CANARY}`,
    'application/x-www-form-urlencoded',
    'application/json\ta',
    'APPLICATION/JSON ;x',
    'application/json, text/plain',
    'application/json; charset=utf-16',
    'application/json; charset=utf-8; x=1',
    'application/json; charset=',
    'application/json;',
    'application/jsonx',
    'application/json+x',
    'text/json',
    '',
  ])('B1 A12 Content-Type %j', async (value) => {
    await refused(post(T(EVIL), { 'content-type': value }), type)
  })
  test('B1 no Content-Type', async () =>
    void (await refused(post(T(EVIL), { 'content-type': undefined }), type)))
  test('B1 two of them', async () => {
    await refused(
      requestBytes({ headers: list(T(EVIL), [['content-type', 'text/plain']]), body: T(EVIL) }),
      repeated,
    )
  })
  test.each([
    'application/json',
    'Application/JSON',
    'application/json; charset=utf-8',
    'application/json ; charset="UTF-8"',
  ])('B1 %j is JSON', async (value) => {
    await denied(post(T(EVIL), { 'content-type': value }))
  })

  test.each(['gzip', 'br', 'deflate', 'identity, gzip', 'x-gzip', 'GZIP', ''])(
    'B2 Content-Encoding %j',
    async (value) => {
      await refused(post(gzipSync(T(EVIL)), { 'content-encoding': value }), type)
    },
  )

  const raw = (head: string, body = '') => {
    const lines = [
      'POST /mcp HTTP/1.1',
      'Host: mcp.example.com',
      'Content-Type: application/json',
      `X-Pomerium-Jwt-Assertion: ${issuer.mint()}`,
    ]
    return Buffer.from(`${lines.join('\r\n')}\r\n${head}\r\n\r\n${body}`, 'latin1')
  }
  const length = Buffer.byteLength(T(SAFE))
  test.each<[row: string, bytes: () => Buffer]>([
    [
      'length and chunks',
      () => raw(`Content-Length: ${length}\r\nTransfer-Encoding: chunked`, `0\r\n\r\n${T(SAFE)}`),
    ],
    ['chunks and length', () => raw(`Transfer-Encoding: chunked\r\nContent-Length: ${length}`, T(SAFE))],
    ['two lengths', () => raw(`Content-Length: ${length}\r\nContent-Length: 5`, T(SAFE))],
    ['two equal lengths', () => raw(`Content-Length: ${length}\r\nContent-Length: ${length}`, T(SAFE))],
    ['a list of lengths', () => raw(`Content-Length: ${length}, ${length}`, T(SAFE))],
    ['a length with a plus', () => raw(`Content-Length: +${length}`, T(SAFE))],
    ['a length in hexadecimal', () => raw('Content-Length: 0x5', T(SAFE))],
    ['a negative length', () => raw('Content-Length: -1', T(SAFE))],
    ['a length with a blank before the colon', () => raw(`Content-Length : ${length}`, T(SAFE))],
    ['an unknown coding', () => raw('Transfer-Encoding: xchunked', `0\r\n\r\n`)],
    ['two codings', () => raw('Transfer-Encoding: gzip, chunked', '0\r\n\r\n')],
    ['chunked twice', () => raw('Transfer-Encoding: chunked, chunked', '0\r\n\r\n')],
    [
      'two Transfer-Encoding',
      () => raw('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked', '0\r\n\r\n'),
    ],
    ['identity', () => raw('Transfer-Encoding: identity', '')],
    ['chunked after a vertical tab', () => raw('Transfer-Encoding: \x0bchunked', '0\r\n\r\n')],
    ['a folded header', () => raw(`X-A: b\r\n c\r\nContent-Length: ${length}`, T(SAFE))],
    ['a bare LF', () => raw(`X-A: b\nContent-Length: ${length}`, T(SAFE))],
    ['a bare CR', () => raw(`X-A: b\rX-B: c\r\nContent-Length: ${length}`, T(SAFE))],
    ['NUL in a value', () => raw(`X-A: b\0c\r\nContent-Length: ${length}`, T(SAFE))],
    ['a name with a blank', () => raw(`X A: b\r\nContent-Length: ${length}`, T(SAFE))],
    ['no name', () => raw(`: b\r\nContent-Length: ${length}`, T(SAFE))],
    [
      'an underscore for a dash',
      () => raw(`Transfer_Encoding: chunked\r\nContent-Length: ${length}`, T(SAFE)),
    ],
    ['a bad chunk size', () => raw('Transfer-Encoding: chunked', `zz\r\n${T(SAFE)}\r\n0\r\n\r\n`)],
    ['a chunk without its end', () => raw('Transfer-Encoding: chunked', `5\r\n${T(SAFE)}\r\n0\r\n\r\n`)],
    ['a chunk size with a sign', () => raw('Transfer-Encoding: chunked', `+5\r\n${T(SAFE)}\r\n0\r\n\r\n`)],
    [
      'a trailer that was announced',
      () =>
        raw(
          'Transfer-Encoding: chunked\r\nTrailer: X-A',
          `${length.toString(16)}\r\n${T(SAFE)}\r\n0\r\nX-A: b\r\n\r\n`,
        ),
    ],
  ])('B3 %s', async (_row, bytes) => {
    const { answers, closed } = await sendRaw(sidecar.port, bytes(), { answers: 2, timeout: 1_500 })
    // Whatever else is in these bytes, it is no second request.
    expect(answers).toHaveLength(1)
    expect(closed).toBe(true)
    expect([400, 413]).toContain(answers[0]!.status)
    const reason = answers[0]!.json().error.data.reason
    expect(['bad_http', 'repeated_header']).toContain(reason)
    await assertRefusal(answers[0]!, { ...http, reason })
  })
  test('B3 pipelined: each is judged, the first verdict is not the second’s', async () => {
    const { answers } = await sendRaw(sidecar.port, Buffer.concat([post(T(SAFE, {})), post(T(EVIL))]), {
      answers: 2,
    })
    expect(answers).toHaveLength(2)
    expect(answers[0]!.json().result.isError).toBe(undefined)
    expect(answers[1]!.json().result.isError).toBe(true)
    expect(upstream.requests()).toHaveLength(1)
    expect(upstream.raw()).not.toContain(EVIL)
  })
  test('B3 a smuggled request within a body stays a body', async () => {
    const inner = post(T(SAFE)).toString('latin1')
    await refused(post(inner), { status: 400, code: PARSE, reason: 'syntax' })
  })
  test('B3 chunks, with an extension, are a body', async () => {
    const body = T(SAFE, {})
    const chunked = raw(
      'Transfer-Encoding: chunked',
      `${Buffer.byteLength(body).toString(16)};a=b\r\n${body}\r\n0\r\n\r\n`,
    )
    await allowed(chunked)
    expect(upstream.requests()[0]!.header('transfer-encoding')).toBe(undefined)
    expect(upstream.requests()[0]!.header('content-length')).toBe(
      String(Buffer.byteLength(upstream.requests()[0]!.body)),
    )
  })
  test('B3 a body that does not come whole is nothing', async () => {
    const { answers } = await sendRaw(sidecar.port, raw('Content-Length: 1000', T(SAFE)), { timeout: 500 })
    expect(answers).toHaveLength(0)
    const { answers: half } = await sendRaw(sidecar.port, raw('Content-Length: 1000', T(SAFE)), {
      timeout: 1_000,
      end: true,
    })
    for (const answer of half) expect(answer.status).toBe(400)
    expect(upstream.bytes()).toBe(0)
  })

  test.each<[row: string, bytes: () => Buffer]>([
    [
      'h2c',
      () =>
        raw(
          `Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: ${length}`,
          T(SAFE),
        ),
    ],
    ['Upgrade without Connection', () => raw(`Upgrade: h2c\r\nContent-Length: ${length}`, T(SAFE))],
    ['PRI', () => Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')],
    ['HTTP/2.0', () => requestBytes({ version: 'HTTP/2.0', headers: list(T(SAFE)), body: T(SAFE) })],
    ['HTTP/1.0', () => requestBytes({ version: 'HTTP/1.0', headers: list(T(SAFE)), body: T(SAFE) })],
    ['HTTP/0.9', () => Buffer.from('GET /mcp\r\n\r\n')],
    ['TLS', () => Buffer.from('16030100c8010000c40303', 'hex')],
    [
      'WebSocket',
      () =>
        requestBytes({
          method: 'GET',
          headers: [
            ...without('content-type', list('')),
            ['Upgrade', 'websocket'],
            ['Connection', 'Upgrade'],
            ['Sec-WebSocket-Key', 'AAAAAAAAAAAAAAAAAAAAAA=='],
            ['Sec-WebSocket-Version', '13'],
          ],
        }),
    ],
  ])('B4, B5 %s', async (_row, bytes) => {
    const { answers, closed } = await sendRaw(sidecar.port, bytes(), { answers: 2, timeout: 1_500 })
    expect(answers).toHaveLength(1)
    expect(closed).toBe(true)
    await assertRefusal(answers[0]!, http)
  })

  test('B6 100 is said only to a head that is in order', async () => {
    const expect100 = { expect: '100-continue' }
    const good = post(T(SAFE, {}), expect100)
    const end = good.indexOf('\r\n\r\n') + 4
    const { answers, interim } = await sendRaw(sidecar.port, [good.subarray(0, end), good.subarray(end)], {
      pause: 100,
    })
    expect(interim).toEqual([100])
    expect(answers[0]!.status).toBe(200)
    expect(upstream.raw().toLowerCase()).not.toContain('expect:')
    upstream.reset()
    const bad = post(T(EVIL), { ...expect100, 'content-type': 'text/plain' })
    await refused([bad.subarray(0, bad.indexOf('\r\n\r\n') + 4)], type)
    await refused([post('', { ...expect100, 'content-length': String(5 << 20) })], {
      status: 413,
      code: INVALID,
      reason: 'too_large',
    })
    await refused([requestBytes({ target: '/x', headers: list('', [['Expect', '100-continue']]) })], path)
  })
  test('B6 another expectation', async () => {
    await refused(post(T(SAFE), { expect: CANARY }), {
      status: 417,
      code: INVALID,
      reason: 'bad_expectation',
    })
  })

  test('B7 a trailer is no header', async () => {
    const headers = list(T(SAFE)).filter(
      ([name]) => name !== 'X-Pomerium-Jwt-Assertion' && name !== 'Content-Length',
    )
    const body = `${length.toString(16)}\r\n${T(SAFE)}\r\n0\r\nX-Pomerium-Jwt-Assertion: ${issuer.mint()}\r\n\r\n`
    await refused(requestBytes({ headers: [...headers, ['Transfer-Encoding', 'chunked']], body }), http)
  })

  test.each([
    'http://evil.example/mcp',
    'http://mcp.example.com/mcp',
    '//mcp',
    '//x/mcp',
    '/mcp/',
    '/mcp/../mcp',
    '/./mcp',
    '/x/../mcp',
    '/%6dcp',
    '/mcp%2f',
    '/%2e/mcp',
    '/mcp%00',
    '/mcp;x',
    '/mcp?x=1',
    '/mcp?',
    '/mcp#x',
    '/MCP',
    '\\mcp',
    '/mcp\\',
    '*',
    `/${CANARY}`,
    '/',
    '/sse',
    '/messages',
    '/mcp/x/repos',
    '/x/all',
    '/readonly',
    '/mcp/readonly',
    '/insiders',
    '/.well-known/oauth-protected-resource',
    '/metrics',
    '/health',
    '/admin',
    '/.mcp.json',
  ])('B8, B9, I7 path %s', async (target) => {
    const { answers } = await sendRaw(
      sidecar.port,
      requestBytes({ target, headers: list(T(EVIL)), body: T(EVIL) }),
    )
    const reason = answers[0]!.json().error.data.reason
    // Some are not even a request to the parser of HTTP.
    await assertRefusal(answers[0]!, reason === 'bad_http' ? http : path)
  })

  test.each([
    'X-Pomerium-Jwt-Assertion',
    'keep-alive, X-Pomerium-Jwt-Assertion',
    'close, x',
    'Mcp-Session-Id',
    '',
  ])('B12 Connection: %s', async (value) => {
    await refused(post(T(SAFE), { connection: value }), http)
  })

  const identity = (reason: string, id: unknown = null): Refusal => ({ status: 403, code: 403, reason, id })
  test('B13 two assertions', async () => {
    const bad = createIssuer().mint()
    for (const pair of [
      [issuer.mint(), bad],
      [bad, issuer.mint()],
      [issuer.mint(), issuer.mint()],
    ] as const) {
      const headers = [
        ...without('x-pomerium-jwt-assertion', list(T(SAFE))),
        ['X-Pomerium-Jwt-Assertion', pair[0]],
        ['x-pomerium-jwt-assertion', pair[1]],
      ] as [string, string][]
      await refused(requestBytes({ headers, body: T(SAFE) }), identity('assertion_repeated'))
    }
    await refused(
      postBytes(`${issuer.mint()}, ${issuer.mint()}`, T(SAFE)),
      identity('assertion_malformed', 1),
    )
  })
  test.each([
    'X_Pomerium_Jwt_Assertion',
    'X-Pomerium_Jwt-Assertion',
    'X.Pomerium.Jwt.Assertion',
    'Mcp_Session_Id',
    '__proto__',
  ])('B13, B14 a header named %s', async (name) => {
    await refused(requestBytes({ headers: list(T(SAFE), [[name, CANARY]]), body: T(SAFE) }), http)
  })
  test.each([
    'Host',
    'Origin',
    'Authorization',
    'Mcp-Session-Id',
    'Mcp-Protocol-Version',
    'Mcp-Method',
    'Mcp-Name',
    'Last-Event-Id',
    'Traceparent',
    'X-Request-Id',
  ])('B13 %s twice', async (name) => {
    const headers = [
      ...without(name.toLowerCase(), list(T(SAFE))),
      [name, 'mcp.example.com'],
      [name.toUpperCase(), 'mcp.example.com'],
    ] as [string, string][]
    await refused(requestBytes({ headers, body: T(SAFE) }), repeated)
  })
  test('B14 names of Object.prototype are names like others', async () => {
    await allowed(
      requestBytes({
        headers: list(T(SAFE), [
          ['constructor', 'x'],
          ['toString', 'x'],
          ['hasOwnProperty', 'x'],
        ]),
        body: T(SAFE),
      }),
    )
  })

  const evil = 'evil.example'
  test('trap 24: B16 a host that is not served', async () => {
    for (const host of [
      evil,
      '127.0.0.1',
      'mcp.example.com.evil.example',
      'a/../b?x',
      'mcp.example.com@evil.example',
      '',
    ])
      await refused(post(T(SAFE), { host }), { status: 421, code: INVALID, reason: 'bad_host' })
    await denied(post(T(EVIL), { host: 'MCP.example.com:8443' }))
  })
  test('B16 no host', async () => {
    const { answers, closed } = await sendRaw(
      sidecar.port,
      requestBytes({ headers: without('host', list(T(SAFE))), body: T(SAFE) }),
      { answers: 2, timeout: 1_000 },
    )
    expect(answers).toHaveLength(1)
    expect(closed).toBe(true)
    await assertRefusal(answers[0]!, http)
  })
  test('B17 an origin that is not allowed', async () => {
    for (const origin of [
      'https://evil.example',
      'null',
      'http://ok.example',
      'https://ok.example.evil',
      'https://ok.example:443',
      '',
    ])
      await refused(post(T(SAFE), { origin }), { status: 403, code: INVALID, reason: 'bad_origin' })
    await denied(post(T(EVIL), { origin: 'https://ok.example' }))
  })

  test.each(['OPTIONS', 'TRACE', 'PUT', 'PATCH', 'PROPFIND', 'QUERY'])('B19 %s', async (method) => {
    await refused(requestBytes({ method, headers: list('') }), verb)
  })
  test('B19 HEAD', async () => {
    // By the rules of HTTP its answer has no body: `Content-Length` tells of one that does not come.
    const { raw: bytes } = await sendRaw(sidecar.port, requestBytes({ method: 'HEAD', headers: list('') }), {
      timeout: 300,
    })
    expect(bytes.toString()).toMatch(/^HTTP\/1\.1 405 /)
    expect(bytes.toString()).toMatch(/\r\n\r\n$/)
    expect(sidecar.records().at(-1)!.custom).toMatchObject({ event: 'reject', cause: { code: 'bad_verb' } })
    expect(upstream.bytes()).toBe(0)
  })
  test('trap 23: B19 CONNECT', async () => {
    await refused(
      requestBytes({ method: 'CONNECT', target: 'evil.example:443', headers: [['Host', evil]] }),
      verb,
    )
  })
  test.each(['GET', 'DELETE'])(
    'B19 %s without a session, with another’s, and with a body',
    async (method) => {
      const headers = without('content-length', without('content-type', list('')))
      await refused(requestBytes({ method, headers }), { status: 405, code: INVALID, reason: 'no_session' })
      await refused(requestBytes({ method, headers: [...headers, ['Mcp-Session-Id', CANARY]] }), {
        status: 404,
        code: INVALID,
        reason: 'unknown_session',
      })
      await refused(requestBytes({ method, headers: list(T(SAFE)), body: T(SAFE) }), http)
    },
  )

  test('B20 a head that does not come to an end', async () => {
    const head = raw('').subarray(0, -4)
    const { answers, closed } = await sendRaw(sidecar.port, [head, 'X-A: b\r\n', 'X-B'], {
      timeout: 15_000,
      pause: 1_000,
    })
    expect(answers).toHaveLength(1)
    expect(closed || answers[0]!.header('connection') === 'close').toBe(true)
    await assertRefusal(answers[0]!, { status: 408, code: INVALID, reason: 'body_timeout' })
  })

  test('B21 500 groups are fine, a head that is too large is not', async () => {
    const groups = ['engineering', ...Array.from({ length: 500 }, (_, i) => `group-${i}-${'x'.repeat(24)}`)]
    await allowed(postBytes(issuer.mint({ groups }), T(SAFE)))
    upstream.reset()
    const long = Array.from({ length: 2_000 }, (_, i) => `group-${i}-${'x'.repeat(10)}`)
    await refused(postBytes(issuer.mint({ groups: long }), T(SAFE)), identity('assertion_malformed', 1))
    const { answers } = await sendRaw(sidecar.port, post(T(SAFE), { 'x-big': 'x'.repeat(70_000) }))
    expect([400, 431]).toContain(answers[0]!.status)
    await assertRefusal(answers[0]!, {
      status: answers[0]!.status,
      code: INVALID,
      reason: answers[0]!.json().error.data.reason,
    })
  })

  describe('C who asks', () => {
    test('no assertion', async () => {
      await refused(postBytes(undefined, T(SAFE)), identity('assertion_missing', 1))
    })
    test('C17 a credential of another kind is no identity', async () => {
      await refused(
        postBytes(undefined, T(SAFE), { authorization: `Bearer ${issuer.mint()}` }),
        identity('assertion_missing', 1),
      )
      await refused(
        postBytes('x', T(SAFE), { authorization: `Bearer ${issuer.mint()}` }),
        identity('assertion_malformed', 1),
      )
      await refused(
        postBytes(undefined, T(SAFE), { cookie: `_pomerium=${issuer.mint()}` }),
        identity('assertion_missing', 1),
      )
    })
    test('B15 headers that only claim an identity', async () => {
      const claims = {
        'x-pomerium-jwt-assertion-for': issuer.mint(),
        'x-pomerium-claim-email': 'mona@example.com',
        'x-pomerium-claim-groups': 'maintainers',
        'x-forwarded-user': 'mona',
        'x-forwarded-email': 'mona@example.com',
      }
      await refused(postBytes(undefined, T(SAFE), claims), identity('assertion_missing', 1))
      await denied(
        post(
          {
            jsonrpc: '2.0',
            id: 1,
            method: 'tools/call',
            params: { name: 'merge_pull_request', arguments: { owner: 'acme', repo: 'app', pullNumber: 7 } },
          },
          claims,
        ),
      )
    })
    test.each<[reason: string, assertion: () => string]>([
      ['assertion_malformed', () => `${issuer.mint()}x.y`],
      ['assertion_malformed', () => CANARY],
      ['assertion_algorithm', () => issuer.mint({}, { alg: 'none' })],
      ['assertion_unknown_key', () => createIssuer().mint()],
      ['assertion_signature', () => createIssuer({ kid: issuer.kid }).mint()],
      ['assertion_issuer', () => issuer.mint({ iss: CANARY })],
      ['assertion_audience', () => issuer.mint({ aud: CANARY })],
      ['assertion_expired', () => issuer.mint({ iat: Math.floor(Date.now() / 1000) - 400 })],
      ['assertion_not_yet_valid', () => issuer.mint({ iat: Math.floor(Date.now() / 1000) + 100 })],
      ['assertion_claims', () => issuer.mint({ jti: undefined })],
      ['assertion_subject_empty', () => issuer.mint({ sub: '' })],
    ])('%s', async (reason, assertion) => {
      await refused(postBytes(assertion(), T(SAFE)), identity(reason, 1))
    })
  })
})

describe('what goes upstream', () => {
  const NOISE = {
    'user-agent': CANARY,
    cookie: `_pomerium=${CANARY}`,
    authorization: `Bearer ${CANARY}`,
    'proxy-authorization': CANARY,
    'x-pomerium-claim-email': CANARY,
    'x-pomerium-jwt-assertion-for': CANARY,
    'x-forwarded-for': '10.0.0.1',
    'x-forwarded-host': CANARY,
    forwarded: `for=${CANARY}`,
    via: CANARY,
    'x-request-id': CANARY,
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    'x-mcp-toolsets': 'all',
    'x-mcp-tools': EVIL,
    'x-mcp-readonly': 'false',
    'x-mcp-lockdown': 'false',
    'x-mcp-insiders': 'true',
    'x-mcp-features': 'all',
    'x-mcp-exclude-tools': '',
    'x-http-method-override': 'DELETE',
    'mcp-method': 'tools/list',
    'mcp-name': EVIL,
    'mcp-param-owner': CANARY,
    'last-event-id': CANARY,
    accept: CANARY,
    'accept-encoding': 'gzip, br',
    'accept-language': CANARY,
    range: 'bytes=0-1',
    'if-none-match': CANARY,
    dnt: '1',
  }
  const names = (request = upstream.requests()[0]!) => request.headers.map(([name]) => name).sort()

  test('B10, B11, B15, B22 a handful of headers, each made here', async () => {
    await allowed(post(T(SAFE, {}), NOISE))
    const [request] = upstream.requests()
    expect(names()).toEqual([
      'accept',
      'accept-encoding',
      'connection',
      'content-length',
      'content-type',
      'host',
      'mcp-protocol-version',
    ])
    expect(request).toMatchObject({ method: 'POST', path: '/mcp' })
    expect(request?.header('host')).toBe(`127.0.0.1:${upstream.port}`)
    expect(request?.header('accept-encoding')).toBe('identity')
    expect(request?.header('accept')).toBe('application/json, text/event-stream')
    expect(request?.header('content-type')).toBe('application/json')
    expect(request?.header('mcp-protocol-version')).toBe('2025-11-25')
    expect(upstream.raw()).not.toContain(CANARY)
    expect(upstream.raw()).not.toContain('eyJ')
  })

  test('D2 a handshake carries no session, and its session is sealed', async () => {
    const initialize = {
      jsonrpc: '2.0',
      id: 1,
      method: 'initialize',
      params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'test', version: '1' } },
    }
    const answer = await allowed(
      post(initialize, { 'mcp-session-id': CANARY, 'mcp-protocol-version': undefined }),
    )
    expect(names()).not.toContain('mcp-session-id')
    const session = answer.header('mcp-session-id')!
    expect(session).toMatch(/^v1\./)
    expect(session).not.toContain(UPSTREAM_SESSION)
    upstream.reset()
    await allowed(post(T(SAFE, {}), { 'mcp-session-id': session }))
    expect(upstream.requests()[0]!.header('mcp-session-id')).toBe(UPSTREAM_SESSION)
    expect(upstream.raw()).not.toContain(session)
    upstream.reset()
    // D1: the same session by another person, in each way.
    const bob = () => issuer.mint({ ...people.mona })
    const unknown: Refusal = { status: 404, code: INVALID, reason: 'unknown_session' }
    await refused(postBytes(bob(), T(SAFE), { 'mcp-session-id': session }), { ...unknown, id: 1 })
    for (const method of ['GET', 'DELETE']) {
      await refused(
        requestBytes({
          method,
          headers: [
            ['Host', 'mcp.example.com'],
            ['X-Pomerium-Jwt-Assertion', bob()],
            ['Mcp-Session-Id', session],
          ],
        }),
        unknown,
      )
    }
    await refused(post(T(SAFE), { 'mcp-session-id': `${session}x` }), { ...unknown, id: 1 })
    await refused(post(T(SAFE), { 'mcp-session-id': UPSTREAM_SESSION }), { ...unknown, id: 1 })
    await refused(post(T(SAFE), { 'mcp-session-id': 'a b' }), {
      status: 400,
      code: INVALID,
      reason: 'bad_http',
    })
  })

  test('static: the configured credential in place of whatever came', async () => {
    const other = await startSidecar({
      upstream: upstream.url,
      jwks: issuer.jwks,
      config: {
        plugins: { mcp: { upstream: { authorization: 'static', credential: 'Bearer ${UPSTREAM_TOKEN}' } } },
      },
      env: { UPSTREAM_TOKEN: 'static-secret' },
    })
    try {
      await allowed(post(T(SAFE, {}), NOISE), other)
      expect(upstream.requests()[0]!.headers.filter(([name]) => name === 'authorization')).toEqual([
        ['authorization', 'Bearer static-secret'],
      ])
      expect(upstream.raw()).not.toContain(CANARY)
      expect(other.spool()).not.toContain('static-secret')
    } finally {
      expect(await other.stop()).toBe(0)
    }
  })

  test('forward: the one token that came, never Pomerium’s own, and only with an identity', async () => {
    const other = await startSidecar({
      upstream: upstream.url,
      jwks: issuer.jwks,
      config: { plugins: { mcp: { upstream: { authorization: 'forward' } } } },
    })
    const sentWith = async (authorization: string | undefined) => {
      upstream.reset()
      await allowed(post(T(SAFE, {}), { ...NOISE, authorization }), other)
      return upstream
        .requests()[0]!
        .headers.filter(([name]) => name === 'authorization')
        .map(([, value]) => value)
    }
    try {
      expect(await sentWith('Bearer gho_upstreamtoken')).toEqual(['Bearer gho_upstreamtoken'])
      for (const own of [
        'Pomerium abc',
        'pomerium abc',
        'Bearer Pomerium-abc',
        'bearer pomerium-abc',
        'BEARER  POMERIUM-abc',
        undefined,
      ])
        expect(await sentWith(own)).toEqual([])
      upstream.reset()
      const { answers } = await sendRaw(
        other.port,
        postBytes(undefined, T(SAFE), { authorization: 'Bearer gho_upstreamtoken' }),
      )
      expect(answers[0]!.status).toBe(403)
      expect(upstream.bytes()).toBe(0)
      const twice = requestBytes({
        headers: [
          ['Host', 'x'],
          ['Content-Type', 'application/json'],
          ['Content-Length', String(Buffer.byteLength(T(SAFE)))],
          ['X-Pomerium-Jwt-Assertion', issuer.mint()],
          ['Authorization', 'Bearer a'],
          ['Authorization', 'Bearer b'],
        ],
        body: T(SAFE),
      })
      expect((await sendRaw(other.port, twice)).answers[0]!.status).toBe(400)
      expect(upstream.bytes()).toBe(0)
      expect(other.spool()).not.toContain('gho_upstreamtoken')
      expect(JSON.stringify(other.logs())).not.toContain('gho_upstreamtoken')
    } finally {
      expect(await other.stop()).toBe(0)
    }
  })
})

test('I10 after all of this the process that was started still answers, and every event is in its place', async () => {
  await denied(post(T(EVIL)))
  const records = sidecar.records()
  expect(records.map((event) => event.custom.seq)).toEqual(records.map((_event, i) => i + 1))
  expect(new Set(records.map((event) => event.custom.event_id)).size).toBe(records.length)
  expect(sidecar.logs().filter((line) => line.level >= 50)).toEqual([])
  // What an assertion's parts begin with: fewer letters would be found by chance in the hashes of so many lines.
  for (const start of ['{"alg"', '{"aud"']) expect(sidecar.spool()).not.toContain(encode(start))
})
