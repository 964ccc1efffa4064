import { expect, test } from 'vitest'
import { compare } from '../../tools/differential.ts'
import { noOpa } from '../support/policy.ts'

test.skipIf(noOpa)(
  'WebAssembly decides what `opa eval` decides; 100,000 inputs are `npm run differential`',
  async () => {
    const seed = Date.now() % 2 ** 32
    const { inputs, allowed, shown, differences } = await compare(2_000, seed)
    expect(differences, `seed ${seed}`).toEqual([])
    expect(inputs).toBe(2_000)
    expect(allowed).toBeGreaterThan(50)
    expect(shown).toBeGreaterThan(20)
  },
  60_000,
)
