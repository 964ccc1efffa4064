import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createIssuer, people } from '../../support/assertions.ts'
import { postBytes, type RawAnswer, sendRaw } from '../../support/raw.ts'
import {
  httpAnswer,
  type Recorded,
  type Recorder,
  type Responder,
  rpcResult,
  sseFrame,
  sseHead,
  startRecorder,
  TOOLS,
  UPSTREAM_SESSION,
} from '../../support/recorder.ts'
import { type EventLine, type Sidecar, type SidecarOptions, startSidecar } from '../../support/sidecar.ts'

/** In what the upstream sends and the client must not get. */
const CANARY = 'canary-91c2'
const issuer = createIssuer()
let upstream: Recorder
let sidecar: Sidecar

const options = (more: object = {}): SidecarOptions => ({
  upstream: upstream.url,
  jwks: issuer.jwks,
  config: { plugins: { mcp: { limits: { message_bytes: 1 << 20 }, upstream: { timeout: '1s', ...more } } } },
})
beforeAll(async () => {
  upstream = await startRecorder()
  sidecar = await startSidecar(options())
})
afterAll(async () => {
  expect(await sidecar.stop()).toBe(0)
  await upstream.close()
})
beforeEach(() => upstream.reset())

const CALL = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'get_me', arguments: {} } }
const LIST = { jsonrpc: '2.0', id: 1, method: 'tools/list' }
const text = (words: string) => ({ content: [{ type: 'text', text: words }] })
const GOOD = rpcResult(1, text('good'))
const LEAK = rpcResult(1, text(CANARY))
const list = (...names: string[]) => ({
  tools: names.map((name) => ({ name, inputSchema: { type: 'object' } })),
})

type Told = { answer: RawAnswer; outcome: EventLine['custom']; records: EventLine[] }

/** Sends one allowed message while the upstream answers as told; what the client gets and the record of how it ended. */
async function ask(message: object, respond: Responder, headers = {}, at = sidecar): Promise<Told> {
  const before = at.records().length
  upstream.respond(respond)
  const { answers, rest } = await sendRaw(at.port, postBytes(issuer.mint(), message, headers))
  expect(answers).toHaveLength(1)
  expect(rest).toHaveLength(0)
  const decision = at
    .records()
    .slice(before)
    .find((event) => event.custom.event === 'decision')!
  expect(decision.custom.disposition).toBe('allowed')
  const records = await at.recordsOf(decision.decision_id, 2)
  expect(records).toHaveLength(2)
  return { answer: answers[0]!, outcome: records[1]!.custom, records: at.records().slice(before) }
}

type Failure = { status?: number; reason: string; end: string }

/** The client gets an error of ours with its id, and nothing that the upstream said. */
async function fails(
  message: object,
  respond: Responder,
  { status = 502, reason, end }: Failure,
): Promise<Told> {
  const told = await ask(message, respond)
  expect(`${told.answer.status} ${told.answer.body}`).toContain(`${status} {`)
  expect(told.answer.json()).toMatchObject({ jsonrpc: '2.0', id: 1, error: { code: 502, data: { reason } } })
  expect(`${JSON.stringify(told.answer.headers)}${told.answer.body}`).not.toContain(CANARY)
  expect(told.outcome).toMatchObject({ event: 'outcome', disposition: 'failed', end })
  return told
}

const malformed: Failure = { reason: 'upstream_malformed', end: 'upstream_failed' }
const broken: Failure = { reason: 'upstream_failed', end: 'upstream_failed' }
const refused: Failure = { reason: 'upstream_refused', end: 'upstream_failed' }
/** The answer was whole, but not one for this client. */
const withheld: Failure = { status: 200, reason: 'upstream_malformed', end: 'not_delivered' }

