// HTTP with SSE (2024-11-05): official clients before the official server, and an upstream that does what it should not.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createIssuer, people } from '../support/assertions.ts'
import { SSE_CLIENTS } from '../support/clients.ts'
import { buildBundle, mainPolicy, noOpa } from '../support/policy.ts'
import { type Sidecar, startSidecar } from '../support/sidecar.ts'
import { startV1SseServer, type TestServer } from '../support/v1-server.ts'

const POLICY = `answer := {"allow": false, "reasons": [{"code": "no_deleting", "title": "Nothing is deleted here"}]} if {
	input.tool.name == "delete_all"
} else := {"allow": true}`
const issuer = createIssuer()
let bundle: Awaited<ReturnType<typeof buildBundle>>

const start = (upstream: string) =>
  startSidecar({
    upstream,
    jwks: issuer.jwks,
    config: {
      bundles: { mcp: { resource: bundle.path } },
      plugins: { mcp: { endpoint: '/sse', upstream: { transport: 'sse' } } },
    },
  })
const as = (who: 'alice' | 'mona') => ({
  'x-pomerium-jwt-assertion': issuer.mint(people[who]),
  'content-type': 'application/json',
})

/** A stream as it comes: each event with its name. */
async function openStream(url: string, who: 'alice' | 'mona' = 'alice') {
  const gone = new AbortController()
  const answer = await fetch(url, { headers: as(who), signal: gone.signal })
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  const next = async (): Promise<{ event: string; data: string } | undefined> => {
    for (;;) {
      const end = rest.indexOf('\n\n')
      const block = end < 0 ? undefined : rest.slice(0, end)
      if (block !== undefined) {
        rest = rest.slice(end + 2)
        const [, event, data] = /^event: (.*)\ndata: (.*)$/.exec(block) ?? []
        if (event !== undefined && data !== undefined) return { event, data }
        continue
      }
      const step = await reader?.read()
      if (!step || step.done) return undefined
      rest += step.value
    }
  }
  return { answer, next, close: () => gone.abort() }
}
const rpc = (id: number, method: string, params: object = {}) =>
  JSON.stringify({ jsonrpc: '2.0', id, method, params })
const HELLO = rpc(0, 'initialize', {
  protocolVersion: '2024-11-05',
  capabilities: {},
  clientInfo: { name: 't', version: '1' },
})

