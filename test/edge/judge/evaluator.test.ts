import { readFile } from 'node:fs/promises'
import * as sdk from '@open-policy-agent/opa-wasm'
import { describe, expect, test } from 'vitest'
import { loadPolicyFiles } from '../../../src/edge/judge/bundle.ts'
import { createEvaluator } from '../../../src/edge/judge/evaluator.ts'
import { compilePolicy } from '../../../src/edge/judge/module/compile.ts'
import { compareBuiltins } from '../../../tools/builtins.ts'
import { moduleOf } from '../../../tools/capabilities.ts'
import { NATIVE_DIFFERENCES } from '../../../tools/native-differences.ts'
import { buildBundle, noOpa } from '../../support/policy.ts'

const { loadPolicySync } = (sdk as unknown as { default: typeof sdk }).default

async function evaluatorOf(rules: string, data: object = {}, goOn?: () => void) {
  const text = `package t\n\n# METADATA\n# entrypoint: true\nanswer := ${rules}\n`
  const bundle = await buildBundle({ 't.rego': text })
  try {
    return createEvaluator(compilePolicy(await moduleOf(bundle.path)), data, goOn)
  } finally {
    await bundle.dispose()
  }
}
const answerOf = async (rules: string, input: object = {}) =>
  (await evaluatorOf(rules)).evaluate('t/answer', input)