describe('an answer that is none', () => {
  test.each<[row: string, reply: () => Buffer | string, failure: Failure]>([
    ['F9 another id', () => httpAnswer(200, rpcResult(2, text(CANARY))), withheld],
    ['F9 the id as text', () => httpAnswer(200, rpcResult('1', text(CANARY))), withheld],
    ['F9 no id', () => httpAnswer(200, { jsonrpc: '2.0', result: text(CANARY) }), malformed],
    ['F9 null as id', () => httpAnswer(200, rpcResult(null, text(CANARY))), malformed],
    [
      'F9 a request in place of a response',
      () => httpAnswer(200, { jsonrpc: '2.0', id: 1, method: CANARY }),
      malformed,
    ],
    ['F9 a notification', () => httpAnswer(200, { jsonrpc: '2.0', method: CANARY }), malformed],
    [
      'F4 result and error',
      () => httpAnswer(200, { ...LEAK, error: { code: 1, message: CANARY } }),
      malformed,
    ],
    ['F4 neither', () => httpAnswer(200, { jsonrpc: '2.0', id: 1 }), malformed],
    [
      'a result that is no object',
      () => httpAnswer(200, { jsonrpc: '2.0', id: 1, result: CANARY }),
      malformed,
    ],
    ['another member', () => httpAnswer(200, { ...LEAK, [CANARY]: 1 }), malformed],
    ['a batch', () => httpAnswer(200, [LEAK]), malformed],
    ['two documents', () => httpAnswer(200, JSON.stringify(LEAK).repeat(2)), malformed],
    [
      'a key twice',
      () => httpAnswer(200, `{"jsonrpc":"2.0","id":1,"result":{},"result":{"a":"${CANARY}"}}`),
      malformed,
    ],
    ['F2 byte order mark', () => httpAnswer(200, `\ufeff${JSON.stringify(LEAK)}`), malformed],
    [
      'not UTF-8',
      () => httpAnswer(200, Buffer.from(JSON.stringify(rpcResult(1, text(`${CANARY}\xff`))), 'latin1')),
      malformed,
    ],
    ['cut short, but whole to HTTP', () => httpAnswer(200, JSON.stringify(LEAK).slice(0, -1)), malformed],
    ['empty', () => httpAnswer(200, ''), malformed],
    [
      'F13 gzip',
      () => httpAnswer(200, gzipSync(JSON.stringify(LEAK)), { 'content-encoding': 'gzip' }),
      malformed,
    ],
    ['F13 gzip that is not said', () => httpAnswer(200, gzipSync(JSON.stringify(LEAK))), malformed],
    ['F13 a coding that is none', () => httpAnswer(200, LEAK, { 'content-encoding': CANARY }), malformed],
    [
      'F13 codings in two headers',
      () => httpAnswer(200, LEAK, { 'content-encoding': ['gzip', 'br'] }),
      malformed,
    ],
    ['F1 HTML', () => httpAnswer(200, `<h1>${CANARY}</h1>`, { 'content-type': 'text/html' }), malformed],
    ['F1 JSON that says it is HTML', () => httpAnswer(200, LEAK, { 'content-type': 'text/html' }), malformed],
    ['F1 no type', () => httpAnswer(200, LEAK, { 'content-type': undefined }), malformed],
    [
      'F1 another JSON',
      () => httpAnswer(200, LEAK, { 'content-type': 'application/problem+json' }),
      malformed,
    ],
    ['202 to a request', () => httpAnswer(202, LEAK), malformed],
    ['204 to a request', () => httpAnswer(204, '', { 'content-length': undefined }), malformed],
    ['B24 redirect', () => httpAnswer(302, LEAK, { location: 'http://169.254.169.254/latest' }), malformed],
    [
      'B24 permanent redirect',
      () => httpAnswer(308, LEAK, { location: `http://${CANARY}.example/` }),
      malformed,
    ],
    ['300 and its kin', () => httpAnswer(304, '', { 'content-length': undefined }), malformed],
    [
      'F6 larger than a message may be',
      () => httpAnswer(200, rpcResult(1, text('x'.repeat(1 << 20)))),
      malformed,
    ],
    [
      'B26 100 without being asked',
      () => Buffer.concat([Buffer.from('HTTP/1.1 100 Continue\r\n\r\n'), httpAnswer(200, LEAK)]),
      broken,
    ],
    [
      'B26 101',
      () => 'HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n',
      broken,
    ],
    ['no HTTP', () => `${CANARY}\r\n\r\n`, broken],
    [
      'HTTP with two lengths',
      () =>
        `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}`,
      broken,
    ],
    ['a session id that is none', () => httpAnswer(200, LEAK, { 'mcp-session-id': 'a b' }), malformed],
    [
      'a session id without end',
      () => httpAnswer(200, LEAK, { 'mcp-session-id': 'x'.repeat(300) }),
      malformed,
    ],
  ])('%s', async (_row, reply, failure) => {
    await fails(CALL, reply, failure)
    expect(upstream.requests()).toHaveLength(1)
  })

  test('a call is never repeated', async () => {
    await fails(
      CALL,
      (_request, socket) => {
        socket.destroy()
        return null
      },
      broken,
    )
    expect(upstream.requests()).toHaveLength(1)
  })
  test('the connection is cut within the body', async () => {
    const whole = httpAnswer(200, rpcResult(1, text(CANARY)))
    await fails(
      CALL,
      (_request, socket) => {
        socket.end(whole.subarray(0, -10))
        return null
      },
      broken,
    )
  })
  test('nothing comes: the configured time, then 504', async () => {
    const began = performance.now()
    await fails(CALL, () => null, { status: 504, reason: 'upstream_timeout', end: 'upstream_failed' })
    expect(performance.now() - began).toBeLessThan(4_000)
  })
  test('the body does not come: the same', async () => {
    const half = httpAnswer(200, LEAK).subarray(0, -10)
    await fails(CALL, () => half, { status: 504, reason: 'upstream_timeout', end: 'upstream_failed' })
  })
  test('the body of an error does not come: the same', async () => {
    const half = httpAnswer(500, LEAK).subarray(0, -10)
    await fails(CALL, () => half, { status: 504, reason: 'upstream_timeout', end: 'upstream_failed' })
  })
  test('no upstream at all', async () => {
    const gone = await startRecorder()
    const other = await startSidecar({ ...options(), upstream: gone.url })
    await gone.close()
    try {
      const { answer } = await ask(CALL, () => null, {}, other)
      expect(answer.status).toBe(502)
      expect(answer.json()).toMatchObject({
        id: 1,
        error: { code: 502, data: { reason: 'upstream_failed' } },
      })
      expect(answer.body).not.toMatch(/ECONN|127\.0\.0\.1/)
    } finally {
      expect(await other.stop()).toBe(0)
    }
  })
})

