// Streams that live long: they are silent, their upstream ends, their client leaves.
import { connect, type Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import type { Call, Ports, UpstreamFrame } from '../../../src/pep/ports.ts'
import { postBytes } from '../../support/raw.ts'
import { allowsAlice, listen, OPENS_STREAM, SESSION } from './in-process.ts'

const CALL = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'x', arguments: {} } }
const NOTE = { jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: 'awake' } }

const open: Socket[] = []
afterEach(() => {
  for (const socket of open.splice(0)) socket.destroy()
})
async function client(port: number, bytes: string | Buffer) {
  const socket = connect({ port, host: '127.0.0.1' })
  open.push(socket)
  const got = { text: '' }
  socket.on('data', (chunk) => {
    got.text += chunk
  })
  socket.on('error', () => undefined)
  socket.write(bytes)
  return { socket, got }
}

/** An upstream whose one stream says nothing until it is told to, or ends. */
function quietUpstream() {
  const said = Promise.withResolvers<UpstreamFrame | undefined>()
  const calls: Call[] = []
  const forward: Ports['forward'] = async (_permit, call) => {
    calls.push(call)
    const gone = new Promise<undefined>((resolve) => {
      call.signal.addEventListener('abort', () => resolve(undefined), { once: true })
    })
    return {
      kind: 'stream',
      frames: (async function* () {
        const frame = await Promise.race([said.promise, gone])
        if (frame) yield frame
        if (frame) await gone
      })(),
    }
  }
  return { calls, forward, say: said.resolve }
}

test('a silent stream has heartbeats, and brings what comes after them', async () => {
  const upstream = quietUpstream()
  const { port } = await listen({ judge: allowsAlice, forward: upstream.forward }, { heartbeat: 20 })
  const { got } = await client(port, OPENS_STREAM)
  await expect.poll(() => got.text.split(': keep-alive\n\n').length, { timeout: 10_000 }).toBeGreaterThan(5)
  expect(got.text).not.toContain('event:')
  upstream.say({ data: JSON.stringify(NOTE) })
  await expect.poll(() => got.text, { timeout: 10_000 }).toContain('awake')
})

test('a stream that is idle for as long as a test can afford lives: heartbeats as they are in service', {
  timeout: 120_000,
}, async () => {
  const upstream = quietUpstream()
  const { port } = await listen({ judge: allowsAlice, forward: upstream.forward })
  const { got } = await client(port, OPENS_STREAM)
  await expect.poll(() => got.text.split(': keep-alive\n\n').length, { timeout: 100_000 }).toBe(3)
  upstream.say({ data: JSON.stringify(NOTE) })
  await expect.poll(() => got.text, { timeout: 10_000 }).toContain('awake')
})

test('an upstream that ends is noticed: a stream ends, a call is answered with what failed', async () => {
  const upstream = quietUpstream()
  const { port, lines } = await listen({ judge: allowsAlice, forward: upstream.forward })
  const stream = await client(port, OPENS_STREAM)
  const call = await client(port, postBytes('a.b.c', CALL, { 'mcp-session-id': SESSION }))
  await expect.poll(() => upstream.calls.length, { timeout: 10_000 }).toBe(2)
  upstream.say(undefined)
  await expect.poll(() => stream.got.text, { timeout: 10_000 }).toMatch(/\r\n0\r\n\r\n$/)
  await expect.poll(() => call.got.text, { timeout: 10_000 }).toContain('"upstream_failed"')
  await expect.poll(() => lines.filter(({ custom }) => 'end' in custom).length).toBe(2)
})

test.each([
  ['2025-11-25', { 'mcp-session-id': SESSION }, CALL],
  [
    '2026-07-28',
    { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'x' },
    {
      ...CALL,
      params: {
        ...CALL.params,
        _meta: {
          'io.modelcontextprotocol/protocolVersion': '2026-07-28',
          'io.modelcontextprotocol/clientCapabilities': {},
        },
      },
    },
  ],
])(
  'trap 19, %s: a client that leaves takes its stream to the upstream along; no cancellation is made up, nothing is repeated',
  async (_version, headers, message) => {
    const upstream = quietUpstream()
    const { port, lines } = await listen({ judge: allowsAlice, forward: upstream.forward })
    const { socket, got } = await client(port, postBytes('a.b.c', message, headers))
    await expect.poll(() => got.text, { timeout: 10_000 }).toContain('text/event-stream')
    socket.destroy()
    await expect.poll(() => upstream.calls[0]?.signal.aborted, { timeout: 10_000 }).toBe(true)
    await expect.poll(() => JSON.stringify(lines.at(-1)), { timeout: 10_000 }).toContain('client_gone')
    expect(upstream.calls).toHaveLength(1)
  },
)

test('a slow reader of a stream costs bounded memory, and loses nothing', { timeout: 60_000 }, async () => {
  const FRAME = 64 << 10
  let taken = 0
  const data = JSON.stringify({ ...NOTE, params: { ...NOTE.params, data: 'x'.repeat(FRAME) } })
  const forward: Ports['forward'] = async () => ({
    kind: 'stream',
    frames: (async function* () {
      for (; taken < 4096; taken++) {
        // An upstream that has as much to say as anybody takes.
        await new Promise((resolve) => setImmediate(resolve))
        yield { data }
      }
    })(),
  })
  const { port } = await listen({ judge: allowsAlice, forward })
  const { socket, got } = await client(port, OPENS_STREAM)
  socket.pause()
  let before = -1
  // It stands still once the client's side of the connection is full; a machine that is only slow makes less of it.
  await expect
    .poll(
      () => {
        const still = taken > 0 && taken === before
        before = taken
        return still
      },
      { timeout: 50_000, interval: 1_000 },
    )
    .toBe(true)
  // Of 256 MiB: what the kernel holds for both ends, and one frame here.
  expect(taken * FRAME).toBeLessThan(48 << 20)
  const held = taken
  socket.removeAllListeners('data')
  let read = 0
  socket.on('data', (chunk: Buffer) => {
    read += chunk.length
  })
  socket.resume()
  await expect.poll(() => taken > held && read > held * FRAME, { timeout: 50_000 }).toBe(true)
  expect(got.text.length).toBeLessThan(held * FRAME)
})
