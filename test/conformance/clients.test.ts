// A server sees the same client with and without the sidecar between, as the official suite's client scenarios tell.
import { describe, expect, test } from 'vitest'
import { noOpa } from '../support/policy.ts'
import { CLIENT_SCENARIOS, count, differences, runClient } from './suite.ts'

describe.skipIf(noOpa)('the conformance suite’s client scenarios', () => {
  test.each(CLIENT_SCENARIOS)('%s of %s', { timeout: 120_000 }, async (scenario, version) => {
    const direct = await runClient(scenario, version, false)
    expect(count(direct)).toMatchObject({ failed: 0 })
    expect(count(direct).passed).toBeGreaterThan(0)
    const found = differences(direct, await runClient(scenario, version, true))
    expect(found).toEqual({})
  })
})
