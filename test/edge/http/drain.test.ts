// What a drain, the age of a stream and a full upstream do to answers that are under way.
import { IncomingMessage, ServerResponse } from 'node:http'
import { connect, Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { writeAnswer } from '../../../src/edge/http/answer.ts'
import type { OpenLine } from '../../../src/log/event.ts'
import type { Identity } from '../../../src/pdp/identity.ts'
import type { Ports } from '../../../src/pep/ports.ts'
import { createSealer } from '../../../src/pep/session.ts'
import { postBytes, sendRaw } from '../../support/raw.ts'
import { listen, SEAL } from './in-process.ts'

const identity: Identity = {
  source: 'pomerium',
  subject: 'alice',
  groups: [],
  issuer: 'i',
  audience: 'a',
  claims: {},
}
const line = JSON.stringify({ custom: { event: 'decision' } }).slice(0, -2) as OpenLine
const judge: Ports['judge'] = async ({ ask }) =>
  ask === 'identity'
    ? { kind: 'identified', identity }
    : { kind: 'decided', identity, decision: { allow: true, reasons: [] }, line }
const open: Socket[] = []
afterEach(() => {
  for (const socket of open.splice(0)) socket.destroy()
})

const PING = postBytes('a.b.c', { jsonrpc: '2.0', id: 1, method: 'ping' })
const sessionId = createSealer(SEAL).seal({
  upstream: 'up-1',
  owner: { issuer: 'i', subject: 'alice', audience: 'a' },
  version: '2025-11-25',
  issued: 0,
})
const GET = `GET /mcp HTTP/1.1\r\nhost: a\r\nx-pomerium-jwt-assertion: a.b.c\r\nmcp-session-id: ${sessionId}\r\n\r\n`
const note = JSON.stringify({
  jsonrpc: '2.0',
  method: 'notifications/message',
  params: { level: 'info', data: 'n' },
})

async function client(port: number, bytes: string | Buffer) {
  const socket = connect({ port, host: '127.0.0.1' })
  open.push(socket)
  const got = { text: '', closed: false }
  socket.on('data', (chunk) => {
    got.text += chunk
  })
  socket.on('error', () => undefined)
  socket.on('close', () => {
    got.closed = true
  })
  await new Promise<void>((resolve) => socket.once('connect', () => resolve()))
  socket.write(bytes)
  return { socket, got }
}

test('an answer that has ended is flushed to a slow client before its connection is closed', async () => {
  const size = 7_900_000
  const body = Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: 1, result: { a: 'y'.repeat(size) } }))
  let asked = false
  const { port, drain } = await listen({
    judge,
    forward: async () => {
      asked = true
      return { kind: 'message', status: 200, body }
    },
  })
  const { socket, got } = await client(port, PING)
  socket.pause()
  await expect.poll(() => asked).toBe(true)
  await new Promise((resolve) => setTimeout(resolve, 200))
  let drained = false
  const draining = drain().then(() => {
    drained = true
  })
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect([drained, got.text.length]).toEqual([false, 0])
  socket.resume()
  await draining
  await expect.poll(() => got.closed).toBe(true)
  expect(got.text.length).toBeGreaterThan(size)
  expect(got.text.endsWith('}')).toBe(true)
})

test('a connection that owes nothing is closed at once, and one with an answer after it', async () => {
  const { port, drain } = await listen({
    judge,
    forward: async () => {
      await new Promise((resolve) => setTimeout(resolve, 300))
      return { kind: 'message', status: 200, body: Buffer.from('{"jsonrpc":"2.0","id":1,"result":{}}') }
    },
  })
  const idle = await client(port, '')
  const busy = await client(port, PING)
  await new Promise((resolve) => setTimeout(resolve, 50))
  const drained = drain()
  await expect.poll(() => idle.got.closed, { timeout: 200 }).toBe(true)
  await drained
  await expect.poll(() => busy.got.closed).toBe(true)
  expect(busy.got.text).toContain('200 OK')
  expect(busy.got.text).toMatch(/connection: close/i)
})

test('nothing is written to a stream after a drain has ended it', async () => {
  // Without a socket nothing is flushed, as with a client that reads nothing.
  const response = new ServerResponse(new IncomingMessage(new Socket()))
  const errors: unknown[] = []
  response.on('error', (error) => errors.push(error))
  let end: (() => void) | undefined
  const items = (async function* () {
    yield { text: 'first', final: false }
    await new Promise((resolve) => setTimeout(resolve, 100))
    yield { text: 'second', final: false }
  })()
  const answer = { kind: 'stream', items, decision_id: 'id-1' } as const
  const written = writeAnswer(
    response,
    answer,
    new AbortController().signal,
    () => true,
    (stop) => {
      end = stop
      return () => undefined
    },
  )
  await expect.poll(() => end).toBeDefined()
  await new Promise((resolve) => setTimeout(resolve, 30))
  end?.()
  await written
  await new Promise((resolve) => setTimeout(resolve, 30))
  expect(errors).toEqual([])
})

test('a stream delivers nothing after its age, not even of a chunk that it has', async () => {
  let yielded = 0
  const { port } = await listen(
    {
      judge,
      forward: async () => ({
        kind: 'stream',
        frames: (async function* () {
          for (; yielded < 100; yielded++) {
            await new Promise((resolve) => setTimeout(resolve, 20))
            yield { data: note }
          }
        })(),
      }),
    },
    { streamMaxAge: 300 },
  )
  const { answers } = await sendRaw(port, GET)
  const delivered = answers[0]?.body.match(/event: message/g)?.length ?? 0
  expect(delivered).toBeGreaterThan(2)
  expect(delivered).toBeLessThan(20)
  expect(yielded).toBeLessThan(20)
})

test('a stream that its client does not read ends with its age, not with the patience for slow readers', async () => {
  const big = JSON.stringify({
    jsonrpc: '2.0',
    method: 'notifications/message',
    params: { level: 'info', data: 'x'.repeat(1 << 20) },
  })
  let ended = 0
  const { port } = await listen(
    {
      judge,
      forward: async () => ({
        kind: 'stream',
        frames: (async function* () {
          try {
            for (let i = 0; i < 100; i++) yield { data: big }
          } finally {
            ended = performance.now()
          }
        })(),
      }),
    },
    { streamMaxAge: 500 },
  )
  const began = performance.now()
  const socket = connect({ port, host: '127.0.0.1' })
  socket.on('error', () => undefined)
  socket.pause()
  socket.write(GET)
  await expect.poll(() => ended, { timeout: 8_000 }).toBeGreaterThan(began)
  expect(ended - began).toBeLessThan(8_000)
  // What it had not read is gone with the connection.
  socket.resume()
  await expect.poll(() => socket.destroyed, { timeout: 8_000 }).toBe(true)
})

test('an upstream that takes no more says when to come again', async () => {
  const { port } = await listen({ judge, forward: async () => ({ kind: 'failed', fault: 'upstream_busy' }) })
  const { answers } = await sendRaw(port, PING)
  expect(answers[0]?.status).toBe(503)
  expect(answers[0]?.header('retry-after')).toBe('1')
})
