import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { createListener } from '../../../src/edge/http/listener.ts'
import { finishLine } from '../../../src/log/event.ts'
import { DEFAULT_JSON_LIMITS } from '../../../src/mcp/strict-json.ts'
import { createKnownTools } from '../../../src/pep/facts.ts'
import type { Ports } from '../../../src/pep/ports.ts'
import { createSealer } from '../../../src/pep/session.ts'

const closers: (() => void)[] = []
afterEach(() => {
  for (const close of closers.splice(0)) close()
})

/** A listener before ports that do what nobody thought of. */
async function listen(broken: Partial<Ports>) {
  const lines: { decision_id: string; custom: { cause?: { code: string } } }[] = []
  let n = 0
  const ports: Ports = {
    judge: async () => ({ kind: 'unavailable', fault: 'no_bundle' }),
    forward: async () => ({ kind: 'failed', fault: 'upstream_failed' }),
    decline: () => {},
    record: async (line) => lines.push(JSON.parse(finishLine(line, lines.length + 1))) > 0,
    count: () => {},
    now: Date.now,
    newId: () => `id-${++n}`,
    ...broken,
  }
  const { server } = createListener(
    {
      ports,
      settings: {
        server: 's',
        limits: DEFAULT_JSON_LIMITS,
        forwardsAuthorization: false,
        eras: ['legacy', 'modern'],
        streamMaxAge: 1000,
        digestKey: Buffer.alloc(1),
      },
      sealer: createSealer(Buffer.alloc(16)),
      tools: createKnownTools(),
      origin: () => ({ labels: {}, bundles: {} }),
    },
    {
      endpoint: '/mcp',
      bodyLimit: 10_000,
      trustedProxies: [],
      allowedOrigins: [],
      allowedHosts: undefined,
      configured: undefined,
      maxConnections: 10,
      maxInFlight: 10,
    },
    () => {},
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(() => {
    server.close()
    server.closeAllConnections()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`
  const ask = () =>
    fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-pomerium-jwt-assertion': 'a.b.c' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' }),
    })
  return { ask, lines }
}

test.each<[string, Partial<Ports>]>([
  ['a judge that throws', { judge: () => Promise.reject(new Error('CANARY')) }],
  ['a judge that throws no Error', { judge: () => Promise.reject('CANARY') }],
])('%s: 500 with a decision id and a record, and the next request is served', async (_name, broken) => {
  const { ask, lines } = await listen(broken)
  for (let i = 0; i < 3; i++) {
    const answer = await ask()
    const body = await answer.text()
    expect(answer.status).toBe(500)
    expect(body).not.toContain('CANARY')
    const { decision_id } = JSON.parse(body).error.data
    expect(lines.find((line) => line.decision_id === decision_id)?.custom.cause?.code).toBe('internal')
  }
})

test('an answer that never comes holds one request, not the next', async () => {
  let first = true
  const { ask } = await listen({
    judge: () => {
      if (!first) return Promise.resolve({ kind: 'unavailable', fault: 'no_bundle' })
      first = false
      return new Promise(() => {})
    },
  })
  void ask().catch(() => undefined)
  await expect.poll(() => first).toBe(false)
  expect((await ask()).status).toBe(503)
})
