// Requests of 2026-07-28 before a server over stdio: they share one channel, and are told apart.
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createStdioUpstream, type StdioUpstreamSettings } from '../../../src/edge/stdio/out.ts'
import { permitDecided } from '../../../src/pdp/decision.ts'
import { SUBSCRIPTION_ID } from '../../../src/pep/follow.ts'
import type { Call, Reply } from '../../../src/pep/ports.ts'

/** A server of a few lines that says what the arguments of a call tell it to, and lists what it was told. */
const SERVER = `
const told = []
const say = (message) => process.stdout.write(JSON.stringify({ jsonrpc: '2.0', ...message }) + '\\n')
const open = []
require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const message = JSON.parse(line)
  told.push(message)
  const { id, method, params } = message
  const { do: what, name } = params?.arguments ?? {}
  const token = params?._meta?.progressToken
  if (method === 'server/discover' && process.argv[1] === 'silent') return
  if (method === 'server/discover' && process.argv[1] === 'legacy') say({ id, error: { code: -32601, message: 'no' } })
  else if (method === 'subscriptions/listen') {
    open.push(id)
    say({ method: 'notifications/subscriptions/acknowledged', params: { _meta: { '${SUBSCRIPTION_ID}': id }, notifications: {} } })
  }
  else if (what === 'hold') open.push(id)
  else if (what === 'answer') { for (const one of open.splice(0)) say({ id: one, result: { resultType: 'complete', was: one } }); say({ id, result: {} }) }
  else if (what === 'progress') { say({ method: 'notifications/progress', params: { progressToken: token, progress: 1 } }); say({ id, result: { token } }) }
  else if (what === 'log') { say({ method: 'notifications/message', params: { level: 'info', data: 'a word' } }); say({ id, result: {} }) }
  else if (what === 'news') { for (const one of open) say({ method: 'notifications/tools/list_changed', params: { _meta: { '${SUBSCRIPTION_ID}': one } } }); say({ id, result: {} }) }
  else if (what === 'stray') {
    say({ method: 'notifications/tools/list_changed', params: {} })
    say({ method: 'notifications/progress', params: { progressToken: 999, progress: 1 } })
    say({ method: 'notifications/cancelled', params: { requestId: id } })
    say({ id: 999, result: {} })
    say({ id, result: { stray: true } })
  }
  else if (what === 'end') { for (const one of open.splice(0)) say({ id: one, result: { resultType: 'complete', _meta: { '${SUBSCRIPTION_ID}': one } } }); say({ id, result: {} }) }
  else if (what === 'cancel') { for (const one of open.splice(0)) say({ method: 'notifications/cancelled', params: { requestId: one } }); say({ id, result: {} }) }
  else if (what === 'ask') { say({ id: 'srv', method: 'elicitation/create', params: {} }); open.push(id) }
  else if (what === 'flood') for (let i = 0; i < 2000; i++) say({ method: 'notifications/progress', params: { progressToken: token, progress: i } })
  else if (what === 'code') say({ id, error: { code: params.arguments.code, message: 'no' } })
  else if (what === 'die') process.exit(3)
  else if (id !== undefined && method !== 'notifications/cancelled') say({ id, result: { pid: process.pid, told } })
})
`
const upstreams: ReturnType<typeof createStdioUpstream>[] = []
const start = (more: Partial<StdioUpstreamSettings> = {}, kind = 'modern') => {
  const upstream = createStdioUpstream({
    command: [process.execPath, '-e', SERVER, kind],
    env: {},
    maxSessions: 2,
    timeout: 60_000,
    idle: 600_000,
    messageLimit: 1_000_000,
    onStderr: () => {},
    ...more,
  })
  upstreams.push(upstream)
  return upstream
}
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
})
afterEach(async () => {
  vi.useRealTimers()
  for (const upstream of upstreams.splice(0)) await upstream.close()
})

const permit = permitDecided({ allow: true, reasons: [] }, 'd')
if (!permit) throw new Error('no permit')
const call = (what: string, more: Partial<Call> & { meta?: object; args?: object } = {}): Call => {
  const { meta = {}, args = {}, ...rest } = more
  const { id = 'one', method = 'tools/call' } = rest
  const params = { _meta: meta, name: 'x', arguments: { do: what, ...args } }
  return {
    kind: 'request',
    id,
    method,
    era: 'modern',
    version: '2026-07-28',
    text: JSON.stringify({ jsonrpc: '2.0', id, method, params }),
    headers: {},
    owner: 'ann',
    signal: new AbortController().signal,
    ...rest,
  }
}
const listening = (more: Partial<Call> = {}) =>
  call('', { method: 'subscriptions/listen', long: true, ...more })
