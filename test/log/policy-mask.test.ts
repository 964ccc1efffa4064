// The same Rego masks the same under OPA: a real one, with its decision log on the console, is asked beside us.
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadPolicyFiles } from '../../src/edge/judge/bundle.ts'
import { createEvaluator, type Evaluator } from '../../src/edge/judge/evaluator.ts'
import { applyMask, readDrop, readMask } from '../../src/log/policy-mask.ts'
import type { JsonObject } from '../../src/mcp/strict-json.ts'
import { opaPath } from '../../tools/opa.ts'
import { buildBundle, mainPolicy, noOpa } from '../support/policy.ts'

const RULES = `package system.log

# METADATA
# entrypoint: true
mask contains rule if some rule in input.input.rules
`
const FILES = { 'main.rego': mainPolicy('answer := {}'), 'log.rego': RULES }
const DOCUMENT = {
  a: { b: { c: 1 }, 'x y': 2, 'p%q': 3, "q'": 4, 'e=f@g:h': 5, é: 6, '+1': 7 },
  list: [{ k: 1 }, { k: 2 }, [10, 11, 12]],
  text: 'T',
  none: null,
}
const up = (path: string, value: unknown = '***') => ({ op: 'upsert', path, value })

const CASES: [string, unknown[]][] = [
  ['a value', ['/input/a/b/c']],
  ['a branch', ['/input/a']],
  ['all of the input', ['/input']],
  ['all of the result', ['/result']],
  ['a part of the result', ['/result/reasons/0']],
  ['what is not there', ['/input/zzz', '/input/a/zzz/y', '/input/text/x', '/nd_builtin_cache/x']],
  [
    'elements of lists',
    ['/input/list/0', '/input/list/2/1', '/input/list/9', '/input/list/-1', '/input/list/x'],
  ],
  ['an element with a plus', ['/input/list/+1', '/input/a/+1']],
  [
    'keys that are escaped',
    ['/input/a/x y', '/input/a/x%20y', '/input/a/p%25q', "/input/a/q'", '/input/a/e=f@g:h', '/input/a/é'],
  ],
  ['a set value', [up('/input/a/b/c')]],
  ['a set branch', [up('/input/a', { z: [1] })]],
  ['the whole set', [up('/input', 'gone')]],
  ['null as value', [{ op: 'upsert', path: '/input/text' }]],
  ['missing parents are made', [up('/input/new/deep/er', 1)]],
  ['not through a text or null', [up('/input/text/x'), up('/input/none/x')]],
  [
    'elements are set, lists not made longer',
    [up('/input/list/1', 0), up('/input/list/7', 0), up('/input/list/7/x', 0)],
  ],
  ['a removal as object', [{ op: 'remove', path: '/input/text' }]],
  [
    'both, in the order of a set',
    [up('/input/a/b', 1), '/input/a', up('/input/a/n', 2), '/input/list/0', '/input/list/1'],
  ],
  [
    'many of one kind',
    [
      up('/input/x', 'b'),
      up('/input/x', 'a'),
      up('/input/x', 1),
      up('/input/x', null),
      up('/input/x', { q: 1 }),
    ],
  ],
  ['an empty part', ['/input/', '/input//b', up('/input/', 1)]],
]
const INVALID: [string, unknown][] = [
  ['no slash', 'input/a'],
  ['another root', '/custom/event'],
  ['an empty text', ''],
  ['a bad escape', '/input/%zz'],
  ['a number', 7],
  ['a list', ['/input/a']],
  ['an unknown operation', { op: 'hash', path: '/input/a' }],
  ['no operation', { path: '/input/a' }],
  ['no path', { op: 'remove' }],
]

