import { afterEach, expect, test } from 'vitest'
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
    timeout: 500,
    idle: 60_000,
    messageLimit: 1_000_000,
    onStderr: (line) => void stderr.push(line),
    ...more,
  })
  open.push(upstream)
  return upstream
}
afterEach(async () => {
  for (const upstream of open.splice(0)) await upstream.close()
})

const permit = permitDecided({ allow: true, reasons: [] }, 'd')
if (!permit) throw new Error('no permit')
let n = 0
const call = (name: string, session?: string, more: Partial<Call> = {}): Call => {
  const id = ++n
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
  await expect.poll(() => alive(pids[0])).toBe(false)
  expect(alive(pids[1])).toBe(true)
  await upstream.close()
  await expect.poll(() => alive(pids[1])).toBe(false)
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
  const upstream = start({ timeout: name === 'hang' ? 300 : 10_000 })
  expect(await upstream.forward(permit, call(name, await begin(upstream)))).toEqual({ kind: 'failed', fault })
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
  expect(await first).toMatchObject({ fault: 'upstream_timeout' })
})

test('a request of the server while nobody listens is declined, so that it does not wait', async () => {
  const upstream = start({ timeout: 5_000 })
  expect(resultOf(await upstream.forward(permit, call('ask', await begin(upstream))))).toEqual({
    told: { action: 'decline' },
  })
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
  expect(JSON.parse((await first).value)).toMatchObject({ method: 'notifications/message' })
  gone.abort()
  expect(await frames.next()).toMatchObject({ done: true })
  expect(await upstream.forward(permit, call('', session, { kind: 'open' }))).toMatchObject({
    kind: 'stream',
  })
})

test('an idle session ends', async () => {
  const upstream = start({ idle: 200 })
  const session = await begin(upstream)
  await expect
    .poll(() => upstream.forward(permit, call('pid', session, { kind: 'notification' })), { interval: 400 })
    .toEqual({ kind: 'status', status: 404 })
})

function alive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
