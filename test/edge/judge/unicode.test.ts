import { spawnSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { isNewer } from '../../../src/edge/judge/builtins/unicode.ts'
import { createEvaluator } from '../../../src/edge/judge/evaluator.ts'
import { compilePolicy } from '../../../src/edge/judge/module/compile.ts'
import { moduleOf } from '../../../tools/capabilities.ts'
import { opaPath } from '../../../tools/opa.ts'
import { buildBundle, noOpa } from '../../support/policy.ts'

/** Beyond are tags, variants and private use, and planes without any character. */
const ASSIGNED = 0x33480
const CHUNK = 30_000

const POLICY = `package t

upper_cased := [upper(c) | some c in input.characters]
lower_cased := [lower(c) | some c in input.characters]
trimmed := [trim_space(c) | some c in input.characters]
quoted := [sprintf("%v", [[c]]) | some c in input.characters]
letters := [regex.match(\`^\\pL\`, c) | some c in input.known]
others := [regex.match(\`^[\\pN\\pM\\pP\\pS\\pZ]\`, c) | some c in input.known]
folded := [regex.match(\`(?i)^[k-sµθ]$\`, c) | some c in input.known]
`
const BY_CLASS = ['letters', 'others', 'folded']

test.skipIf(noOpa)(
  'each character is to the host what it is to OPA',
  async () => {
    const rules = [...POLICY.matchAll(/^(\w+) :=/gm)].map(([, rule]) => rule as string)
    const bundle = await buildBundle(
      { 't.rego': POLICY },
      rules.flatMap((rule) => ['-e', `t/${rule}`]),
    )
    try {
      const evaluator = createEvaluator(compilePolicy(await moduleOf(bundle.path)), {})
      const source = join(dirname(bundle.path), 't.rego')
      await writeFile(source, POLICY)
      for (let from = 0; from < ASSIGNED; from += CHUNK) {
        const characters: string[] = []
        for (let code = from; code < Math.min(from + CHUNK, ASSIGNED); code++)
          if (code < 0xd800 || code > 0xdfff) characters.push(String.fromCodePoint(code))
        const input = { characters, known: characters.filter((c) => !isNewer(c)) }
        const { stdout, status } = spawnSync(
          await opaPath(),
          ['eval', '--format', 'json', '--stdin-input', '--data', source, 'data.t'],
          { input: JSON.stringify(input), maxBuffer: 256 << 20 },
        )
        expect(status).toBe(0)
        const theirs = JSON.parse(stdout.toString()).result[0].expressions[0].value
        for (const rule of rules) {
          const [answer] = evaluator.evaluate(`t/${rule}`, input) as { result: unknown[] }[]
          const given = BY_CLASS.includes(rule) ? input.known : characters
          const different = given.filter((_, i) => answer?.result[i] !== theirs[rule][i])
          expect(different, `${rule} from ${from}`).toEqual([])
        }
      }
    } finally {
      await bundle.dispose()
    }
  },
  120_000,
)