const bodyOf = (reply: Reply) => {
  if (reply.kind !== 'message') throw new Error(JSON.stringify(reply))
  return JSON.parse(reply.body.toString())
}
const framesOf = (reply: Reply) => {
  if (reply.kind !== 'stream') throw new Error(JSON.stringify(reply))
  const frames = reply.frames[Symbol.asyncIterator]()
  return async () => {
    const { done, value } = await frames.next()
    return done ? undefined : JSON.parse(value.data)
  }
}

test('one person has one process, and another person another', async () => {
  const upstream = start()
  const pid = async (owner: string) => bodyOf(await upstream.forward(permit, call('', { owner }))).result.pid
  const [a, again, b] = [await pid('ann'), await pid('ann'), await pid('bob')]
  expect(again).toBe(a)
  expect(b).not.toBe(a)
  // The one that was not used for the longest, and has nothing in hand, gives way.
  const held = upstream.forward(permit, call('hold', { owner: 'ann' }))
  const c = await pid('eve')
  expect(await pid('eve')).toBe(c)
  expect(await pid('bob')).not.toBe(b)
  const more = upstream.forward(permit, call('hold', { owner: 'bob' }))
  expect(await upstream.forward(permit, call('', { owner: 'eve' }))).toEqual({
    kind: 'failed',
    fault: 'upstream_busy',
  })
  for (const owner of ['ann', 'bob']) await upstream.forward(permit, call('answer', { owner }))
  expect((await Promise.all([held, more])).map(({ kind }) => kind)).toEqual(['message', 'message'])
})

test('nothing of 2026-07-28 goes to a server without an owner, nor what is no request', async () => {
  const upstream = start()
  const { owner: _, ...nobody } = call('')
  const failed = { kind: 'failed', fault: 'upstream_failed' }
  expect(await upstream.forward(permit, nobody)).toEqual(failed)
  expect(await upstream.forward(permit, call('', { kind: 'notification' }))).toEqual(failed)
})

test('the same id from many at once: each gets its own answer under its own id', async () => {
  const upstream = start()
  const held = [1, 2, 3].map(() => upstream.forward(permit, call('hold', { id: 'same' })))
  await upstream.forward(permit, call('answer'))
  const bodies = (await Promise.all(held)).map(bodyOf)
  expect(bodies.map(({ id }) => id)).toEqual(['same', 'same', 'same'])
  expect(bodies.map(({ result }) => result.was)).toEqual([1, 2, 3])
})

test('what comes before the answer makes it a stream; tokens are the client’s own', async () => {
  const upstream = start()
  const reply = await upstream.forward(permit, call('progress', { meta: { progressToken: 'mine' } }))
  const next = framesOf(reply)
  expect(await next()).toMatchObject({ method: 'notifications/progress', params: { progressToken: 'mine' } })
  expect(await next()).toMatchObject({ id: 'one', result: { token: 1 } })
  expect(await next()).toBe(undefined)
  // Progress that nobody asked for is nobody's.
  expect(bodyOf(await upstream.forward(permit, call('progress'))).result).toEqual({})
})

test('what is logged goes to a call that asked for it, else to nobody', async () => {
  const upstream = start()
  expect(bodyOf(await upstream.forward(permit, call('log'))).result).toEqual({})
  const meta = { 'io.modelcontextprotocol/logLevel': 'info' }
  const next = framesOf(await upstream.forward(permit, call('log', { meta })))
  expect(await next()).toMatchObject({ method: 'notifications/message' })
  expect(await next()).toMatchObject({ id: 'one', result: {} })
})

test('news go to the subscription that they name, under its client’s id, until it ends', async () => {
  const upstream = start()
  const next = framesOf(await upstream.forward(permit, listening({ id: 'mine' })))
  const named = { params: { _meta: { [SUBSCRIPTION_ID]: 'mine' } } }
  expect(await next()).toMatchObject({ method: 'notifications/subscriptions/acknowledged', ...named })
  await upstream.forward(permit, call('news'))
  expect(await next()).toMatchObject({ method: 'notifications/tools/list_changed', ...named })
  await vi.advanceTimersByTimeAsync(300_000)
  await upstream.forward(permit, call('end'))
  expect(await next()).toMatchObject({ id: 'mine', result: { _meta: { [SUBSCRIPTION_ID]: 'mine' } } })
  expect(await next()).toBe(undefined)
})

test('a subscription that the server cancels is told so, and does not stay open', async () => {
  const upstream = start()
  const next = framesOf(await upstream.forward(permit, listening({ id: 'mine' })))
  await next()
  await upstream.forward(permit, call('cancel'))
  expect(await next()).toMatchObject({ method: 'notifications/cancelled', params: { requestId: 'mine' } })
  await vi.advanceTimersByTimeAsync(1_000)
  expect(await next()).toBe(undefined)
})

test('what names nothing that is open is not delivered', async () => {
  const upstream = start()
  expect(bodyOf(await upstream.forward(permit, call('stray'))).result).toEqual({ stray: true })
})

