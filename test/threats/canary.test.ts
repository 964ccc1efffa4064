// 1.I, I3: a credential that is planted in every place that a request has is in no record, log, metric or answer.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createIssuer } from '../support/assertions.ts'
import { postBytes, sendRaw } from '../support/raw.ts'
import { type Recorder, startRecorder } from '../support/recorder.ts'
import { type Sidecar, startSidecar } from '../support/sidecar.ts'

const issuer = createIssuer()
let upstream: Recorder
let sidecar: Sidecar
const answers: string[] = []
beforeAll(async () => {
  upstream = await startRecorder()
  sidecar = await startSidecar({
    upstream: upstream.url,
    jwks: issuer.jwks,
    config: { plugins: { mcp: { upstream: { authorization: 'forward' } } } },
  })
})
afterAll(async () => {
  expect(await sidecar.stop()).toBe(0)
  await upstream.close()
})

/** Of the form of a GitHub token, another for each place. */
const canary = (place: string) => `ghp_CANARY${place}${'0'.repeat(30)}`.slice(0, 40)
const legacy = { jsonrpc: '2.0', id: 1 }
const call = (name: string, args: object, more: object = {}) => ({
  ...legacy,
  method: 'tools/call',
  params: { name, arguments: args, ...more },
})
const modern = (params: object, method = 'tools/call', meta: object = {}) => ({
  jsonrpc: '2.0',
  id: 2,
  method,
  params: {
    ...params,
    _meta: {
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientInfo': { name: canary('client'), version: canary('version') },
      'io.modelcontextprotocol/clientCapabilities': {},
      ...meta,
    },
  },
})

const BODIES: [place: string, body: object][] = [
  ['arguments', call('get_me', { note: canary('value'), text: `a ${canary('within')} b` })],
  ['secret keys', call('get_me', { password: 'CANARY-plain', nested: [{ apiKey: 'CANARY-plain-2' }] })],
  ['keys', call('get_me', { [canary('key')]: 1, nested: { [canary('nested')]: { a: 1 } } })],
  ['denied arguments', call('delete_repository', { note: canary('denied'), [canary('deniedkey')]: 1 })],
  ['a long argument', call('get_me', { note: `${canary('long')} ${'x'.repeat(20_000)}` })],
  ['the id', { ...call('get_me', {}), id: canary('id') }],
  ['the id of what is denied', { ...call('delete_repository', {}), id: canary('deniedid') }],
  ['the name of the tool', call(canary('tool'), {})],
  ['the method', { ...legacy, method: canary('method') }],
  ['another member', { ...legacy, method: 'tools/list', [canary('member')]: 1 }],
  [
    '_meta',
    call(
      'get_me',
      {},
      {
        _meta: {
          [canary('metakey')]: canary('meta'),
          progressToken: canary('progress'),
          traceparent: canary('traceparent'),
        },
      },
    ),
  ],
  [
    'the handshake',
    {
      ...legacy,
      method: 'initialize',
      params: {
        protocolVersion: '2025-11-25',
        capabilities: { experimental: { [canary('capability')]: {} } },
        clientInfo: { name: canary('clientname'), version: canary('clientversion') },
      },
    },
  ],
  [
    'the revision',
    {
      ...legacy,
      method: 'initialize',
      params: {
        protocolVersion: canary('revision'),
        capabilities: {},
        clientInfo: { name: 'a', version: '1' },
      },
    },
  ],
  [
    'a resource',
    {
      ...legacy,
      method: 'resources/read',
      params: { uri: `https://user:${canary('uri')}@example.com/${canary('path')}` },
    },
  ],
  [
    'a query',
    {
      ...legacy,
      method: 'resources/read',
      params: { uri: `https://example.com/?access_token=${canary('query')}` },
    },
  ],
  [
    'a prompt',
    {
      ...legacy,
      method: 'prompts/get',
      params: { name: canary('prompt'), arguments: { a: canary('promptarg') } },
    },
  ],
  [
    'a completion',
    {
      ...legacy,
      method: 'completion/complete',
      params: {
        ref: { type: 'ref/prompt', name: canary('ref') },
        argument: { name: canary('argname'), value: canary('argvalue') },
      },
    },
  ],
  [
    'a subscription',
    {
      ...legacy,
      method: 'resources/subscribe',
      params: { uri: `https://example.com/${canary('subscribed')}` },
    },
  ],
  [
    'other params',
    { ...legacy, method: 'tools/list', params: { cursor: canary('cursor'), [canary('param')]: 1 } },
  ],
  [
    'a cancelled request',
    {
      jsonrpc: '2.0',
      method: 'notifications/cancelled',
      params: { requestId: canary('cancelled'), reason: canary('reason') },
    },
  ],
  ['an answer', { jsonrpc: '2.0', id: canary('answered'), result: { a: canary('result') } }],
  [
    'a modern call',
    modern({ name: 'get_me', arguments: { a: canary('modern') } }, 'tools/call', {
      [`x/${canary('modernmeta')}`]: canary('modernvalue'),
    }),
  ],
  ['a task', call('get_me', {}, { task: { ttl: 1, [canary('task')]: canary('taskvalue') } })],
]
const HEADERS: [name: string, value: string][] = [
  ['authorization', `Bearer ${canary('authorization')}`],
  ['cookie', `a=${canary('cookie')}`],
  ['x-api-key', canary('apikey')],
  ['user-agent', canary('agent')],
  ['mcp-session-id', canary('session')],
  ['mcp-protocol-version', canary('headerversion')],
  ['mcp-method', canary('headermethod')],
  ['mcp-name', canary('headername')],
  ['mcp-param-x', canary('headerparam')],
  ['last-event-id', canary('event')],
  ['traceparent', canary('trace')],
  ['tracestate', `a=${canary('tracestate')}`],
  ['baggage', `a=${canary('baggage')}`],
  ['x-request-id', canary('request')],
  ['x-forwarded-for', canary('forwarded')],
  ['origin', `https://${canary('origin')}.example.com`],
  ['accept', `application/json, text/event-stream, x/${canary('accept')}`],
  ['content-type', `application/json; a=${canary('type')}`],
  ['content-encoding', canary('encoding')],
  ['expect', canary('expect')],
  ['host', `${canary('host')}.example.com`],
  ['x-pomerium-claim-email', canary('claimheader')],
]
const send = async (bytes: Buffer) => {
  const { answers: got } = await sendRaw(sidecar.port, bytes)
  for (const { body } of got) answers.push(body)
}
/** A JSON-RPC answer has the id of its request: the protocol asks for that, and it goes to who sent it. */
const withoutIds = (text: string) => text.replaceAll(/"id":"[^"]*"/g, '"id":0')

