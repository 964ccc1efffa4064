// The sidecar is transparent where the policy allows: the official suite sees the same server with and without it.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { noOpa } from '../support/policy.ts'
import type { Sidecar } from '../support/sidecar.ts'
import { startServer } from './server.ts'
import { count, differences, RUNS, runSuite, startAllowAll } from './suite.ts'

describe.skipIf(noOpa)('the conformance suite', () => {
  let server: Awaited<ReturnType<typeof startServer>>
  let sidecar: Sidecar
  beforeAll(async () => {
    server = await startServer()
    sidecar = await startAllowAll(server.url)
  }, 60_000)
  afterAll(async () => {
    await sidecar?.stop()
    await server?.close()
  })

  test.each(RUNS)('sees no difference: $name', { timeout: 240_000 }, async (run) => {
    const direct = await runSuite(run, server.url)
    const before = sidecar.records().length
    const through = await runSuite(run, sidecar.url)
    expect(differences(direct, through)).toEqual({})
    // The comparison means something only where the server passes and the sidecar was in the way.
    expect(count(direct)).toMatchObject({ failed: 0 })
    expect(count(direct).passed).toBeGreaterThan(0)
    expect(sidecar.records().length).toBeGreaterThan(before)
  })
})