describe.skipIf(noOpa)('HTTP with SSE', () => {
  let upstream: TestServer
  let sidecar: Sidecar
  beforeAll(async () => {
    bundle = await buildBundle({ 'main.rego': mainPolicy(POLICY) })
  })
  afterAll(() => bundle?.dispose())

  describe('before the official server', () => {
    beforeEach(async () => {
      upstream = await startV1SseServer()
      sidecar = await start(upstream.url)
    })
    afterEach(async () => {
      await sidecar.stop()
      await upstream.close()
    })

    test.each(SSE_CLIENTS)('a %s client: allowed, denied, notified, recorded', async (_name, connect) => {
      const alice = await connect(sidecar.url, () => issuer.mint(people.alice))
      const heard = Promise.withResolvers<unknown>()
      alice.client.fallbackNotificationHandler = async (note) => heard.resolve(note)
      expect(await alice.names()).toContain('echo')
      expect(await alice.text('echo', { text: 'hi' })).toBe('hi')
      expect(await alice.text('delete_all', {})).toContain('Nothing is deleted here [no_deleting]')
      await alice.call('announce', {})
      expect(await heard.promise).toMatchObject({ params: { data: 'hear, hear' } })
      const slow = alice.text('wait', {})
      expect(await alice.text('echo', { text: 'meanwhile' })).toBe('meanwhile')
      upstream.stage.release()
      expect(await slow).toBe('waited')
      expect(upstream.stage.ran).toEqual(['echo', 'announce', 'wait', 'echo'])
      await alice.close()
      const decisions = sidecar.records().filter(({ custom }) => custom.event === 'decision')
      expect(decisions.map(({ input }) => input.method)).toEqual(
        expect.arrayContaining(['stream/open', 'initialize', 'tools/list', 'tools/call']),
      )
      expect(decisions.at(-1)?.input.protocol_version).toBe('2025-11-25')
    })

    test('trap 22: the endpoint event leads to the sidecar, with a session that is ours', async () => {
      const stream = await openStream(sidecar.url)
      const first = await stream.next()
      expect(first).toMatchObject({
        event: 'endpoint',
        data: expect.stringMatching(/^\/sse\/message\?sessionId=v1\./),
      })
      const post = (body: string, who: 'alice' | 'mona' = 'alice', to = first?.data ?? '') =>
        fetch(new URL(to, sidecar.url), { method: 'POST', headers: as(who), body })
      // D1, D9: another person's session, and one that is none.
      expect((await post(HELLO, 'mona')).status).toBe(404)
      expect((await post(HELLO, 'alice', '/sse/message?sessionId=v1.x')).status).toBe(404)
      expect((await post(HELLO, 'alice', '/messages?sessionId=x')).status).toBe(404)
      expect((await post(HELLO, 'alice', '/sse')).status).toBe(405)
      expect(upstream.stage.ran).toEqual([])
      expect((await post(HELLO)).status).toBe(202)
      expect(JSON.parse((await stream.next())?.data ?? '')).toMatchObject({
        id: 0,
        result: { protocolVersion: '2024-11-05' },
      })
      // A denial has an answer like any other; what is no message has a status.
      expect((await post(rpc(1, 'tools/call', { name: 'delete_all' }))).status).toBe(202)
      expect(JSON.parse((await stream.next())?.data ?? '')).toMatchObject({
        id: 1,
        result: { isError: true },
      })
      expect((await post('[]')).status).toBe(400)
      expect((await post(rpc(2, 'no/such'))).status).toBe(202)
      expect(JSON.parse((await stream.next())?.data ?? '')).toMatchObject({ id: 2, error: { code: -32601 } })
      stream.close()
      await expect.poll(async () => (await post(HELLO)).status).toBe(404)
      expect(sidecar.spool()).not.toContain(first?.data.split('=')[1])
    })

    test('the stream ends with its age, and with it the session', async () => {
      await sidecar.stop()
      sidecar = await startSidecar({
        upstream: upstream.url,
        jwks: issuer.jwks,
        config: {
          bundles: { mcp: { resource: bundle.path } },
          plugins: { mcp: { endpoint: '/sse', stream_max_age: '1s', upstream: { transport: 'sse' } } },
        },
      })
      const stream = await openStream(sidecar.url)
      expect((await stream.next())?.event).toBe('endpoint')
      expect(await stream.next()).toBeUndefined()
    })
  })

  describe('before one that names what it likes', () => {
    let said: string
    let asked: string[] = []
    const http = createServer((request, response) => {
      asked.push(`${request.method} ${request.url}`)
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write(said)
    })
    const address = () => `127.0.0.1:${(http.address() as AddressInfo).port}`
    beforeAll(async () => {
      await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
      sidecar = await start(`http://${address()}/sse`)
    })
    afterAll(async () => {
      await sidecar.stop()
      http.closeAllConnections()
      http.close()
    })

    test.each([
      ['of another origin', 'http://127.0.0.1:1/messages'],
      ['of another scheme', 'https://127.0.0.1/messages'],
      ['relative to another host', '//evil.example/messages'],
      ['with a user', 'http://u@HOST/messages'],
      ['with a fragment', '/messages#x'],
      ['that is too long to be sealed', `/${'x'.repeat(1100)}`],
      ['that is none: another event comes first', undefined],
    ])('I6: an endpoint %s is not followed', async (_name, endpoint) => {
      asked = []
      said =
        endpoint === undefined
          ? 'event: message\ndata: {}\n\n'
          : `event: endpoint\ndata: ${endpoint.replace('HOST', address())}\n\n`
      expect((await fetch(sidecar.url, { headers: as('alice') })).status).toBe(502)
      expect(asked).toEqual(['GET /sse'])
    })
  })
})
