import { spawn } from 'node:child_process'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createStdioUpstream, type StdioUpstreamSettings } from '../../../src/edge/stdio/out.ts'
import { permitDecided } from '../../../src/pdp/decision.ts'
import type { Call, Reply } from '../../../src/pep/ports.ts'

/** A server of a few lines that does what the tool of the call says. */
const SERVER = `
const say = (message) => process.stdout.write(JSON.stringify({ jsonrpc: '2.0', ...message }) + '\\n')
let buffer = ''
process.stdin.on('data', (chunk) => {
  buffer += chunk
  for (let cut = buffer.indexOf('\\n'); cut >= 0; cut = buffer.indexOf('\\n')) {
    const { id, method, params, result, error } = JSON.parse(buffer.slice(0, cut))
    buffer = buffer.slice(cut + 1)
    const what = params?.name
    if (method === 'initialize') say({ id, result: { protocolVersion: '2025-06-18', env: Object.keys(process.env).sort() } })
    else if (what === 'hang') continue
    else if (what === 'die') process.exit(3)
    else if (what === 'noise') { process.stdout.write('not json\\n'); say({ id: 99, result: {} }); say({ id, result: { pid: process.pid } }) }
    else if (what === 'huge') process.stdout.write('x'.repeat(2_000_000))
    else if (what === 'ask') { say({ id: 'srv', method: 'elicitation/create' }); globalThis.asked = id }
    else if (method === 'notifications/cancelled') { globalThis.cancelled = params; if (globalThis.late) say({ id: params.requestId, result: { late: true } }) }
    else if (what === 'hang late') { globalThis.late = true }
    else if (what === 'cancelled?') say({ id, result: { cancelled: globalThis.cancelled } })
    else if (what === 'slow') globalThis.slow = id
    else if (method === 'notifications/release') say({ id: globalThis.slow, result: { slow: true } })
    else if (what === 'deaf') { say({ id, result: {} }); process.stdin.pause() }
    else if (what === 'deaf and asking') { process.stdin.pause(); setInterval(() => { for (let i = 0; i < 500; i++) say({ id: 'x'.repeat(100) + i, method: 'ping' }) }, 1) }
    else if (what === 'flood') { for (let i = 0; i < 60; i++) say({ method: 'notifications/message', params: { data: i + 'x'.repeat(500_000) } }); say({ id, result: {} }) }
    else if (result || error) say({ id: globalThis.asked, result: { told: result ?? error } })
    else if (what === 'notify') { say({ method: 'notifications/message', params: {} }); say({ id, result: {} }) }
    else say({ id, result: { pid: process.pid } })
  }
})
process.stderr.write('hello on stderr\\n')
`
const stderr: string[] = []
const open: ReturnType<typeof createStdioUpstream>[] = []
const start = (more: Partial<StdioUpstreamSettings> = {}) => {
  const upstream = createStdioUpstream({
    command: [process.execPath, '-e', SERVER],
    env: { ONLY: 'this' },
    maxSessions: 2,
    timeout: 60_000,
    idle: 600_000,
    messageLimit: 1_000_000,
    onStderr: (line) => void stderr.push(line),
    ...more,
  })
  open.push(upstream)
  return upstream
}
/** Time is ours: nothing here depends on how fast the machine is. */
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
})
afterEach(async () => {
  vi.useRealTimers()
  for (const upstream of open.splice(0)) await upstream.close()
})
/** What a promise comes to while time passes, however long this machine takes to get there. */
async function after<T>(ms: number, promise: Promise<T>): Promise<T> {
  let settled = false
  const done = promise.finally(() => {
    settled = true
  })
  while (!settled) {
    await new Promise((resolve) => setImmediate(resolve))
    await vi.advanceTimersByTimeAsync(ms)
  }
  return done
}

const permit = permitDecided({ allow: true, reasons: [] }, 'd')
if (!permit) throw new Error('no permit')
let n = 0
const call = (name: string, session?: string, more: Partial<Call> = {}): Call => {
  const id = more.id ?? ++n
  const method = name === 'initialize' ? 'initialize' : 'tools/call'
  return {
    kind: 'request',
    id,
    method,
    era: 'legacy',
    version: '2025-06-18',
    text: JSON.stringify({ jsonrpc: '2.0', id, method, params: { name } }),
    headers: {},
    ...(session !== undefined && { session }),
    signal: new AbortController().signal,
    ...more,
  }
}
const resultOf = (reply: Reply) =>
  reply.kind === 'message' ? JSON.parse(reply.body.toString()).result : reply
