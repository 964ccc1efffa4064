// Requests of 2026-07-28 from a client over stdio: each stands for itself, and is over when it is cancelled.
import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { serveStdio } from '../../../src/edge/stdio/in.ts'
import { DEFAULT_JSON_LIMITS } from '../../../src/mcp/strict-json.ts'
import type { Identity } from '../../../src/pdp/identity.ts'
import type { Answer, Arrival } from '../../../src/pep/ports.ts'

const identity: Identity = { source: 'configured', subject: 'ann', groups: [], claims: {} }
const _meta = {
  'io.modelcontextprotocol/protocolVersion': '2026-07-28',
  'io.modelcontextprotocol/clientCapabilities': {},
}

/** What would decide: `hold` and subscriptions have no end of their own, anything else is answered. */
function serve(drain = 60_000) {
  const [stdin, stdout] = [new PassThrough(), new PassThrough()]
  const arrivals: { method: string; arrival: Arrival }[] = []
  const said: { id?: unknown; method?: string }[] = []
  stdout.on('data', (chunk) => {
    for (const line of String(chunk).trimEnd().split('\n')) said.push(JSON.parse(line))
  })
  const answer = (id: unknown): Answer => ({
    kind: 'message',
    status: 200,
    text: JSON.stringify({ jsonrpc: '2.0', id, result: {} }),
    decision_id: 'd',
  })
  const handle = async (arrival: Arrival): Promise<Answer> => {
    const { id, method = '', params } = JSON.parse(String(Buffer.from(arrival.body)))
    arrivals.push({ method, arrival })
    const gone = new Promise<void>((resolve) => {
      if (arrival.signal.aborted) resolve()
      else arrival.signal.addEventListener('abort', () => resolve(), { once: true })
    })
    if (method === 'subscriptions/listen')
      return {
        kind: 'stream',
        decision_id: 'd',
        items: (async function* () {
          yield { text: JSON.stringify({ jsonrpc: '2.0', method: 'acknowledged' }), final: false }
          await gone
        })(),
      }
    if (params?.name === 'hold') await gone
    return answer(id)
  }
  const refused: string[] = []
  const settings = { identity, limits: DEFAULT_JSON_LIMITS, drain }
  const server = serveStdio(handle, settings, { stdin, stdout }, ({ text }) => void refused.push(text))
  const send = (message: object) => stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`)
  return {
    arrivals,
    said,
    refused,
    stdin,
    ended: server.ended,
    send,
    call: (id: number, name = 'x') => send({ id, method: 'tools/call', params: { name, _meta } }),
    listen: (id: number) =>
      send({ id, method: 'subscriptions/listen', params: { notifications: {}, _meta } }),
    cancel: (requestId: unknown) => send({ method: 'notifications/cancelled', params: { requestId } }),
  }
}

test('a call that is cancelled ends as one whose client has gone, and is not answered', async () => {
  const at = serve()
  at.call(1, 'hold')
  at.call(2, 'hold')
  at.cancel(1)
  await expect.poll(() => at.arrivals[0]?.arrival.signal.aborted, { timeout: 10_000 }).toBe(true)
  expect(at.arrivals[1]?.arrival.signal.aborted).toBe(false)
  at.call(3)
  await expect.poll(() => at.said, { timeout: 10_000 }).toHaveLength(1)
  expect(at.said).toMatchObject([{ id: 3 }])
  // It is no message for the server: that hears of it in the form that its transport has.
  expect(at.arrivals.map(({ method }) => method)).toEqual(['tools/call', 'tools/call', 'tools/call'])
})

test('a cancellation of nothing that is open is a message like any other', async () => {
  const at = serve()
  for (const id of ['1', null, { a: 1 }, undefined]) at.cancel(id)
  at.call(1)
  at.cancel(1)
  await expect.poll(() => at.arrivals.length, { timeout: 10_000 }).toBeGreaterThan(4)
  expect(at.arrivals.filter(({ method }) => method === 'notifications/cancelled').length).toBeGreaterThan(3)
})

test('subscriptions that stay hold up no call, and end with their cancellation', async () => {
  const at = serve()
  for (let id = 0; id < 128; id++) at.listen(id)
  await expect.poll(() => at.said, { timeout: 20_000 }).toHaveLength(128)
  at.call(1000)
  await expect.poll(() => at.said.at(-1), { timeout: 10_000 }).toMatchObject({ id: 1000 })
  at.cancel(7)
  await expect.poll(() => at.arrivals[7]?.arrival.signal.aborted, { timeout: 10_000 }).toBe(true)
  expect(at.arrivals[8]?.arrival.signal.aborted).toBe(false)
})

test('the end of the input waits for calls and not for subscriptions', async () => {
  const at = serve(3_600_000)
  at.listen(1)
  await expect.poll(() => at.said, { timeout: 10_000 }).toHaveLength(1)
  at.call(2)
  at.stdin.end()
  expect(await at.ended).toBe('eof')
  expect(at.said.at(-1)).toMatchObject({ id: 2 })
  expect(at.arrivals[0]?.arrival.signal.aborted).toBe(true)
})
