// Asks each builtin the same twice: compiled to WebAssembly and answered as the sidecar does, and of `opa eval`.
//   node tools/builtins.ts [--calls 200] [--seed N] [--only NAME]

import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Unanswerable } from '../src/edge/judge/builtins/value.ts'
import { createEvaluator } from '../src/edge/judge/evaluator.ts'
import { compilePolicy } from '../src/edge/judge/module/compile.ts'
import { argumentsFor, type Declared, type Encoded } from './builtins-arguments.ts'
import { CAPABILITIES, moduleOf, opaCall } from './capabilities.ts'
import { createRandom } from './fuzz/random.ts'
import { opaPath } from './opa.ts'

/** `wasm` and `opa` are the answers in Rego's spelling; undefined where there is none. */
export type Difference = {
  builtin: string
  args: Encoded[]
  wasm: string | undefined
  opa: string | undefined
}
export type Tally = {
  builtin: string
  calls: number
  defined: number
  refused: number
  different: number
  example?: Difference
  why?: string
}

/** Replaced by the compiler or without arguments that could differ; `time.now_ns` has its own test. */
const NOT_CALLED = /^(assign|eq|print|internal\.(?!template_string).*|rego\.metadata\..*|time\.now_ns)$/

/** A number or set cannot come through JSON: `{"$num": text}`, `{"$set": [...]}`, to three levels. */
const DECODING = [0, 1, 2, 3]
  .map((level) => {
    const inner = level === 3 ? 'x' : `d${level + 1}`
    const of = (value: string) => (level === 3 ? value : `${inner}(${value})`)
    return `
d${level}(x) := to_number(x["$num"]) if is_string(x["$num"])
d${level}(x) := {${of('e')} | some e in x["$set"]} if is_array(x["$set"])
d${level}(x) := [${of('e')} | some e in x] if is_array(x)
d${level}(x) := {k: ${of('v')} | some k, v in x} if { is_object(x); not x["$num"]; not x["$set"] }
d${level}(x) := x if { not is_array(x); not is_object(x) }`
  })
  .join('\n')

function policyFor(builtins: Declared[]): string {
  const rules = builtins.map(({ name, decl, relation }, i) => {
    const args = (decl.args ?? []).map((_, n) => `d0(input.args[${n}])`)
    const infix: Record<string, string> = { and: '&', or: '|' }
    const call =
      name in infix
        ? `${args[0]} ${infix[name]} ${args[1]}`
        : relation
          ? `{x | ${name}(${args.join(', ')}, x)}`
          : `${name}(${args.join(', ')})`
    // `%v` tells sets from lists, JSON all digits of a number; what to_number gives may be no JSON.
    const shown = name === 'to_number' ? '""' : 'json.marshal(r)'
    return `f${i} := concat(" ", [sprintf("%v", [r]), ${shown}]) if { r := ${call} }`
  })
  return `package t\n${DECODING}\n${rules.join('\n')}\n`
}

export async function compareBuiltins(calls: number, seed: number, only?: string): Promise<Tally[]> {
  const listed = (JSON.parse(await readFile(CAPABILITIES, 'utf8')) as { builtins: Declared[] }).builtins
  const builtins = listed.filter(({ name }) => !NOT_CALLED.test(name) && (!only || name === only))
  const folder = await mkdtemp(join(tmpdir(), 'builtins-'))
  try {
    const source = join(folder, 't.rego')
    const bundle = join(folder, 'bundle.tar.gz')
    await writeFile(source, policyFor(builtins))
    const entrypoints = builtins.flatMap((_, i) => ['--entrypoint', `t/f${i}`])
    await opaCall(
      'build',
      '--target',
      'wasm',
      '--capabilities',
      CAPABILITIES,
      ...entrypoints,
      '--output',
      bundle,
      source,
    )
    const evaluator = createEvaluator(compilePolicy(await moduleOf(bundle)), {})
    const random = createRandom(seed)
    const cases = builtins.flatMap((builtin, i) =>
      Array.from({ length: calls }, () => ({ f: `f${i}`, args: argumentsFor(builtin, random) })),
    )
    const theirs = await evaluate(source, cases)
    const tallies: Tally[] = []
    for (const [i, { f, args }] of cases.entries()) {
      const at = Number(f.slice(1))
      const { name } = builtins[at] as Declared
      tallies[at] ??= { builtin: name, calls: 0, defined: 0, refused: 0, different: 0 }
      const tally = tallies[at]
      tally.calls++
      const opa = theirs[i]
      let wasm: string | undefined
      try {
        const [answer] = evaluator.evaluate(`t/${f}`, { args }) as { result: string }[]
        wasm = answer?.result
      } catch (thrown) {
        evaluator.restore()
        if (thrown instanceof Unanswerable) {
          tally.refused++
          tally.why ??= thrown.message
          continue
        }
        wasm = `threw ${(thrown as Error).message}`
      }
      if (opa !== undefined) tally.defined++
      if (wasm === opa) continue
      tally.different++
      tally.example ??= { builtin: name, args, wasm, opa }
    }
    return tallies
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const CHUNK = 4_000

async function evaluate(source: string, cases: object[]): Promise<(string | undefined)[]> {
  const found: (string | undefined)[] = []
  for (let from = 0; from < cases.length; from += CHUNK) {
    const chunk = cases.slice(from, from + CHUNK)
    const query = '{sprintf("%d", [i]): r | some i, c in input.cases; r := data.t[c.f] with input as c}'
    const child = spawn(await opaPath(), [
      'eval',
      '--format',
      'json',
      '--stdin-input',
      '--data',
      source,
      query,
    ])
    const parts: Buffer[] = []
    let complaint = ''
    child.stdout.on('data', (part: Buffer) => parts.push(part))
    child.stderr.on('data', (part: Buffer) => {
      complaint += part
    })
    child.stdin.end(JSON.stringify({ cases: chunk }))
    const code = await new Promise((resolve) => child.once('close', resolve))
    const text = Buffer.concat(parts).toString('utf8')
    if (code !== 0) throw new Error(`opa eval ended with ${code}: ${complaint || text.slice(0, 1000)}`)
    const answers = JSON.parse(text).result[0].expressions[0].value as Record<string, string>
    for (const [i] of chunk.entries()) found.push(answers[String(i)])
  }
  return found
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      calls: { type: 'string', default: '200' },
      seed: { type: 'string', default: String(Date.now() % 2 ** 32) },
      only: { type: 'string' },
    },
  })
  const tallies = await compareBuiltins(Number(values.calls), Number(values.seed), values.only)
  let different = 0
  for (const { builtin, calls, defined, refused, different: found, example, why } of tallies) {
    different += found
    process.stdout.write(
      `${found === 0 ? 'same ' : 'DIFFERENT'} ${builtin}: ${calls} calls, ${defined} defined, ${refused} not answered${why ? ` (${why})` : ''}, ${found} different\n`,
    )
    if (example) process.stdout.write(`  ${JSON.stringify(example)}\n`)
  }
  process.stdout.write(`${tallies.length} builtins, ${different} differences (seed ${values.seed})\n`)
  process.exitCode = different === 0 ? 0 : 1
}