const begin = async (upstream: ReturnType<typeof start>) => {
  const reply = await upstream.forward(permit, call('initialize'))
  if (reply.kind !== 'message' || reply.session === undefined) throw new Error(JSON.stringify(reply))
  return reply.session
}

test('each session has a process of its own, with the configured environment only', async () => {
  const upstream = start()
  const first = await upstream.forward(permit, call('initialize'))
  expect(resultOf(first).env).toEqual(['ONLY'])
  const [a, b] = [first.kind === 'message' ? (first.session ?? '') : '', await begin(upstream)]
  const pids = [
    resultOf(await upstream.forward(permit, call('pid', a))).pid,
    resultOf(await upstream.forward(permit, call('pid', b))).pid,
  ]
  expect(pids[0]).not.toBe(pids[1])
  expect(stderr).toContain('hello on stderr')
  expect(await upstream.forward(permit, call('initialize'))).toEqual({
    kind: 'failed',
    fault: 'upstream_busy',
  })
  expect(await upstream.forward(permit, call('', a, { kind: 'end' }))).toEqual({ kind: 'accepted' })
  expect(await upstream.forward(permit, call('pid', a))).toEqual({ kind: 'status', status: 404 })
  await expect.poll(() => alive(pids[0]), { timeout: 30_000 }).toBe(false)
  expect(alive(pids[1])).toBe(true)
  await upstream.close()
  await expect.poll(() => alive(pids[1]), { timeout: 30_000 }).toBe(false)
})

test('nothing without a permit', async () => {
  await expect(start().forward({} as never, call('initialize'))).rejects.toThrow(TypeError)
})

test('a session that is not known is 404, and no process is started for it', async () => {
  expect(await start().forward(permit, call('pid', 'made-up'))).toEqual({ kind: 'status', status: 404 })
  expect(await start().forward(permit, call('pid'))).toEqual({ kind: 'status', status: 404 })
})

test.each([
  ['hang', 'upstream_timeout'],
  ['die', 'upstream_failed'],
  ['huge', 'upstream_failed'],
])('%s is %s', async (name, fault) => {
  const upstream = start()
  const reply = upstream.forward(permit, call(name, await begin(upstream)))
  if (name === 'hang') await vi.advanceTimersByTimeAsync(60_000)
  expect(await reply).toEqual({ kind: 'failed', fault })
})

test('a command that does not exist fails, and leaves no session', async () => {
  const upstream = start({ command: ['/nowhere/at/all'] })
  for (let i = 0; i < 5; i++)
    expect(await upstream.forward(permit, call('initialize'))).toEqual({
      kind: 'failed',
      fault: 'upstream_failed',
    })
})

test('noise and answers to nobody are not delivered', async () => {
  const upstream = start()
  expect(resultOf(await upstream.forward(permit, call('noise', await begin(upstream))))).toHaveProperty('pid')
})

test('two open requests of one id: the second is refused', async () => {
  const upstream = start()
  const session = await begin(upstream)
  const first = upstream.forward(permit, call('hang', session, { id: 7 }))
  expect(await upstream.forward(permit, call('pid', session, { id: 7 }))).toEqual({
    kind: 'failed',
    fault: 'upstream_busy',
  })
  await vi.advanceTimersByTimeAsync(60_000)
  expect(await first).toMatchObject({ fault: 'upstream_timeout' })
})

test('a request of the server while nobody listens is declined, so that it does not wait', async () => {
  const upstream = start({ timeout: 1e9 })
  const asking = upstream.forward(permit, call('ask', await begin(upstream)))
  expect(resultOf(await after(100, asking))).toEqual({ told: { action: 'decline' } })
})

test('a request of the server from before the stream was open is the first on it; its answer goes back', async () => {
  const upstream = start()
  const session = await begin(upstream)
  const asking = upstream.forward(permit, call('ask', session))
  await upstream.forward(permit, call('pid', session))
  const reply = await upstream.forward(permit, call('', session, { kind: 'open' }))
  if (reply.kind !== 'stream') throw new Error(reply.kind)
  const first = await reply.frames[Symbol.asyncIterator]().next()
  expect(JSON.parse(first.value.data)).toMatchObject({ id: 'srv', method: 'elicitation/create' })
  const text = JSON.stringify({ jsonrpc: '2.0', id: 'srv', result: { action: 'accept' } })
  expect(await upstream.forward(permit, call('', session, { kind: 'response', text }))).toEqual({
    kind: 'accepted',
  })
  expect(resultOf(await asking)).toEqual({ told: { action: 'accept' } })
})

