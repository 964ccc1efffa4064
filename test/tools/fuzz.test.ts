// A short run of each fuzzer, on the same inputs each time, so that a change is what fails it; FUZZ_SEED has others, and
// `npm run fuzz -- --seconds 600` goes on for long.
import { describe, expect, test } from 'vitest'
import { goReading } from '../../tools/fuzz/go-reading.ts'
import { http } from '../../tools/fuzz/http.ts'
import { bundle, configuration, json, jwt, message, sse } from '../../tools/fuzz/parsers.ts'
import { fuzz } from '../../tools/fuzz/run.ts'

const seed = Number(process.env.FUZZ_SEED ?? 20_260_728)
const go = await goReading().catch((error: Error) => {
  console.warn(`SKIPPED: how Go reads what is accepted is tested with Go: ${error.message.split('\n')[0]}`)
  return undefined
})

describe(`fuzzed with seed ${seed}`, () => {
  test.each([json, message, sse, jwt, configuration, bundle])('$name', async (target) => {
    const { inputs, findings } = await fuzz(target, 3, seed)
    expect(findings).toEqual([])
    expect(inputs).toBeGreaterThan(20)
  })
  test.skipIf(!go)('go-reading: Go reads what is accepted as it is read here', async () => {
    const { inputs, findings } = await fuzz(go!, 5, seed)
    expect(findings).toEqual([])
    expect(inputs).toBeGreaterThan(20)
  })
  test('http: nothing upstream without an allow on record', async () => {
    const { inputs, findings } = await fuzz(await http(), 10, seed)
    expect(findings).toEqual([])
    expect(inputs).toBeGreaterThan(20)
  }, 60_000)
})