describe('statuses', () => {
  const page = (status: number) =>
    httpAnswer(status, `<h1>${CANARY}</h1>`, { 'content-type': 'text/html', 'www-authenticate': CANARY })
  test.each([401, 402, 403, 406, 409, 418, 429, 500, 501, 503])('%i is a failure', async (status) => {
    await fails(CALL, () => page(status), status < 500 ? refused : broken)
  })
  test.each([400, 404, 405])('trap 21: %i means something to a client', async (status) => {
    const told = await fails(CALL, () => page(status), { ...refused, status })
    expect(told.outcome.status).toBe(status)
  })
  test('F12 a list in an error', async () => {
    await fails(LIST, () => httpAnswer(500, rpcResult(1, list(CANARY))), broken)
  })
  test('an error of the protocol keeps its words, under its own id only', async () => {
    const error = { code: -32602, message: 'No such tool' }
    const { answer, outcome } = await ask(CALL, () => httpAnswer(400, { jsonrpc: '2.0', id: 1, error }))
    expect(answer.status).toBe(400)
    expect(answer.json()).toEqual({ jsonrpc: '2.0', id: 1, error })
    expect(outcome).toMatchObject({ rpc_error: -32602, status: 400 })
    await fails(CALL, () => httpAnswer(400, { jsonrpc: '2.0', id: 2, error: { code: 1, message: CANARY } }), {
      ...refused,
      status: 400,
    })
  })
  test.each([401, 403, 410, 429, 500, 503])(
    'an error of the protocol does not carry %i through',
    async (status) => {
      const error = { code: 1, message: CANARY }
      await fails(
        CALL,
        () => httpAnswer(status, { jsonrpc: '2.0', id: 1, error }),
        status < 500 ? refused : broken,
      )
    },
  )
  test('401 passes only where Pomerium brings the upstream’s token', async () => {
    const other = await startSidecar(options({ authorization: 'forward' }))
    try {
      const { answer, outcome } = await ask(CALL, () => page(401), {}, other)
      expect(answer.status).toBe(401)
      expect(answer.body).not.toContain(CANARY)
      expect(answer.header('www-authenticate')).toBe(undefined)
      expect(outcome).toMatchObject({ end: 'upstream_failed', status: 401 })
    } finally {
      await other.stop()
    }
  })
})

