// What a client does to its connection: before any identity is asked for, and without a word of HTTP that is in order.
import { connect, type Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { postBytes } from '../../support/raw.ts'
import { listen } from './in-process.ts'

const open: Socket[] = []
const uncaught: unknown[] = []
const onUncaught = (error: unknown) => uncaught.push(error)
afterEach(() => {
  for (const socket of open.splice(0)) socket.destroy()
})

/** A client that never closes by itself, and what it got. */
async function client(port: number) {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const got = { text: '', closed: false }
  open.push(socket)
  socket.on('data', (chunk) => {
    got.text += chunk
  })
  socket.on('error', () => undefined)
  socket.on('close', () => {
    got.closed = true
  })
  await new Promise<void>((resolve) => socket.once('connect', () => resolve()))
  return { socket, got }
}
const HEAD = 'POST /mcp HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n'
const causes = (lines: { custom: { cause?: { code: string } } }[]) =>
  lines.map((line) => line.custom.cause?.code)

test.each([
  ['Upgrade', 'GET /mcp HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'],
  ['CONNECT', 'CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n'],
  ['no HTTP', 'nothing\r\n\r\n'],
])('a reset after %s ends the connection only', async (_name, bytes) => {
  const record = async () => {
    await new Promise((resolve) => setTimeout(resolve, 30))
    return true
  }
  const { ask, port } = await listen({ record })
  process.on('uncaughtException', onUncaught)
  for (let i = 0; i < 5; i++) {
    const { socket } = await client(port)
    await new Promise((resolve) => socket.write(bytes, resolve))
    if (i > 0) await new Promise((resolve) => setTimeout(resolve, 10 * i))
    socket.resetAndDestroy()
  }
  await new Promise((resolve) => setTimeout(resolve, 100))
  process.off('uncaughtException', onUncaught)
  expect(uncaught).toEqual([])
  expect((await ask()).status).toBe(503)
})

test.each([
  ['a body', `${HEAD}{`],
  ['a head', 'POST /mcp HTTP/1.1\r\nhost: a\r\n'],
  ['anything at all', ''],
])(
  'a client that stalls before the end of %s is told, loses its slot, and its connection soon after',
  async (_name, bytes) => {
    const { ask, port, lines } = await listen({}, { maxInFlight: 1, patience: 200 })
    const { socket, got } = await client(port)
    if (bytes) socket.write(bytes)
    await expect.poll(() => got.text, { timeout: 3000 }).toContain('408')
    expect(await (await ask()).text()).toContain('no_bundle')
    expect(causes(lines)).toEqual(['body_timeout', 'no_bundle'])
    expect(got.text.match(/HTTP\/1.1/g)).toHaveLength(1)
    // The server reads no more: what is written now finds nobody.
    await expect
      .poll(
        () => {
          socket.write('x')
          return got.closed
        },
        { timeout: 3000 },
      )
      .toBe(true)
  },
)

test('what is no request, after one that is: that one has its answer, and then it is over', async () => {
  const { port, lines } = await listen({
    judge: async () => {
      await new Promise((resolve) => setTimeout(resolve, 100))
      return { kind: 'unavailable', fault: 'no_bundle' }
    },
  })
  const { socket, got } = await client(port)
  const call = postBytes('a.b.c', { jsonrpc: '2.0', id: 1, method: 'tools/list' })
  socket.write(call)
  await new Promise((resolve) => setTimeout(resolve, 30))
  socket.write('nothing\r\n\r\n')
  await expect.poll(() => got.text).toContain('no_bundle')
  expect(got.text.match(/HTTP\/1.1/g)).toHaveLength(1)
  expect(causes(lines).sort()).toEqual(['bad_http', 'no_bundle'])
})
