import { describe, expect, test } from 'vitest'
import { NATIVES } from '../../../src/edge/judge/builtins/natives.ts'
import { createEvaluator } from '../../../src/edge/judge/evaluator.ts'
import { compilePolicy, FIRST_ID } from '../../../src/edge/judge/module/compile.ts'
import { functionsOf } from '../../../src/edge/judge/module/functions.ts'
import { withInterrupts } from '../../../src/edge/judge/module/interrupts.ts'
import { withMemoLists } from '../../../src/edge/judge/module/memo.ts'
import { ModuleError, sectionsOf } from '../../../src/edge/judge/module/reader.ts'
import { rewritten } from '../../../src/edge/judge/module/rewrite.ts'
import { moduleOf } from '../../../tools/capabilities.ts'
import { createRandom } from '../../../tools/fuzz/random.ts'
import { buildBundle, noOpa } from '../../support/policy.ts'

const shipped = await moduleOf('bundles/default.tar.gz')

/** Sections as they are, but for what `change` makes of one. */
function changed(
  id: number,
  change: (content: Uint8Array) => Uint8Array | undefined,
): Uint8Array<ArrayBuffer> {
  const parts = sectionsOf(shipped).flatMap((section) => {
    const content = section.id === id ? change(section.content) : section.content
    if (!content) return []
    const size: number[] = []
    for (let rest = content.length; ; rest >>= 7) {
      size.push(rest > 127 ? (rest & 127) | 128 : rest)
      if (rest <= 127) break
    }
    return [Uint8Array.of(section.id, ...size), content]
  })
  return new Uint8Array(Buffer.concat([shipped.subarray(0, 8), ...parts]))
}

const renamed = (from: string, to: string) =>
  changed(0, (content) => Buffer.from(Buffer.from(content).toString('latin1').replace(from, to), 'latin1'))

const CONCAT = { name: 'opa_strings_concat', id: FIRST_ID, arity: 2 }

describe('a module is rewritten', () => {
  test('in the functions that are named, and nowhere else', () => {
    const before = functionsOf(sectionsOf(shipped))
    const replaced = [
      { ...CONCAT, when: [['set', 1]] as const },
      { ...CONCAT, name: 'opa_strings_none' },
    ]
    const after = functionsOf(sectionsOf(rewritten(shipped, replaced)))
    expect(after.named).toEqual(before.named)
    expect(after.bodies.length).toBe(before.bodies.length + 2)
    const different = before.bodies.flatMap((body, i) =>
      Buffer.compare(body, after.bodies[i] as Uint8Array) === 0
        ? []
        : [i + before.types.length - before.bodies.length],
    )
    expect(different).toEqual(before.named.get('opa_strings_concat'))
    // What it was is there, for the arguments that it answers itself.
    const [concat = -1] = different
    const native = before.bodies[concat - (before.types.length - before.bodies.length)] as Uint8Array
    expect(after.bodies.some((body) => Buffer.compare(body, native) === 0)).toBe(true)
  })

  test('to the same bytes where nothing is to be replaced', () => {
    // OPA writes some lengths in five bytes: what counts is that the module is the same.
    const [before, after] = [sectionsOf(shipped), sectionsOf(rewritten(shipped, []))]
    expect(functionsOf(after)).toEqual(functionsOf(before))
  })

  test('or refused without names, with a name twice, with another type, or with names of another module', () => {
    const all = NATIVES.map(({ name, arity }, i) => ({ name, id: FIRST_ID + i, arity }))
    expect(() =>
      rewritten(
        changed(0, () => undefined),
        all,
      ),
    ).toThrow('have no names')
    expect(() => rewritten(renamed('opa_agg_count', 'opa_arith_rem'), all)).toThrow(
      'not one function opa_arith_rem',
    )
    expect(() => rewritten(shipped, [{ ...CONCAT, arity: 3 }])).toThrow('not a function of 3 arguments')
    expect(() => rewritten(renamed('opa_heap_ptr_get', 'opa_heap_ptr_got'), all)).toThrow(
      'opa_heap_ptr_get is exported',
    )
    expect(() => rewritten(shipped, [{ name: 'opa_builtin2', id: 1, arity: 4 }])).toThrow(
      'opa_builtin2 is not',
    )
  })

  test('or refused: any module that is cut short or spoilt ends in an error, or in a module', () => {
    for (let length = 0; length < shipped.length; length += 997)
      expect(() => compilePolicy(shipped.subarray(0, length))).toThrow()
    const random = createRandom(11)
    let refused = 0
    for (let i = 0; i < 150; i++) {
      const spoilt = shipped.slice()
      // The first sections and the names, where the lengths are.
      const near = random.chance(0.5) ? 400 : spoilt.length
      for (let n = 0; n < 3; n++)
        spoilt[near === 400 ? random.int(near) : spoilt.length - 1 - random.int(16_000)] = random.int(256)
      try {
        compilePolicy(spoilt)
      } catch (error) {
        refused++
        expect(error instanceof ModuleError || error instanceof WebAssembly.CompileError, String(error)).toBe(
          true,
        )
      }
    }
    expect(refused).toBeGreaterThan(20)
  })

  test('or refused: lengths that nothing holds', () => {
    const header = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]
    for (const tail of [
      [1, 0xff, 0xff, 0xff, 0xff, 0x0f],
      [1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
      [1, 0xff, 0xff, 0xff, 0xff, 0x7f],
      [1, 5, 0xff, 0xff, 0xff, 0xff, 0x0f],
      [13, 0],
      [1, 1, 0, 1, 1, 0],
      [1, 2, 0, 0],
    ])
      expect(() => rewritten(Uint8Array.from([...header, ...tail]), []), String(tail)).toThrow(ModuleError)
    expect(() => rewritten(new Uint8Array(0), [])).toThrow(ModuleError)
  })
})