describe('what is delivered', () => {
  const SHOWN = ['get_me', 'issue_read', 'create_pull_request']
  const names = (answer: RawAnswer) => answer.json().result.tools.map((tool: { name: string }) => tool.name)

  test('a result, written anew', async () => {
    const { answer, outcome } = await ask(CALL, () =>
      httpAnswer(200, ' {"result" : {"content":[],"n":1.0},\n"id":1,"jsonrpc":"2.0"} '),
    )
    expect(answer.body).toBe('{"jsonrpc":"2.0","id":1,"result":{"content":[],"n":1}}')
    expect(outcome).toMatchObject({
      disposition: 'allowed',
      end: 'complete',
      status: 200,
      tool_error: false,
      method: 'tools/call',
    })
  })
  test('an error of a tool', async () => {
    const { outcome } = await ask(CALL, () => httpAnswer(200, rpcResult(1, { ...text('no'), isError: true })))
    expect(outcome).toMatchObject({ end: 'complete', tool_error: true })
  })
  test('B23 headers of the upstream stay there', async () => {
    const { answer } = await ask(CALL, () =>
      httpAnswer(200, GOOD, {
        'set-cookie': CANARY,
        server: CANARY,
        'x-powered-by': CANARY,
        'x-pomerium-claim-email': CANARY,
        'www-authenticate': CANARY,
        location: `http://${CANARY}/`,
        'alt-svc': CANARY,
        'access-control-allow-origin': '*',
        'cache-control': 'public, max-age=999',
        etag: CANARY,
        link: CANARY,
        'mcp-session-id': CANARY,
      }),
    )
    expect(answer.json()).toEqual(GOOD)
    expect(JSON.stringify(answer.headers)).not.toContain(CANARY)
    expect(answer.headers.map(([name]) => name).sort()).toEqual([
      'cache-control',
      'connection',
      'content-length',
      'content-type',
      'date',
      'keep-alive',
    ])
    expect(answer.header('cache-control')).toBe('no-store')
  })
  test.each<[row: string, status: number, type: string]>([
    ['as it should be', 200, 'application/json'],
    ['capitals', 200, 'Application/JSON'],
    ['a parameter', 200, 'application/json ; charset=utf-8'],
    ['201', 201, 'application/json'],
    ['203', 203, 'application/json'],
    ['206', 206, 'application/json'],
  ])('F1 a list is narrowed, whatever its label: %s', async (_row, status, type) => {
    const { answer, outcome } = await ask(LIST, () =>
      httpAnswer(status, rpcResult(1, list(...TOOLS)), { 'content-type': type }),
    )
    expect(names(answer)).toEqual(SHOWN)
    expect(outcome).toMatchObject({ listed: 5, hidden: 2 })
  })
  test('trap 11: F3 a list is narrowed in a stream too, however it is cut', async () => {
    const pretty = JSON.stringify(rpcResult(1, list(...TOOLS)), null, 1)
    const stream = `\ufeff: hello\r\revent: message\rdata: ${pretty.replaceAll('\n', '\rdata: ')}\r\r`
    const { answer } = await ask(LIST, (_request, socket) => {
      socket.write(sseHead())
      let at = 0
      const bytes = Buffer.from(stream)
      const next = () => {
        if (at >= bytes.length) return socket.end()
        socket.write(bytes.subarray(at, at + 37))
        at += 37
        setImmediate(next)
      }
      next()
      return null
    })
    expect(names(answer)).toEqual(SHOWN)
    expect(answer.body).not.toContain('merge_pull_request')
  })
  test('G3 two things of one name: the list is not delivered', async () => {
    await fails(LIST, () => httpAnswer(200, rpcResult(1, list('get_me', 'issue_read', 'get_me'))), withheld)
  })
  test.each<[row: string, result: object]>([
    ['no list', { content: CANARY }],
    ['a list that is none', { tools: { 0: { name: CANARY } } }],
    ['things that are none', { tools: [CANARY] }],
    ['a thing without a name', { tools: [{ title: CANARY }] }],
    ['a name that is no text', { tools: [{ name: [CANARY] }] }],
  ])('a list that cannot be narrowed: %s', async (_row, result) => {
    await fails(LIST, () => httpAnswer(200, rpcResult(1, result)), withheld)
  })
  test('an empty list, and what goes with a list', async () => {
    const { answer } = await ask(LIST, () => httpAnswer(200, rpcResult(1, { tools: [], nextCursor: 'c' })))
    expect(answer.json().result).toEqual({ tools: [], nextCursor: 'c' })
  })

  const META = {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientCapabilities': {},
  }
  const modern = (method: string, name?: string) => ({
    'mcp-protocol-version': '2026-07-28',
    'mcp-method': method,
    ...(name && { 'mcp-name': name }),
  })
  test('E10 what was narrowed for one is not cached for all', async () => {
    const result = { resultType: 'complete', ...list(...TOOLS), ttlMs: 60_000, cacheScope: 'public' }
    const { answer } = await ask(
      { ...LIST, params: { _meta: META } },
      () => httpAnswer(200, rpcResult(1, result)),
      modern('tools/list'),
    )
    expect(answer.json().result.cacheScope).toBe('private')
    expect(names(answer)).toEqual(SHOWN)
  })
  test('E8 a result that asks the client for something is withheld, and says so', async () => {
    const required = {
      resultType: 'input_required',
      inputRequests: { a: { method: 'elicitation/create', params: { message: CANARY } } },
      requestState: CANARY,
    }
    const message = { ...CALL, params: { ...CALL.params, _meta: META } }
    const { answer, outcome } = await ask(
      message,
      () => httpAnswer(200, rpcResult(1, required)),
      modern('tools/call', 'get_me'),
    )
    expect(answer.body).not.toContain(CANARY)
    expect(answer.json().result).toMatchObject({ isError: true, resultType: 'complete' })
    expect(answer.json().result.content[0].text).toContain('withheld')
    expect(outcome).toMatchObject({ end: 'not_delivered', cause: { code: 'inner_request' } })
  })
  test('E8 -32042, a request in the dress of an error', async () => {
    const error = {
      code: -32042,
      message: CANARY,
      data: { elicitations: [{ mode: 'url', url: `https://${CANARY}/` }] },
    }
    for (const status of [200, 400]) {
      const { answer, outcome } = await ask(CALL, () => httpAnswer(status, { jsonrpc: '2.0', id: 1, error }))
      expect(answer.body).not.toContain(CANARY)
      expect(answer.json().result.isError).toBe(true)
      expect(outcome).toMatchObject({ end: 'not_delivered', cause: { code: 'inner_request' } })
    }
  })
})

