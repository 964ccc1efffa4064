// What an upstream that is slow, silent or hostile can take from the others.
import { afterEach, expect, test } from 'vitest'
import { createHttpUpstream } from '../../../src/edge/http/upstream.ts'
import { methodToServer } from '../../../src/mcp/methods.ts'
import { permitProtocol } from '../../../src/pdp/decision.ts'
import type { Call } from '../../../src/pep/ports.ts'
import { httpAnswer, type Responder, rpcResult, sseHead, startRecorder } from '../../support/recorder.ts'

const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

async function between(connections: number, timeout: number, respond: Responder, receiving?: number) {
  const recorder = await startRecorder(respond)
  const upstream = createHttpUpstream({
    url: new URL(recorder.url),
    connections,
    timeout,
    messageLimit: 1 << 20,
    ...(receiving !== undefined && { receiving }),
  })
  closers.push(upstream.close, recorder.close)
  const forward = (kind: Call['kind'], signal: AbortSignal = new AbortController().signal) => {
    const permit = permitProtocol(methodToServer('ping'), 'id-1')
    if (!permit) throw new Error('no permit')
    return upstream.forward(permit, {
      kind,
      ...(kind === 'request' && { id: 1 }),
      method: 'ping',
      era: 'legacy',
      version: '2025-11-25',
      text: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' }),
      headers: {},
      signal,
    })
  }
  return { recorder, upstream, forward }
}
const pong = () => httpAnswer(200, rpcResult(1, {}))

test('open streams take no connection from calls, and there are only so many', async () => {
  const { forward } = await between(2, 1000, ({ method }, socket) => {
    if (method !== 'GET') return pong()
    socket.write(sseHead())
    return null
  })
  const leave = new AbortController()
  expect((await forward('open', leave.signal)).kind).toBe('stream')
  expect((await forward('open')).kind).toBe('stream')
  expect(await forward('open')).toEqual({ kind: 'failed', fault: 'upstream_busy' })
  expect((await forward('request')).kind).toBe('message')
  leave.abort()
  await expect.poll(async () => (await forward('open')).kind).toBe('stream')
})

test('an opening that fails counts no longer', async () => {
  const { forward } = await between(1, 200, () => null)
  for (let i = 0; i < 2; i++)
    expect(await forward('open')).toEqual({ kind: 'failed', fault: 'upstream_timeout' })
})

test('the wait for a connection is short and says why it ended, and who gave up is not sent later', async () => {
  const { forward, recorder } = await between(1, 300, ({ method }, socket) => {
    if (method === 'POST') socket.write(sseHead())
    return null
  })
  const leave = new AbortController()
  expect((await forward('request', leave.signal)).kind).toBe('stream')
  const began = performance.now()
  expect(await forward('request')).toEqual({ kind: 'failed', fault: 'upstream_busy' })
  expect(performance.now() - began).toBeLessThan(1000)
  const gone = new AbortController()
  setTimeout(() => gone.abort(), 20)
  expect(await forward('request', gone.signal)).toEqual({ kind: 'failed', fault: 'upstream_failed' })
  leave.abort()
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(recorder.requests()).toHaveLength(1)
  // Whose stream it was has left, and its connection is another's.
  recorder.respond(pong)
  expect((await forward('request')).kind).toBe('message')
})

test.each([
  ['notification', 202],
  ['notification', 200],
  ['notification', 500],
  ['end', 200],
  ['end', 405],
  ['request', 202],
] as const)('a %s whose %i has a body without end is not waited for', async (kind, status) => {
  const { forward } = await between(1, 60_000, () => httpAnswer(status, 'x', { 'content-length': '1000' }))
  const began = performance.now()
  expect((await forward(kind)).kind).toBe(status >= 400 ? 'status' : 'accepted')
  expect(performance.now() - began).toBeLessThan(500)
  // The connection is not lost to the next one.
  expect((await forward(kind)).kind).toBe(status >= 400 ? 'status' : 'accepted')
  expect(performance.now() - began).toBeLessThan(3000)
})

test('refusals of what the upstream asks have a few connections of their own, and are few', async () => {
  const { forward, upstream, recorder } = await between(1, 5000, ({ json }) => (json.method ? pong() : null))
  for (let id = 0; id < 1000; id++) upstream.decline({ version: '2025-11-25' }, id, 'sampling/createMessage')
  expect((await forward('request')).kind).toBe('message')
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(recorder.requests().filter(({ json }) => !json.method).length).toBeLessThanOrEqual(8)
})

test('calls whose answers are streams that stay make the next one wait a second, not until its timeout', async () => {
  const { forward } = await between(3, 60_000, ({ method }, socket) => {
    if (method === 'POST') socket.write(sseHead())
    return null
  })
  const leave = new AbortController()
  for (let i = 0; i < 3; i++) expect((await forward('request', leave.signal)).kind).toBe('stream')
  const began = performance.now()
  expect(await forward('request')).toEqual({ kind: 'failed', fault: 'upstream_busy' })
  expect(performance.now() - began).toBeLessThan(5_000)
  const waits = forward('request')
  leave.abort()
  expect((await waits).kind).toBe('stream')
})

test('B26 interim answers without end are none; a few are read over', async () => {
  const interim = (count: number) => 'HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n'.repeat(count)
  let count = 20_000
  const { forward } = await between(2, 60_000, () => Buffer.concat([Buffer.from(interim(count)), pong()]))
  expect(await forward('request')).toEqual({ kind: 'failed', fault: 'upstream_failed' })
  count = 16
  expect((await forward('request')).kind).toBe('message')
})

test.each([100, 101, 199])('B26 %i in place of an answer is none', async (status) => {
  const { forward } = await between(1, 500, () => `HTTP/1.1 ${status} X\r\nupgrade: x\r\n\r\n`)
  expect((await forward('request')).kind).toBe('failed')
  expect((await forward('request')).kind).toBe('failed')
})

test.each(['message', 'stream'])(
  'answers (%s) that are begun and not ended hold so much together, and give it back',
  async (kind) => {
    let many = true
    const { forward } = await between(
      20,
      60_000,
      (_request, socket) => {
        if (!many) return pong()
        const half = 'x'.repeat(500_000)
        if (kind === 'message') socket.write(httpAnswer(200, half, { 'content-length': '1000000' }))
        else socket.write(`${sseHead()}data: ${half}`)
        return null
      },
      2 << 20,
    )
    const leave = new AbortController()
    const ends: string[] = []
    const one = async () => {
      const reply = await forward('request', leave.signal)
      if (reply.kind !== 'stream') return reply.kind
      try {
        for await (const _ of reply.frames) ends.push('frame')
        return 'ended'
      } catch {
        return 'failed'
      }
    }
    const asked = Array.from({ length: 10 }, () => one().then((end) => ends.push(end)))
    // Four fit; each of the others is the one too many when it comes.
    await expect.poll(() => ends.length).toBeGreaterThanOrEqual(5)
    expect(new Set(ends)).toEqual(new Set(['failed']))
    leave.abort()
    await Promise.all(asked)
    many = false
    expect((await forward('request')).kind).toBe('message')
  },
)