test('notifications go to the one open stream; a second stream is refused; the stream ends with its client', async () => {
  const upstream = start()
  const session = await begin(upstream)
  const gone = new AbortController()
  const reply = await upstream.forward(permit, call('', session, { kind: 'open', signal: gone.signal }))
  if (reply.kind !== 'stream') throw new Error(reply.kind)
  const frames = reply.frames[Symbol.asyncIterator]()
  const first = frames.next()
  expect(await upstream.forward(permit, call('', session, { kind: 'open' }))).toEqual({
    kind: 'status',
    status: 405,
  })
  await upstream.forward(permit, call('notify', session))
  expect(JSON.parse((await first).value.data)).toMatchObject({ method: 'notifications/message' })
  gone.abort()
  expect(await frames.next()).toMatchObject({ done: true })
  expect(await upstream.forward(permit, call('', session, { kind: 'open' }))).toMatchObject({
    kind: 'stream',
  })
})

test('an idle session ends', async () => {
  const upstream = start({ idle: 200 })
  const session = await begin(upstream)
  const told = () => upstream.forward(permit, call('pid', session, { kind: 'notification' }))
  await vi.advanceTimersByTimeAsync(199)
  expect(await told()).toEqual({ kind: 'accepted' })
  await vi.advanceTimersByTimeAsync(199)
  expect(await told()).toEqual({ kind: 'accepted' })
  await vi.advanceTimersByTimeAsync(200)
  expect(await told()).toEqual({ kind: 'status', status: 404 })
})

const gone = { kind: 'failed', fault: 'upstream_failed' }

test('a client that leaves: its call ends at once, which is no cancellation, and a late answer reaches nobody', async () => {
  const upstream = start()
  const session = await begin(upstream)
  const client = new AbortController()
  const left = upstream.forward(permit, call('slow', session, { id: 7, signal: client.signal }))
  client.abort()
  expect(await left).toEqual(gone)
  // The answer to the call that was left may still come, and would be taken for that of the new one.
  expect(await upstream.forward(permit, call('pid', session, { id: 7 }))).toEqual({
    kind: 'failed',
    fault: 'upstream_busy',
  })
  expect(resultOf(await upstream.forward(permit, call('cancelled?', session)))).toEqual({})
  const text = JSON.stringify({ jsonrpc: '2.0', method: 'notifications/release' })
  await upstream.forward(permit, call('', session, { kind: 'notification', text }))
  expect(resultOf(await upstream.forward(permit, call('pid', session)))).toHaveProperty('pid')
  expect(resultOf(await upstream.forward(permit, call('pid', session, { id: 7 })))).toHaveProperty('pid')
  const before = AbortSignal.abort()
  expect(await upstream.forward(permit, call('hang', session, { signal: before }))).toEqual(gone)
})

test('a call that takes too long is cancelled, and a late answer reaches nobody', async () => {
  const upstream = start()
  const session = await begin(upstream)
  const late = upstream.forward(permit, call('hang late', session, { id: 7 }))
  await vi.advanceTimersByTimeAsync(60_000)
  expect(await late).toEqual({ kind: 'failed', fault: 'upstream_timeout' })
  expect(resultOf(await upstream.forward(permit, call('cancelled?', session))).cancelled).toMatchObject({
    requestId: 7,
    reason: expect.any(String),
  })
  expect(resultOf(await upstream.forward(permit, call('pid', session, { id: 7 })))).toHaveProperty('pid')
})

test('no listener stays at the signal of a call that was answered', async () => {
  const upstream = start()
  const session = await begin(upstream)
  const { signal } = new AbortController()
  const [add, remove] = [vi.spyOn(signal, 'addEventListener'), vi.spyOn(signal, 'removeEventListener')]
  await upstream.forward(permit, call('pid', session, { signal }))
  expect(remove.mock.calls.length).toBe(add.mock.calls.length)
})

test('a client that leaves its initialize: the process ends, and is not told to cancel', async () => {
  const upstream = start({
    command: [process.execPath, '-e', 'process.stdin.resume(); setInterval(() => {}, 1000)'],
    maxSessions: 1,
  })
  for (let i = 0; i < 3; i++) {
    const client = new AbortController()
    const reply = upstream.forward(permit, call('initialize', undefined, { signal: client.signal }))
    client.abort()
    expect(await reply).toEqual(gone)
  }
})

test('a server that does not read ends with what is waiting for it, and holds no more', async () => {
  const upstream = start({ messageLimit: 100_000 })
  const session = await begin(upstream)
  await upstream.forward(permit, call('deaf', session))
  const waiting = upstream.forward(permit, call('pid', session))
  const text = JSON.stringify({
    jsonrpc: '2.0',
    method: 'notifications/x',
    params: { a: 'x'.repeat(90_000) },
  })
  const replies = []
  for (let i = 0; i < 20; i++)
    replies.push(await upstream.forward(permit, call('', session, { kind: 'notification', text })))
  expect(replies.filter((reply) => reply.kind === 'accepted').length).toBeLessThan(8)
  expect(replies.at(-1)).toEqual({ kind: 'status', status: 404 })
  expect(await waiting).toEqual(gone)
})