describe('streams', () => {
  const note = (words: string) => ({
    jsonrpc: '2.0',
    method: 'notifications/message',
    params: { level: 'info', data: words },
  })
  const streamed =
    (...frames: string[]) =>
    () =>
      Buffer.from(sseHead() + frames.join(''))
  /** Frames of an event stream, which must be written in the one form. */
  const framesOf = (answer: RawAnswer) => {
    expect(answer.header('content-type')).toBe('text/event-stream')
    const parts = answer.body.split('\n\n').slice(0, -1)
    return parts.map((part) => {
      const found = /^event: message\n(?:id: v1\.[\w-]+\n)?(?:retry: \d+\n)?data: (\{.*\})$/.exec(part)
      expect(found, part).not.toBe(null)
      return JSON.parse(found![1]!)
    })
  }

  test('a response that comes at once stays a stream of one message', async () => {
    const { answer, outcome } = await ask(CALL, streamed(sseFrame(GOOD)))
    expect(answer.header('content-type')).toBe('text/event-stream')
    expect(answer.json()).toEqual(GOOD)
    expect(outcome).toMatchObject({ frames: 1, end: 'complete' })
  })
  test('notifications go on, in the one form of frames', async () => {
    const { answer, outcome } = await ask(
      CALL,
      streamed(`id: ${CANARY}\nretry: 1\n${sseFrame(note('a\n\nevent: x'))}`, sseFrame(GOOD)),
    )
    expect(framesOf(answer)).toEqual([note('a\n\nevent: x'), GOOD])
    expect(answer.body).not.toContain(CANARY)
    expect(outcome).toMatchObject({ frames: 2, dropped: 0, end: 'complete' })
  })
  test('F9 after the response there is nothing', async () => {
    const { answer } = await ask(
      CALL,
      streamed(sseFrame(note('a')), sseFrame(GOOD), sseFrame(LEAK), sseFrame(note(CANARY))),
    )
    expect(framesOf(answer)).toEqual([note('a'), GOOD])
  })
  test.each<[row: string, frame: string]>([
    [
      'an unknown notification',
      sseFrame({ jsonrpc: '2.0', method: 'notifications/unknown', params: { a: CANARY } }),
    ],
    ['no JSON', `data: ${CANARY}\n\n`],
    [
      'two messages in one event',
      `data: ${JSON.stringify(note(CANARY))}\ndata: ${JSON.stringify(note(CANARY))}\n\n`,
    ],
    ['a batch', sseFrame([note(CANARY)] as object)],
    [
      'a key twice',
      `data: {"jsonrpc":"2.0","method":"notifications/message","method":"notifications/message","params":{"data":"${CANARY}"}}\n\n`,
    ],
    ['a byte order mark', `data: \ufeff${JSON.stringify(note(CANARY))}\n\n`],
  ])('I8 not delivered, and counted: %s', async (_row, frame) => {
    const { answer, outcome } = await ask(CALL, streamed(sseFrame(note('a')), frame, sseFrame(GOOD)))
    expect(framesOf(answer)).toEqual([note('a'), GOOD])
    expect(outcome).toMatchObject({ frames: 3, dropped: 1, end: 'complete' })
  })
  test('an event of another name is no message', async () => {
    const { answer } = await ask(
      CALL,
      streamed(`event: other\ndata: ${JSON.stringify(LEAK)}\n\n`, sseFrame(GOOD)),
    )
    expect(answer.json()).toEqual(GOOD)
  })
  test('F9 a response with another id ends it', async () => {
    const { answer, outcome } = await ask(
      CALL,
      streamed(sseFrame(rpcResult(2, text(CANARY))), sseFrame(GOOD)),
    )
    expect(answer.json()).toMatchObject({
      id: 1,
      error: { code: 502, data: { reason: 'upstream_malformed' } },
    })
    expect(outcome).toMatchObject({ end: 'not_delivered', disposition: 'failed' })
  })

  const cut =
    (bytes: string | Buffer): Responder =>
    (_request, socket) => {
      socket.write(sseHead())
      setTimeout(() => socket.write(sseFrame(note('a'))), 10)
      setTimeout(() => socket.end(bytes), 50)
      return null
    }
  test.each<[row: string, bytes: string | Buffer]>([
    ['within a frame', `event: message\ndata: ${JSON.stringify(LEAK).slice(0, -3)}`],
    ['after a line', `event: message\ndata: ${JSON.stringify(LEAK)}\n`],
    ['between frames', ''],
    ['by bytes that are not UTF-8', Buffer.from(`data: "${CANARY}\xff"\n\n`, 'latin1')],
    ['by a frame that is too large', `data: ${CANARY.repeat(1 << 17)}`],
  ])('F14 cut %s: no part of a frame, and an error under the id', async (_row, bytes) => {
    const { answer, outcome } = await ask(CALL, cut(bytes))
    const [first, last, ...more] = framesOf(answer)
    expect(first).toEqual(note('a'))
    expect(last).toMatchObject({
      jsonrpc: '2.0',
      id: 1,
      error: { code: 502, data: { reason: 'upstream_failed' } },
    })
    expect(more).toEqual([])
    expect(answer.body).not.toContain(CANARY)
    expect(outcome).toMatchObject({ end: 'upstream_failed', disposition: 'failed' })
  })
  test('F14 the connection is reset', async () => {
    const { answer } = await ask(CALL, (_request, socket) => {
      socket.write(sseHead() + sseFrame(note('a')))
      setTimeout(() => socket.resetAndDestroy(), 50)
      return null
    })
    expect(framesOf(answer).at(-1)).toMatchObject({ id: 1, error: { code: 502 } })
  })
  test('a stream that says nothing for longer than the time for an answer lives on', async () => {
    const { answer } = await ask(CALL, (_request, socket) => {
      socket.write(sseHead())
      setTimeout(() => socket.end(sseFrame(GOOD)), 2_200)
      return null
    })
    expect(framesOf(answer)).toEqual([GOOD])
  })

  const serverRequest = (method: string, id: unknown = 'server-1') => ({
    jsonrpc: '2.0',
    id,
    method,
    params: { message: CANARY },
  })
  test.each<[method: string, answer: object]>([
    ['elicitation/create', { result: { action: 'decline' } }],
    ['sampling/createMessage', { error: { code: -1, message: 'Refused by policy' } }],
    ['roots/list', { error: { code: -1, message: 'Refused by policy' } }],
    [CANARY, { error: { code: -1, message: 'Refused by policy' } }],
  ])('%s to the client is declined towards the upstream, under its id', async (method, expected) => {
    for (const id of ['server-1', 7]) {
      upstream.reset()
      let declined: Recorded | undefined
      const { answer, outcome, records } = await ask(CALL, async (request, socket) => {
        if (request.json.method === undefined) {
          declined = request
          return httpAnswer(202)
        }
        socket.write(sseHead() + sseFrame(serverRequest(method, id)))
        for (let i = 0; i < 100 && !declined; i++) await new Promise((next) => setTimeout(next, 10))
        socket.end(sseFrame(GOOD))
        return null
      })
      expect(answer.body).not.toContain(CANARY)
      expect(answer.json()).toEqual(GOOD)
      expect(declined?.json).toEqual({ jsonrpc: '2.0', id, ...expected })
      expect(declined?.headers.map(([name]) => name).sort()).toEqual([
        'accept',
        'accept-encoding',
        'connection',
        'content-length',
        'content-type',
        'host',
        'mcp-protocol-version',
      ])
      expect(outcome).toMatchObject({ dropped: 1, end: 'complete' })
      // What the table knows is decided; what it does not is refused.
      const record = records.find(
        (event) => event.custom.event === 'reject' || event.input?.direction === 'to_client',
      )!
      expect(record).toMatchObject(
        method === CANARY
          ? { custom: { cause: { code: 'server_request_unsupported' }, subject: 'alice-sub-1' } }
          : {
              input: { direction: 'to_client', method, parent: { method: 'tools/call' } },
              result: { allow: false },
            },
      )
    }
  })

  test('requests to the client without end: a few are declined, and the stream is cut', async () => {
    let declines = 0
    const { answer, outcome, records } = await ask(CALL, (request, socket) => {
      if (request.json.method === undefined) {
        declines++
        // Unanswered, they would be sent on when those before them are given up, into the next test.
        return httpAnswer(202)
      }
      const flood = Array.from({ length: 2000 }, (_, id) =>
        sseFrame(serverRequest('sampling/createMessage', id)),
      )
      socket.write(sseHead() + flood.join(''))
      return null
    })
    expect(answer.json()).toMatchObject({ id: 1, error: { data: { reason: 'upstream_malformed' } } })
    expect(answer.body).not.toContain(CANARY)
    expect(outcome).toMatchObject({
      end: 'upstream_failed',
      cause: { code: 'upstream_malformed' },
      disposition: 'failed',
    })
    expect(records.filter((event) => event.input?.direction === 'to_client')).toHaveLength(17)
    expect(declines).toBeLessThanOrEqual(16)
  })
})

