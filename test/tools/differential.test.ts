import { expect, test } from 'vitest'
import { compare } from '../../tools/differential.ts'
import { noOpa } from '../support/policy.ts'

/** One server of each profile, and those with switches of their own. */
const SERVERS = [
  'github',
  'github-bound',
  'slack',
  'adopting',
  'billing',
  'files',
  'db',
  'plain',
  'pinned',
  'looking',
  'trying',
]

test.skipIf(noOpa)(
  'WebAssembly decides what `opa eval` decides, with every profile; 100,000 inputs are `npm run differential`',
  async () => {
    const seed = Date.now() % 2 ** 32
    const { inputs, allowed, shown, differences } = await compare(2_000, seed)
    expect(differences, `seed ${seed}`).toEqual([])
    expect(inputs).toBe(2_000)
    for (const server of SERVERS) expect(allowed[server] ?? 0, `${server}, seed ${seed}`).toBeGreaterThan(0)
    expect(shown.whole).toBeGreaterThan(50)
  },
  60_000,
)