test('trap 34: a credential planted anywhere is in no record, log, metric or answer', async () => {
  for (const [, body] of BODIES) await send(postBytes(issuer.mint(), body))
  for (const [name, value] of HEADERS) {
    for (const body of [call('get_me', {}), call('delete_repository', {}), { a: 1 }])
      await send(postBytes(issuer.mint(), body, { [name]: value }))
  }
  const tooMuch = { ...call('get_me', {}), method: 'x' }
  await send(postBytes(issuer.mint({ sub: canary('subject'), user: canary('subject') }), tooMuch))
  // The assertion itself: whole and broken, and what it claims.
  const assertion = issuer.mint({
    name: canary('name'),
    jti: canary('jti'),
    [canary('claimkey')]: canary('claim'),
  })
  await send(postBytes(assertion, call('get_me', {})))
  await send(postBytes(assertion, call('get_me', {})))
  await send(postBytes(`${assertion}CANARY`, call('get_me', {})))
  await send(postBytes(canary('assertion'), call('get_me', {})))
  // The URL, and what is no HTTP at all.
  for (const path of [
    `/mcp?token=${canary('urlquery')}`,
    `/mcp/${canary('urlpath')}`,
    `/${canary('urlroot')}`,
  ])
    await send(
      Buffer.from(`POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`),
    )
  await send(Buffer.from(`${canary('verb')} /mcp HTTP/1.1\r\nhost: x\r\n\r\n`))
  for (const text of [
    `{"a":"${canary('cut')}`,
    `{"${canary('twice')}":1,"${canary('twice')}":2}`,
    canary('nojson'),
  ])
    await send(postBytes(issuer.mint(), text))

  await expect.poll(() => sidecar.records().length).toBeGreaterThan(BODIES.length + HEADERS.length)
  // Something of it went where it was sent, or nothing would have been tested.
  expect(upstream.raw()).toContain(canary('value'))
  expect(upstream.raw()).toContain(canary('authorization'))
  const pieces = assertion.split('.')
  const metrics = await (await fetch(`${sidecar.admin}/metrics`)).text()
  const health = await (await fetch(`${sidecar.admin}/health?plugins&bundles`)).text()
  const status = await (await fetch(`${sidecar.admin}/v1/status`)).text()
  for (const [where, text] of [
    ['record', sidecar.spool()],
    ['log', JSON.stringify(sidecar.logs())],
    ['metrics', metrics],
    ['health', health],
    ['status', status],
    ['answers', answers.map(withoutIds).join('\n')],
  ] as const) {
    const found = text.match(/.{0,120}CANARY.{0,40}/g)
    expect(found, where).toBe(null)
    for (const piece of pieces) expect(text.includes(piece), where).toBe(false)
  }
})

test('what is recorded in place of it says that it was there', async () => {
  const events = sidecar.records().filter(({ custom }) => custom.event === 'decision')
  const secret = events.find(({ masked }) => masked?.includes('/input/arguments/password'))
  expect(secret?.input.arguments).toEqual({ password: '***', nested: [{ apiKey: '***' }] })
  expect(events.some(({ masked }) => masked?.includes('/input/arguments/note'))).toBe(true)
})