describe('the handshake', () => {
  const INITIALIZE = {
    jsonrpc: '2.0',
    id: 1,
    method: 'initialize',
    params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 't', version: '1' } },
  }
  const none = { 'mcp-protocol-version': undefined }
  const result = { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 's', version: '1' } }

  test('in a stream: one message, with the session sealed', async () => {
    const stream = `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nmcp-session-id: ${UPSTREAM_SESSION}\r\nconnection: close\r\n\r\n${sseFrame(rpcResult(1, result))}`
    const { answer } = await ask(INITIALIZE, () => Buffer.from(stream), none)
    expect(answer.json()).toEqual(rpcResult(1, result))
    expect(answer.header('mcp-session-id')).toMatch(/^v1\./)
  })
  test('a version that nobody knows is not delivered', async () => {
    for (const protocolVersion of ['2099-01-01', 1, undefined]) {
      const { answer } = await ask(
        INITIALIZE,
        () => httpAnswer(200, rpcResult(1, { ...result, protocolVersion })),
        none,
      )
      expect(answer.json()).toMatchObject({ error: { code: 502, data: { reason: 'upstream_malformed' } } })
      expect(answer.header('mcp-session-id')).toBe(undefined)
    }
  })
  test('no session where the upstream has none', async () => {
    const { answer } = await ask(INITIALIZE, () => httpAnswer(200, rpcResult(1, result)), none)
    expect(answer.header('mcp-session-id')).toBe(undefined)
  })
})

