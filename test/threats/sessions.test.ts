// 1.D: whose session it is. The oracle is an upstream that records every byte.
import { connect } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createIssuer, people } from '../support/assertions.ts'
import { postBytes, requestBytes, sendRaw } from '../support/raw.ts'
import { type Recorder, sseFrame, sseHead, startRecorder, UPSTREAM_SESSION } from '../support/recorder.ts'
import { type Sidecar, startSidecar } from '../support/sidecar.ts'

const issuer = createIssuer()
let upstream: Recorder
let sidecar: Sidecar
let session: string

const call = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'get_me', arguments: {} } }
const hello = {
  jsonrpc: '2.0',
  id: 0,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 't', version: '1' } },
}
const as = (who: object, of: string | undefined, more: Record<string, string> = {}) => ({
  host: 'mcp.example.com',
  'x-pomerium-jwt-assertion': issuer.mint({ ...who }),
  'mcp-protocol-version': '2025-11-25',
  ...(of !== undefined && { 'mcp-session-id': of }),
  ...more,
})
const verb = (method: string, headers: Record<string, string>) =>
  requestBytes({ method, headers: Object.entries(headers) })
const open = async (at: Sidecar, who: object) => {
  const { answers } = await sendRaw(at.port, postBytes(issuer.mint({ ...who }), hello))
  return answers[0]?.header('mcp-session-id') ?? ''
}

beforeAll(async () => {
  upstream = await startRecorder()
  sidecar = await startSidecar({ upstream: upstream.url, jwks: issuer.jwks })
  session = await open(sidecar, people.alice)
})
afterAll(async () => {
  expect(await sidecar.stop()).toBe(0)
  await upstream.close()
})
beforeEach(() => upstream.reset())

test('D3 what a client holds is ours, not the id of the upstream, and is another one each time', async () => {
  expect(session).not.toContain(UPSTREAM_SESSION)
  expect(await open(sidecar, people.alice)).not.toBe(session)
  const { answers } = await sendRaw(
    sidecar.port,
    postBytes(undefined, call, as(people.alice, UPSTREAM_SESSION)),
  )
  expect(answers[0]?.status).toBe(404)
})

describe('trap 18: another person’s session is no session', () => {
  test.each([
    ['D1 POST', () => postBytes(undefined, call, as(people.mona, session))],
    [
      'D1 POST of a notification',
      () =>
        postBytes(
          undefined,
          { jsonrpc: '2.0', method: 'notifications/initialized' },
          as(people.mona, session),
        ),
    ],
    ['D4 GET', () => verb('GET', as(people.mona, session, { accept: 'text/event-stream' }))],
    [
      'D5 GET that resumes',
      () => verb('GET', as(people.mona, session, { accept: 'text/event-stream', 'last-event-id': '1' })),
    ],
    ['D9 DELETE', () => verb('DELETE', as(people.mona, session))],
    [
      'D1 the same subject at another audience',
      () => postBytes(undefined, call, as({ ...people.alice, aud: 'other.example.com' }, session)),
    ],
  ])('%s', async (_row, bytes) => {
    const { answers } = await sendRaw(sidecar.port, bytes())
    expect([400, 403, 404]).toContain(answers[0]?.status)
    expect(upstream.bytes()).toBe(0)
  })
})

test('D4 a stream goes on while others knock', async () => {
  let feed: ((text: string) => void) | undefined
  upstream.respond(({ method }, socket) => {
    if (method !== 'GET') return undefined
    feed = (text) => void socket.write(text)
    return sseHead()
  })
  const socket = connect({ port: sidecar.port, host: '127.0.0.1' })
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk
  })
  socket.write(verb('GET', as(people.alice, session, { accept: 'text/event-stream' })))
  await expect.poll(() => feed).toBeDefined()
  const knock = verb('GET', as(people.mona, session, { accept: 'text/event-stream' }))
  expect((await sendRaw(sidecar.port, knock)).answers[0]?.status).toBe(404)
  feed?.(sseFrame({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' }))
  await expect.poll(() => text).toContain('list_changed')
  expect(upstream.requests().filter(({ method }) => method === 'GET')).toHaveLength(1)
  socket.destroy()
})

test.each([
  [
    'D8 twice',
    [
      ['mcp-session-id', 'S'],
      ['mcp-session-id', 'S'],
    ],
    400,
  ],
  ['D8 two in one', [['mcp-session-id', 'S, S']], 400],
  ['D8 too long', [['mcp-session-id', 'x'.repeat(5000)]], 400],
  ['D8 not visible ASCII', [['mcp-session-id', 'a\x7fb']], 400],
  ['D8 empty', [['mcp-session-id', '']], 400],
  ['D2 made up', [['mcp-session-id', 'made-up']], 404],
] as [string, [string, string][], number][])('%s', async (_row, ids, status) => {
  const body = JSON.stringify(call)
  const headers: [string, string][] = [
    ...Object.entries(as(people.alice, undefined)),
    ['content-type', 'application/json'],
    ['content-length', String(body.length)],
    ...ids.map(([name, value]): [string, string] => [name, value.replaceAll('S', session)]),
  ]
  const { answers } = await sendRaw(sidecar.port, requestBytes({ headers, body }))
  expect(answers[0]?.status).toBe(status)
  expect(upstream.bytes()).toBe(0)
})

test('any bit of a session that is changed makes it none', async () => {
  for (let at = 0; at < session.length; at += 7) {
    const flipped = session.charAt(at) === 'A' ? 'B' : 'A'
    const changed = session.slice(0, at) + flipped + session.slice(at + 1)
    const { answers } = await sendRaw(sidecar.port, postBytes(undefined, call, as(people.alice, changed)))
    expect(answers[0]?.status, String(at)).toBe(404)
  }
  expect(upstream.bytes()).toBe(0)
})

test('D10 under another key, e.g. after a restart without one, nobody is taken at their word', async () => {
  const other = await startSidecar({
    upstream: upstream.url,
    jwks: issuer.jwks,
    config: { plugins: { mcp: { session_key: 'another session key for tests' } } },
  })
  const { answers } = await sendRaw(other.port, postBytes(undefined, call, as(people.alice, session)))
  expect(answers[0]?.status).toBe(404)
  expect(upstream.bytes()).toBe(0)
  expect(await other.stop()).toBe(0)
})

test('D7 sessions are held by clients: 500 of them cost nothing here', async () => {
  const rss = async () =>
    Number(
      /process_resident_memory_bytes (\d+)/.exec(await (await fetch(`${sidecar.admin}/metrics`)).text())?.[1],
    )
  await open(sidecar, people.alice)
  const before = await rss()
  for (let i = 0; i < 10; i++)
    await Promise.all(Array.from({ length: 50 }, () => open(sidecar, people.alice)))
  expect((await rss()) - before).toBeLessThan(64 << 20)
})
