import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { isObject, type Json, parseStrict } from '../../mcp/strict-json.ts'
import { createEvaluator, type Evaluator } from '../judge/evaluator.ts'
import { compilePolicy } from '../judge/module/compile.ts'
import { complaintOf, type Opa, OpaError } from '../opa.ts'
import { unpack } from './archive.ts'
import { type Sources, type Staged, stage } from './build.ts'
import { readDocument } from './document.ts'
import { functionsOf, orderMocks } from './mocks.ts'

export type Outcome = 'pass' | 'fail' | 'error' | 'skip'
export type Replayed = { name: string; opa: Outcome; wasm: Outcome; why?: string }

type Reported = { package: string; name: string; fail?: boolean; skip?: boolean; error?: Json }

/** A test of a few milliseconds is stopped by nobody here: a module that does not end is to be ended by hand. */
const LIMITS = { bytes: 256 << 20, files: 10_000 }

/**
 * Runs the tests of the folders by `opa test`, then each test rule once more as an entrypoint of a module compiled with
 * what a policy may call: the same rule, the same `with`, the other engine.
 * @throws OpaError where tests do not compile or there are none
 */
export async function replayTests(opa: Opa, sources: Sources, capabilities: string): Promise<Replayed[]> {
  const staged = await stage({ ...sources, tests: true })
  try {
    const reported = await opaTest(opa, staged)
    const entrypoints = reported.map(entrypointOf)
    await onlyTests(opa, staged)
    const evaluator = await compiled(opa, staged, resolve(capabilities), entrypoints)
    return reported.map((test, i) => {
      const name = `${test.package}.${test.name}`
      const theirs: Outcome = test.skip
        ? 'skip'
        : test.error !== undefined
          ? 'error'
          : test.fail
            ? 'fail'
            : 'pass'
      if (theirs === 'skip') return { name, opa: theirs, wasm: theirs }
      return { name, opa: theirs, ...evaluated(evaluator, entrypoints[i] as string) }
    })
  } finally {
    await staged.dispose()
  }
}

async function opaTest(opa: Opa, { cwd, bundles }: Staged): Promise<Reported[]> {
  const { stdout, stderr } = await opa(['test', '--format', 'json', ...bundles], cwd)
  const parsed = parseStrict(stdout.trim() || 'null', {
    bytes: 256 << 20,
    depth: 128,
    keys: 10_000_000,
    string: 64 << 20,
  })
  if (!parsed.ok || !Array.isArray(parsed.value))
    throw new OpaError(`opa test: ${complaintOf(stdout, stderr)}`)
  const tests = parsed.value.filter(isObject) as unknown as Reported[]
  if (tests.length === 0) throw new OpaError('there are no tests: files *_test.rego with rules test_…')
  return tests
}

const entrypointOf = (test: Reported): string =>
  `${test.package.replace(/^data\./, '').replaceAll('.', '/')}/${test.name}`

/**
 * OPA 1.22 does not compile a function that asks a rule whose metadata makes it an entrypoint ("used as reference, not
 * called"), and tests have such functions. The tests are entrypoints enough.
 */
async function onlyTests(opa: Opa, { cwd, bundles }: Staged): Promise<void> {
  const functions = new Set<string>()
  const tests: string[] = []
  for (const name of await filesOf(cwd, bundles)) {
    const file = join(cwd, name)
    const text = await readFile(file, 'utf8')
    await writeFile(file, text.replace(/^#(\s*)entrypoint:(\s*)true\s*$/gm, '#$1entrypoint:$2false'))
    for (const path of functionsOf(text)) functions.add(path)
    if (name.endsWith('_test.rego')) tests.push(name)
  }
  for (const name of tests) await orderMocks(opa, cwd, name, functions)
}

async function compiled(
  opa: Opa,
  { cwd, bundles }: Staged,
  capabilities: string,
  entrypoints: string[],
): Promise<Evaluator> {
  const folder = await mkdtemp(join(tmpdir(), 'mcp-opa-sidecar-'))
  try {
    const output = join(folder, 'tests.tar.gz')
    const build = (capable: string[]) => {
      const args = ['build', '--target', 'wasm', ...capable, '--output', output]
      for (const entrypoint of new Set(entrypoints)) args.push('--entrypoint', entrypoint)
      return opa([...args, ...bundles], cwd)
    }
    let built = await build(['--capabilities', capabilities])
    // What a test replaces need not be there, as long as the policy itself does not call it.
    if (built.code !== 0 && onlyReplaced(built)) {
      const policy = (await filesOf(cwd, bundles)).filter((file) => !file.endsWith('_test.rego'))
      const checked = await opa(['check', '--capabilities', capabilities, ...policy], cwd)
      if (checked.code !== 0) throw new OpaError(`opa check: ${complaintOf(checked.stdout, checked.stderr)}`)
      built = await build([])
    }
    if (built.code !== 0)
      throw new OpaError(
        `the tests do not compile to WebAssembly: ${complaintOf(built.stdout, built.stderr)}`,
      )
    const files = await unpack('tests', { bytes: await readFile(output) }, LIMITS)
    const wasm = files.get('policy.wasm')
    if (!wasm) throw new OpaError('opa build made no module of the tests')
    const data = readDocument('tests', 'data.json', files.get('data.json')) ?? {}
    return createEvaluator(compilePolicy(wasm), data)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** The modules of bundles. */
async function filesOf(cwd: string, bundles: string[]): Promise<string[]> {
  const all = await Promise.all(
    bundles.map(async (bundle) =>
      (await readdir(join(cwd, bundle), { recursive: true })).map((name) => join(bundle, name)),
    ),
  )
  return all.flat().filter((name) => name.endsWith('.rego'))
}

/** Whether nothing is wrong but that a test replaces a builtin that a policy may not call. */
function onlyReplaced({ stdout, stderr }: { stdout: string; stderr: string }): boolean {
  const lines = complaintOf(stdout, stderr).match(/rego_\w+: .*/g) ?? []
  return (
    lines.length > 0 && lines.every((line) => line.includes('with keyword target must reference existing'))
  )
}

/** As `opa test` sees a rule: true passes; a rule of cases passes if each is true. */
function evaluated(evaluator: Evaluator, entrypoint: string): { wasm: Outcome; why?: string } {
  if (evaluator.spoiled()) evaluator.restore()
  try {
    const [answer] = evaluator.evaluate(entrypoint, {}) as { result: Json }[]
    if (answer === undefined) return { wasm: 'fail', why: 'undefined' }
    const { result } = answer
    const holds = isObject(result) ? Object.values(result).every((one) => one === true) : result === true
    return holds ? { wasm: 'pass' } : { wasm: 'fail', why: JSON.stringify(result).slice(0, 200) }
  } catch (error) {
    return { wasm: 'error', why: (error as Error).message }
  }
}