describe('what rules came to is kept in lists', () => {
  const replaced = ['opa_memoize_init', 'opa_memoize_insert', 'opa_memoize_get']

  test('by functions in the place of three, and nothing else moves', () => {
    const before = functionsOf(sectionsOf(shipped))
    const after = functionsOf(sectionsOf(withMemoLists(shipped)))
    expect({ ...after, bodies: [] }).toEqual({ ...before, bodies: [] })
    const different = before.bodies.flatMap((body, i) =>
      Buffer.compare(body, after.bodies[i] as Uint8Array) === 0
        ? []
        : [i + before.types.length - before.bodies.length],
    )
    expect(different.sort()).toEqual(replaced.flatMap((name) => before.named.get(name) ?? []).sort())
  })

  test('or the module is refused: without the function that begins one, without globals', () => {
    expect(() => withMemoLists(renamed('opa_memoize_init', 'opa_memoize_unit'))).toThrow(
      'not one function opa_memoize_init',
    )
    expect(() => withMemoLists(changed(6, () => undefined))).toThrow('a section is missing')
  })

  test.skipIf(noOpa)('one for each `with`, however often it is entered', async () => {
    const bundle = await buildBundle({
      't.rego': `package t

# METADATA
# entrypoint: true
answer := {
	"before": doubled,
	"once": once,
	"twice": [[o, i, a] |
		some o in [1, 2]
		a := doubled with input.n as o
		i := outer with input.n as o + 10
	],
	"undefined": [n | some n in [1, 2, 3]; odd with input.n as n],
	"after": doubled,
	"many": count([n | some n in numbers.range(1, 100000); doubled with input.n as n]),
}

doubled := input.n * 2

odd if input.n % 2 == 1

once := n if n := doubled with input.n as 5

outer := [doubled, inner, doubled]

inner := n if n := doubled with input.n as doubled + 100
`,
    })
    try {
      const evaluator = createEvaluator(compilePolicy(await moduleOf(bundle.path)), {})
      const answer = {
        before: 14,
        once: 10,
        twice: [
          [1, [22, 244, 22], 2],
          [2, [24, 248, 24], 4],
        ],
        undefined: [1, 3],
        after: 14,
        many: 100_000,
      }
      for (let i = 0; i < 3; i++)
        expect(evaluator.evaluate('t/answer', { n: 7 })).toEqual([{ result: answer }])
    } finally {
      await bundle.dispose()
    }
  })
})

describe('the host is asked whether to go on', () => {
  const counted = ['opa_malloc', 'opa_value_compare', 'opa_value_iter']

  test('by three functions, which go on as what they were', () => {
    const before = functionsOf(sectionsOf(shipped))
    const after = functionsOf(sectionsOf(withInterrupts(shipped, FIRST_ID)))
    expect(after.named).toEqual(before.named)
    const first = before.types.length - before.bodies.length
    const different = before.bodies.flatMap((body, i) =>
      Buffer.compare(body, after.bodies[i] as Uint8Array) === 0 ? [] : [i + first],
    )
    expect(different.sort()).toEqual(counted.flatMap((name) => before.named.get(name) ?? []).sort())
    const natives = different.map((index) => Buffer.from(before.bodies[index - first] as Uint8Array))
    const added = after.bodies.slice(before.bodies.length).map((body) => Buffer.from(body))
    expect(added.sort(Buffer.compare)).toEqual(natives.sort(Buffer.compare))
  })

  test.each([
    ['\x0aopa_malloc', '\x0aopa_strlen'],
    ['\x0eopa_value_iter', '\x0eopa_array_free'],
    ['\x11opa_value_compare', '\x11opa_object_insert'],
  ])('or the module is refused: without %j, and with another of that name', (name, other) => {
    expect(() => withInterrupts(renamed(name, `${name.slice(0, -1)}_`), FIRST_ID)).toThrow(ModuleError)
    expect(() => withInterrupts(renamed(other, name), FIRST_ID)).toThrow(`not one function ${name.slice(1)}`)
  })

  /** Loops that ask the host nothing themselves, some of which make nothing either. */
  test.skipIf(noOpa).each([
    ['a collection in a collection', 'count({1 | some x in input.many; some y in input.many; x == -y}) == 1'],
    ['numbers without end', 'count(numbers.range(1, count(input.many) * 10000)) == 1'],
    ['a set that grows', 'count({[x, y] | some x in input.many; some y in input.many}) == 1'],
    ['one long list', 'sort(numbers.range(10000, 1))[0] == input.many[0] - 1000000'],
    ['texts', 'count([t | some x in input.many; some y in input.many; t := concat("", ["a", "b"])]) == 1'],
  ])('while it is in %s', async (_what, rule) => {
    const bundle = await buildBundle({
      't.rego': `package t\n\n# METADATA\n# entrypoint: true\nanswer if ${rule}\n`,
    })
    try {
      let asked = 0
      let most = Number.POSITIVE_INFINITY
      const goOn = () => {
        if (++asked > most) throw new Error('no further')
      }
      const evaluator = createEvaluator(compilePolicy(await moduleOf(bundle.path)), {}, goOn)
      const many = Array.from({ length: 5_000 }, (_, i) => i + 1)
      // To load it is nobody's evaluation.
      expect(asked).toBe(0)
      most = 100
      expect(() => evaluator.evaluate('t/answer', { many })).toThrow('no further')
      expect(asked).toBe(101)
      expect(evaluator.spoiled()).toBe(true)
      most = 0
      evaluator.restore()
      expect(asked).toBe(101)
      most = Number.POSITIVE_INFINITY
      expect(evaluator.evaluate('t/answer', { many: [] })).toEqual([])
    } finally {
      await bundle.dispose()
    }
  })
})