describe.skipIf(noOpa)('the binding', () => {
  test('sets come sorted, as lists; keys that are no text as text', async () => {
    expect(await answerOf('{"set": {"c", "a", "b", 10, 9, null, true, ["x"]}, "empty": set()}')).toEqual([
      { result: { set: [null, true, 9, 10, 'a', 'b', 'c', ['x']], empty: [] } },
    ])
    expect(await answerOf('{[1, {"a"}]: 2, 3: 4}')).toEqual([{ result: { '[1,["a"]]': 2, '3': 4 } }])
  })

  test('what is undefined is no answer, and false is one', async () => {
    expect(await answerOf('1 if input.x')).toEqual([])
    expect(await answerOf('false')).toEqual([{ result: false }])
  })

  test('an evaluation has 64 MiB besides its data, whatever that takes; what wants more is an error', async () => {
    const rule = 'count([text | some n in numbers.range(1, input.n); text := concat("", [input.text, "x"])])'
    const dense = { digits: Array(500_000).fill(1) }
    const light = { text: 'x'.repeat(1_000_000) }
    // What reading the dense one left free comes on top.
    for (const [data, most] of [
      [{}, 80],
      [light, 80],
      [dense, 200],
    ] as const) {
      const evaluator = await evaluatorOf(rule, data)
      const text = 'x'.repeat(100_000)
      expect(evaluator.evaluate('t/answer', { text, n: 200 })).toEqual([{ result: 200 }])
      expect(() => evaluator.evaluate('t/answer', { text, n: most * 10 })).toThrow('opa_malloc: failed')
    }
  })

  test('a number that JavaScript cannot hold is an error, not another number', async () => {
    const evaluator = await evaluatorOf('9007199254740993')
    expect(() => evaluator.evaluate('t/answer', {})).toThrow('9007199254740993')
    expect(evaluator.spoiled()).toBe(true)
    expect(await answerOf('9007199254740991')).toEqual([{ result: 9007199254740991 }])
  })

  test('time.now_ns is the time of the message, or of the event, or an error', async () => {
    const evaluator = await evaluatorOf('[time.now_ns() == input.ns, time.now_ns() - time.now_ns()]')
    const asked = { time_ms: 1795379174008 }
    expect(evaluator.evaluate('t/answer', { ...asked, ns: 1795379174008 * 1e6 })).toEqual([
      { result: [true, 0] },
    ])
    const text = await evaluatorOf('sprintf("%d", [time.now_ns()])')
    expect(text.evaluate('t/answer', asked)).toEqual([{ result: '1795379174008000000' }])
    expect(text.evaluate('t/answer', { input: asked })).toEqual([{ result: '1795379174008000000' }])
    expect(() => text.evaluate('t/answer', {})).toThrow('time_ms')
    text.restore()
    expect(text.evaluate('t/answer', asked)).toEqual([{ result: '1795379174008000000' }])
  })

  test('an operand of another type is undefined and spoils nothing; what cannot be answered names itself', async () => {
    const evaluator = await evaluatorOf('time.format([input.ns, input.zone, input.layout])')
    const ns = { ns: 1e18, zone: 'Europe/Bucharest' }
    for (let i = 0; i < 6000; i++)
      expect(evaluator.evaluate('t/answer', { ...ns, zone: 7, layout: 'RFC3339' })).toEqual([])
    expect(evaluator.evaluate('t/answer', { ...ns, layout: 'RFC3339' })).toEqual([
      { result: '2001-09-09T04:46:40+03:00' },
    ])
    expect(() => evaluator.evaluate('t/answer', { ...ns, layout: 'RFC1123' })).toThrow('time.format')
    expect(evaluator.spoiled()).toBe(true)
  })

  test('whether to go on is asked with each builtin and at the end; what says no spoils the evaluator', async () => {
    let asked = 0
    let most = Number.POSITIVE_INFINITY
    const evaluator = await evaluatorOf('urlquery.decode(input.x)', {}, () => {
      if (++asked > most) throw new Error('no further')
    })
    expect(asked).toBe(0)
    expect(evaluator.evaluate('t/answer', { x: 'a%20b' })).toEqual([{ result: 'a b' }])
    expect(asked).toBe(2)
    most = 3
    expect(() => evaluator.evaluate('t/answer', { x: 'a' })).toThrow('no further')
    expect(asked).toBe(4)
    expect(() => evaluator.evaluate('t/answer', { x: 'a' })).toThrow('spoiled')
  })

  test('regular expressions take linear time', async () => {
    const evaluator = await evaluatorOf('regex.split("(a+)+$", input.text)')
    const text = `${'a'.repeat(20_000)}!`
    expect(evaluator.evaluate('t/answer', { text })).toEqual([{ result: [text] }])
  })

  test('an entrypoint that there is not, and an abort', async () => {
    const evaluator = await evaluatorOf('object.union({"a": input.x}, {})')
    expect(() => evaluator.evaluate('t/other', {})).toThrow('no entrypoint t/other')
    evaluator.restore()
    expect(evaluator.evaluate('t/answer', { x: 1 })).toEqual([{ result: { a: 1 } }])
    expect(() => evaluator.evaluate('t/answer', { x: '\ud800' })).toThrow('illegal')
    expect(() => evaluator.evaluate('t/answer', { x: 1 })).toThrow('spoiled')
  })

  test('the package of OPA is of the same opinion on the default policy', async () => {
    const policy = await loadPolicyFiles({ default: 'bundles/default.tar.gz' }, 'mcp/main/decision')
    const ours = createEvaluator(policy.module, policy.data)
    // As it was built: what asks the host in its place is unknown to that package.
    const theirs = loadPolicySync(await moduleOf('bundles/default.tar.gz'), { initial: 64, maximum: 4096 })
    theirs.setData(JSON.parse(policy.data))
    for (const name of ['create_pull_request', 'merge_pull_request', 'get_me', 'none']) {
      const input = {
        server: 'github',
        kind: 'request',
        direction: 'to_server',
        method: 'tools/call',
        tool: { name, declared: 'listed' },
        arguments: { owner: 'acme', repo: 'app', head: 'agent/x', base: 'main', title: 'T' },
        identity: { subject: 'alice', groups: ['engineering'] },
        items: [{ kind: 'tool', key: name }],
      }
      for (const entrypoint of ['mcp/main/decision', 'mcp/main/visible'])
        expect(ours.evaluate(entrypoint, input)).toEqual(theirs.evaluate(input, entrypoint))
    }
  })
})

test.skipIf(noOpa)(
  'each builtin answers as in `opa eval`; more of it is `npm run differential:builtins`',
  async () => {
    const seed = 3
    const tallies = await compareBuiltins(12, seed)
    expect(tallies.length).toBeGreaterThan(140)
    const different = tallies.filter((tally) => tally.different > 0 && !(tally.builtin in NATIVE_DIFFERENCES))
    expect(different, `seed ${seed}`).toEqual([])
    // Most arguments must get an answer, or little is compared.
    const [calls, defined] = [tallies.length * 12, tallies.reduce((sum, tally) => sum + tally.defined, 0)]
    expect(defined).toBeGreaterThan(calls / 2)
  },
  120_000,
)

test('docs/builtins.md tells of all of OPA’s builtins', async () => {
  const rows = (await readFile('docs/builtins.md', 'utf8')).match(/^\| `.*$/gm) ?? []
  expect(rows.length).toBe(206)
})