describe('connections', () => {
  test('B25 an answer that nobody asked for is nobody’s', async () => {
    const poison = Buffer.concat([httpAnswer(200, GOOD), httpAnswer(200, LEAK)])
    expect((await ask(CALL, () => poison)).answer.json()).toEqual(GOOD)
    for (let i = 0; i < 5; i++) {
      const { answer } = await ask(CALL, () => httpAnswer(200, GOOD))
      expect(answer.json()).toEqual(GOOD)
    }
  })
  test('B25 an answer that comes late goes to nobody', async () => {
    expect(
      (
        await ask(CALL, (_request, socket) => {
          setTimeout(() => socket.writable && socket.write(httpAnswer(200, LEAK)), 30)
          return httpAnswer(200, GOOD)
        })
      ).answer.json(),
    ).toEqual(GOOD)
    await new Promise((next) => setTimeout(next, 60))
    expect((await ask(CALL, () => httpAnswer(200, GOOD))).answer.json()).toEqual(GOOD)
  })
  test('trap 15: D6 the same id from many at once: each gets its own', async () => {
    upstream.respond(async (request) => {
      await new Promise((next) => setTimeout(next, Math.random() * 20))
      return httpAnswer(200, rpcResult(request.json.id, text(request.json.params.arguments.mark)))
    })
    const marks = Array.from({ length: 100 }, (_, i) => `mark-${i}`)
    await Promise.all(
      marks.map(async (mark) => {
        const body = { ...CALL, params: { name: 'get_me', arguments: { mark } } }
        // Somebody who has seen no list, so that the argument is not known to be undeclared.
        const { answers } = await sendRaw(sidecar.port, postBytes(issuer.mint({ ...people.mona }), body))
        expect(answers[0]!.json().result).toEqual(text(mark))
      }),
    )
  })
  test('trap 19: a client that goes away takes its call along, and it is on record', async () => {
    const before = sidecar.records().length
    let closed = false
    upstream.respond((_request, socket) => {
      socket.on('close', () => {
        closed = true
      })
      return null
    })
    await sendRaw(sidecar.port, postBytes(issuer.mint(), CALL), { timeout: 200 })
    const decision = sidecar
      .records()
      .slice(before)
      .find((event) => event.custom.event === 'decision')!
    const [, outcome] = await sidecar.recordsOf(decision.decision_id, 2)
    expect(outcome?.custom).toMatchObject({ event: 'outcome', end: 'client_gone', disposition: 'allowed' })
    expect(outcome?.custom).not.toHaveProperty('status')
    expect(outcome?.custom).not.toHaveProperty('cause')
    await expect.poll(() => closed).toBe(true)
  })
})

describe('notifications', () => {
  const NOTIFICATION = { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } }
  const send = async (respond: Responder) => {
    const params = {
      protocolVersion: '2025-11-25',
      capabilities: {},
      clientInfo: { name: 'c', version: '1' },
    }
    const initialize = { jsonrpc: '2.0', id: 1, method: 'initialize', params }
    const started = await sendRaw(sidecar.port, postBytes(issuer.mint(), initialize))
    const headers = { 'mcp-session-id': started.answers[0]!.header('mcp-session-id') }
    upstream.respond(respond)
    return (await sendRaw(sidecar.port, postBytes(issuer.mint(), NOTIFICATION, headers))).answers[0]!
  }
  test('202, and nothing that the upstream says to it', async () => {
    const answer = await send(() => httpAnswer(200, LEAK, { 'set-cookie': CANARY }))
    expect(answer.status).toBe(202)
    expect(`${JSON.stringify(answer.headers)}${answer.body}`).not.toContain(CANARY)
  })
  test('a failure of the upstream is one', async () => {
    const answer = await send(() => httpAnswer(500, CANARY))
    expect(answer.status).toBe(502)
    expect(answer.body).not.toContain(CANARY)
  })
})