describe.skipIf(noOpa)('the host is asked in place of the module', () => {
  /** How often a policy of one rule asks the host, and its answer. */
  async function asked(rule: string, input: object): Promise<{ times: number; answer: unknown }> {
    const bundle = await buildBundle({
      't.rego': `package t\n\n# METADATA\n# entrypoint: true\nanswer := ${rule}\n`,
    })
    try {
      const module = compilePolicy(await moduleOf(bundle.path))
      let times = 0
      const counted = NATIVES.map(({ as }) => as)
      for (const native of NATIVES) {
        const { as, bare } = native
        // The answer is hashed, too.
        if (bare) continue
        native.as = (args, call) => {
          times++
          return as(args, call)
        }
      }
      try {
        const [first] = createEvaluator(module, {}).evaluate('t/answer', input) as { result: unknown }[]
        return { times, answer: first?.result }
      } finally {
        for (const [i, native] of NATIVES.entries()) native.as = counted[i] as (typeof native)['as']
      }
    } finally {
      await bundle.dispose()
    }
  }

  test.each([
    ['input.a + input.b', { a: 999999999999999, b: 1 }, 0, 1000000000000000],
    ['input.a + 2147483647', { a: 0 }, 0, 2147483647],
    ['input.a * input.b', { a: 2147483648, b: 2 }, 0, 4294967296],
    ['input.a - 5000000000', { a: 5000000001 }, 0, 1],
    ['input.a + input.b', { a: 0.5, b: 1 }, 1, 1.5],
    ['input.a + input.b', { a: -1, b: 1 }, 1, 0],
    ['input.a * input.b', { a: 1e15, b: 0 }, 1, 0],
    ['count({1, 2} - {2})', {}, 0, 1],
    ['concat("/", input.a)', { a: ['b', 'a'] }, 0, 'b/a'],
    ['concat("/", {x | some x in input.a})', { a: ['c', 'a', 'b'] }, 1, 'a/b/c'],
    ['to_number(input.a)', { a: true }, 0, 1],
    ['to_number(input.a)', { a: '1' }, 1, 1],
    ['indexof(input.a, "é")', { a: 'aé' }, 0, 1],
    ['indexof(input.a, input.b)', { a: 'a', b: '' }, 1, undefined],
    ['object.union_n(input.a)', { a: [] }, 1, {}],
    ['object.union_n(input.a)', { a: [{ b: 1 }] }, 0, { b: 1 }],
    ['max(input.a)', { a: [1, 3, 2] }, 0, 3],
    ['max(input.a)', { a: ['a', 'c'] }, 0, 'c'],
    ['sprintf("%v", [max([1, to_number("1.50"), 1.5])])', {}, 2, '1.5'],
    ['max(input.a)', { a: [[1], [2]] }, 1, [2]],
    ['lower(input.a)', { a: 'ABC' }, 0, 'abc'],
    ['lower(input.a)', { a: 'ÄB' }, 1, 'äb'],
    ['format_int(input.a, 10)', { a: 999999999 }, 0, '999999999'],
    ['format_int(input.a, 10)', { a: 1000000000 }, 1, '1000000000'],
    ['format_int(input.a, 16)', { a: 255 }, 1, 'ff'],
    ['replace(input.a, "", "-")', { a: 'ab' }, 1, '-a-b-'],
  ])('%s of %j: %i times', async (rule, input, times, answer) => {
    expect(await asked(rule, input)).toEqual({ times, answer })
  })
})