test('a server that asks and does not read the refusals ends', async () => {
  const upstream = start({ messageLimit: 10_000 })
  expect(await upstream.forward(permit, call('deaf and asking', await begin(upstream)))).toEqual(gone)
})

test('what waits for a slow reader of a stream is bounded in bytes', async () => {
  const upstream = start()
  const session = await begin(upstream)
  const client = new AbortController()
  const reply = await upstream.forward(permit, call('', session, { kind: 'open', signal: client.signal }))
  if (reply.kind !== 'stream') throw new Error(reply.kind)
  await upstream.forward(permit, call('flood', session))
  client.abort()
  let [frames, bytes] = [0, 0]
  for await (const { data } of reply.frames) {
    expect(JSON.parse(data).params.data.startsWith(`${frames++}x`)).toBe(true)
    bytes += data.length
  }
  expect(bytes).toBeGreaterThan(8 << 20)
  expect(bytes).toBeLessThanOrEqual(16 << 20)
})

test('of two that open the stream at once one has it, and its end is its own', async () => {
  const upstream = start()
  const session = await begin(upstream)
  const [a, b] = [new AbortController(), new AbortController()]
  const open = (signal: AbortSignal) => upstream.forward(permit, call('', session, { kind: 'open', signal }))
  expect(await Promise.all([open(a.signal), open(b.signal)])).toMatchObject([
    { kind: 'stream' },
    { kind: 'status', status: 405 },
  ])
  // A stream that nobody began to read is free again, too; its reader does not end the next one.
  a.abort()
  const next = await open(b.signal)
  expect(next.kind).toBe('stream')
  expect(await open(b.signal)).toEqual({ kind: 'status', status: 405 })
})

test('a session is not idle while a call runs, nor right after its answer', async () => {
  const upstream = start({ idle: 400 })
  const session = await begin(upstream)
  const slow = upstream.forward(permit, call('slow', session))
  await vi.advanceTimersByTimeAsync(2_000)
  const text = JSON.stringify({ jsonrpc: '2.0', method: 'notifications/release' })
  await upstream.forward(permit, call('', session, { kind: 'notification', text }))
  expect(resultOf(await slow)).toEqual({ slow: true })
  await vi.advanceTimersByTimeAsync(399)
  expect(resultOf(await upstream.forward(permit, call('pid', session)))).toHaveProperty('pid')
})

test('a server that takes U+2028 for a line end gets one line', async () => {
  const server = `
    require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
      const { id, params } = JSON.parse(line)
      process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id, result: { name: params.name } }) + '\\n')
    })`
  const upstream = start({ command: [process.execPath, '-e', server] })
  const session = await begin(upstream)
  const name = 'a\u2028b\u2029c'
  expect(resultOf(await upstream.forward(permit, call(name, session)))).toEqual({ name })
})

test('no descriptor left for a process: the call fails, this process lives', async () => {
  const [out, decision] = ['edge/stdio/out.ts', 'pdp/decision.ts'].map(
    (path) => new URL(`../../../src/${path}`, import.meta.url).href,
  )
  const code = `
    const { openSync } = await import('node:fs')
    const { createStdioUpstream } = await import(${JSON.stringify(out)})
    const { permitDecided } = await import(${JSON.stringify(decision)})
    const upstream = createStdioUpstream({ command: ['cat'], env: {}, maxSessions: 2, timeout: 1000, idle: 1000, messageLimit: 1000, onStderr() {} })
    try { for (;;) openSync('/dev/null') } catch {}
    const call = { kind: 'request', id: 1, method: 'initialize', text: '{}', signal: new AbortController().signal }
    for (let i = 0; i < 3; i++) {
      const reply = await upstream.forward(permitDecided({ allow: true, reasons: [] }, 'd'), call)
      process.stdout.write(JSON.stringify(reply) + '\\n')
    }
    await upstream.close()`
  const args = ['-c', 'ulimit -n 60; exec "$@"', 'sh', process.execPath, '--input-type=module', '-e', code]
  const child = spawn('sh', args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (part: string) => {
      text += part
    })
  const status = await new Promise((resolve) => child.once('close', resolve))
  expect(text.trim().split('\n')).toEqual(Array(3).fill(JSON.stringify(gone)))
  expect(status).toBe(0)
})

function alive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
