// Streams that are resumed (2025-11-25): the official clients before the official server, the sidecar between.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createIssuer, people } from '../support/assertions.ts'
import { CLIENTS } from '../support/clients.ts'
import { buildBundle, mainPolicy, noOpa } from '../support/policy.ts'
import { type Sidecar, startSidecar } from '../support/sidecar.ts'
import { startV1Server, type TestServer } from '../support/v1-server.ts'

const issuer = createIssuer()
let upstream: TestServer
let sidecar: Sidecar
let bundle: Awaited<ReturnType<typeof buildBundle>>

const start = (port = 0) =>
  startSidecar({
    upstream: upstream.url,
    jwks: issuer.jwks,
    config: {
      bundles: { mcp: { resource: bundle.path } },
      plugins: { mcp: { addr: `127.0.0.1:${port}` } },
    },
  })

describe.skipIf(noOpa)('with an official client', () => {
  beforeEach(async () => {
    upstream = await startV1Server()
    bundle = await buildBundle({ 'main.rego': mainPolicy('answer := {"allow": true}') })
    sidecar = await start()
  })
  afterEach(async () => {
    await sidecar.stop()
    await upstream.close()
    await bundle.dispose()
  })
  const legacy = CLIENTS.filter(([name]) => name === 'v1' || name === 'v2 legacy')
  const streamsOf = () =>
    sidecar
      .records()
      .filter(({ input }) => input?.method === 'stream/open' && input.parent)
      .map(({ input }) => input.parent)

  test.each(legacy)(
    '%s: a server that ends the stream of a call is polled for its answer',
    async (_n, connect) => {
      const alice = await connect(sidecar.url, () => issuer.mint(people.alice))
      const answer = alice.text('poll', {})
      await expect.poll(() => streamsOf().length, { timeout: 15_000 }).toBeGreaterThan(0)
      upstream.stage.release()
      expect(await answer).toBe('polled')
      expect(upstream.stage.ran).toEqual(['poll'])
      const [call] = sidecar.records().filter(({ input }) => input?.method === 'tools/call')
      expect(streamsOf()[0]).toEqual({ decision_id: call?.decision_id, method: 'tools/call', tool: 'poll' })
      expect((await sidecar.recordsOf(call?.decision_id ?? '', 2)).at(-1)?.custom).toMatchObject({
        end: 'resumable',
      })
      await alice.close()
    },
  )

  test.each(legacy)('%s: a call goes on over a restart of the sidecar', async (_n, connect) => {
    const alice = await connect(sidecar.url, () => issuer.mint(people.alice))
    const { promise: onIt, resolve: hear } = Promise.withResolvers<void>()
    alice.client.fallbackNotificationHandler = async () => hear()
    const answer = alice.text('wait', {})
    await onIt
    const { port } = sidecar
    expect(await sidecar.stop('SIGKILL')).toBe('SIGKILL')
    sidecar = await start(port)
    upstream.stage.release()
    expect(await answer).toBe('waited')
    expect(upstream.stage.ran).toEqual(['wait'])
    expect(streamsOf()[0]).toMatchObject({ tool: 'wait' })
    await alice.close()
  })
})