test.each(['a call', 'a subscription', 'a stream that is not read any more'])(
  'who leaves %s cancels it, by the id that the server knows',
  async (what) => {
    const upstream = start()
    const client = new AbortController()
    const more = { id: 'mine', signal: client.signal }
    await upstream.forward(permit, call(''))
    if (what === 'a call') {
      const reply = upstream.forward(permit, call('hold', more))
      client.abort()
      expect(await reply).toEqual({ kind: 'failed', fault: 'upstream_failed' })
    } else {
      const reply = await upstream.forward(permit, listening(more))
      if (reply.kind !== 'stream') throw new Error(reply.kind)
      const frames = reply.frames[Symbol.asyncIterator]()
      await frames.next()
      if (what === 'a subscription') {
        client.abort()
        expect(await frames.next()).toMatchObject({ done: true })
      } else await frames.return?.(undefined)
    }
    const { told } = bodyOf(await upstream.forward(permit, call(''))).result
    expect(told.filter(({ method }: { method: string }) => method === 'notifications/cancelled')).toEqual([
      expect.objectContaining({ params: { requestId: 2, reason: expect.any(String) } }),
    ])
  },
)

test('a request of the server is none of this revision: it is told so', async () => {
  const upstream = start()
  const next = framesOf(await upstream.forward(permit, call('ask')))
  // On a stream it is refused on record, and by that declined.
  expect(await next()).toMatchObject({ id: 'srv', method: 'elicitation/create' })
  upstream.decline({ owner: 'ann', version: '2026-07-28' }, 'srv', 'elicitation/create')
  const { told } = bodyOf(await upstream.forward(permit, call(''))).result
  expect(told).toContainEqual({ jsonrpc: '2.0', id: 'srv', result: { action: 'decline' } })
})

test('what waits for a slow reader is bounded; beyond it the call is cancelled', async () => {
  const upstream = start()
  const reply = await upstream.forward(permit, call('flood', { meta: { progressToken: 1 } }))
  await upstream.forward(permit, call(''))
  const next = framesOf(reply)
  let frames = 0
  while ((await next()) !== undefined) frames++
  expect(frames).toBe(1000)
  const { told } = bodyOf(await upstream.forward(permit, call(''))).result
  expect(JSON.stringify(told)).toContain('notifications/cancelled')
})

test.each([
  [-32601, 404],
  [-32021, 400],
  [-32602, 200],
])('an error %d has the status that it has over HTTP: %d', async (code, status) => {
  expect(await start().forward(permit, call('code', { args: { code } }))).toMatchObject({ status })
})

test('the process dies: what is open fails, and the next request has a new one', async () => {
  const upstream = start()
  const { pid } = bodyOf(await upstream.forward(permit, call(''))).result
  const open = upstream.forward(permit, call('hold'))
  const failed = { kind: 'failed', fault: 'upstream_failed' }
  expect(await upstream.forward(permit, call('die'))).toEqual(failed)
  expect(await open).toEqual(failed)
  expect(bodyOf(await upstream.forward(permit, call(''))).result.pid).not.toBe(pid)
})

test('an answer that takes too long is a timeout, and the server is told', async () => {
  const upstream = start()
  await upstream.forward(permit, call(''))
  const late = upstream.forward(permit, call('hold'))
  await vi.advanceTimersByTimeAsync(60_000)
  expect(await late).toEqual({ kind: 'failed', fault: 'upstream_timeout' })
  const { told } = bodyOf(await upstream.forward(permit, call(''))).result
  expect(told.at(-2)).toMatchObject({ method: 'notifications/cancelled', params: { requestId: 2 } })
})

test('a process is not idle while a subscription is open, and ends when it is', async () => {
  const upstream = start({ idle: 1_000, maxSessions: 1 })
  const client = new AbortController()
  const next = framesOf(await upstream.forward(permit, listening({ signal: client.signal })))
  await next()
  await vi.advanceTimersByTimeAsync(5_000)
  const { pid } = bodyOf(await upstream.forward(permit, call(''))).result
  client.abort()
  await vi.advanceTimersByTimeAsync(1_000)
  expect(bodyOf(await upstream.forward(permit, call('', { owner: 'bob' }))).result.pid).not.toBe(pid)
})

test.each(['legacy', 'silent'])(
  'a %s server that does not know the revision keeps no process',
  async (kind) => {
    const upstream = start({ maxSessions: 1 }, kind)
    const discover = upstream.forward(permit, call('', { method: 'server/discover' }))
    if (kind === 'silent') await vi.advanceTimersByTimeAsync(10_000)
    // The answer by which a client begins a session instead.
    expect(await discover).toMatchObject({ status: 404 })
    const hello = call('', { method: 'initialize', era: 'legacy', version: '2025-11-25' })
    expect(await upstream.forward(permit, hello)).toMatchObject({
      kind: 'message',
      session: expect.any(String),
    })
  },
)