describe.skipIf(noOpa)('system.log.mask', () => {
  let evaluator: Evaluator
  let bundle: Awaited<ReturnType<typeof buildBundle>>
  let opa: { ask: (input: object) => Promise<JsonObject>; close: () => Promise<void> }
  beforeAll(async () => {
    bundle = await buildBundle(FILES)
    const policy = await loadPolicyFiles({ mcp: bundle.path }, 'mcp/main/decision')
    expect(policy.masks).toBe(true)
    evaluator = createEvaluator(policy.module, {})
    opa = await startOpa()
  }, 60_000)
  afterAll(async () => {
    await opa?.close()
    await bundle?.dispose()
  })

  const ours = (input: JsonObject, result: JsonObject) => {
    const event: JsonObject = { input, result, custom: { event: 'decision' } }
    const rules = readMask(evaluator.evaluate('system/log/mask', event))
    return rules && applyMask(event, rules)
  }

  test.each(CASES)('%s', async (_, rules) => {
    const input = { ...DOCUMENT, rules } as unknown as JsonObject
    const theirs = await opa.ask(input)
    const before = JSON.stringify(input)
    const { custom, ...event } = ours(input, { allow: false, reasons: [] }) ?? {}
    expect(custom).toEqual({ event: 'decision' })
    expect(event).toEqual(
      Object.fromEntries(
        ['input', 'result', 'erased', 'masked'].flatMap((key) => (key in theirs ? [[key, theirs[key]]] : [])),
      ),
    )
    expect(JSON.stringify(input)).toBe(before)
  })

  test.each(INVALID)('invalid for both: %s', async (_, rule) => {
    expect(ours({ ...DOCUMENT, rules: ['/input/a', rule] } as unknown as JsonObject, {})).toBeUndefined()
    // OPA loses such an event, so that the next one is what its log brings.
    await opa.ask({ rules: ['/input/a', rule], lost: true })
    const { input } = await opa.ask({ rules: [], marker: 1 })
    expect(input).toEqual({ rules: [], marker: 1 })
  })

  /** Asks and gives the event of the question; after a question whose event is lost, an empty one. */
  async function startOpa() {
    const folder = await mkdtemp(join(tmpdir(), 'mcp-opa-'))
    const files = Object.entries(FILES).map(([name, text]) => {
      writeFileSync(join(folder, name), text)
      return join(folder, name)
    })
    const socketPath = join(folder, 'opa.sock')
    const args = ['run', '--server', '--addr', `unix://${socketPath}`, '--skip-version-check']
    args.push('--log-level', 'debug', '--log-format', 'json', '--set', 'decision_logs.console=true')
    const child = spawn(await opaPath(), [...args, ...files], { stdio: ['ignore', 'ignore', 'pipe'] })
    const lines: JsonObject[] = []
    let wake = () => {}
    createInterface({ input: child.stderr }).on('line', (text) => {
      lines.push(JSON.parse(text))
      wake()
    })
    const next = async (wanted: (line: JsonObject) => boolean): Promise<JsonObject> => {
      for (;;) {
        const at = lines.findIndex(wanted)
        if (at >= 0) return lines.splice(0, at + 1).at(-1) as JsonObject
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    }
    await next((line) => line.msg === 'Server initialized.')
    return {
      async ask(input: object) {
        await new Promise<void>((resolve, reject) => {
          const path = '/v1/data/mcp/main/decision'
          const sent = request({ socketPath, path, method: 'POST' }, (response) => {
            response.resume().once('end', resolve)
          })
          sent.once('error', reject).end(JSON.stringify({ input }))
        })
        if ('lost' in input) return {}
        return next((line) => line.msg === 'Decision Log')
      },
      close: async () => {
        child.kill('SIGKILL')
        await rm(folder, { recursive: true })
      },
    }
  }
})

test('an answer that is no list of rules is none', () => {
  for (const answers of [undefined, {}, [{ result: {} }], [{ result: 'x' }], [{}]])
    expect(readMask(answers)).toBeUndefined()
  expect(readMask([])).toEqual([])
})

test('dropped only where the answer is true', () => {
  expect(readDrop([{ result: true }])).toBe(true)
  for (const answers of [[], [{ result: 'true' }], [{ result: {} }], undefined, [{}]])
    expect(readDrop(answers)).toBe(false)
})

test('keys of prototypes are keys', () => {
  const rules =
    readMask([{ result: [up('/input/__proto__/x', 1), up('/input/constructor/prototype/x', 1)] }]) ?? []
  applyMask({ input: {}, custom: {} }, rules)
  expect(({} as { x?: number }).x).toBeUndefined()
})
