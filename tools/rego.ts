// Checks the policy: format, types, tests, conventions, what the WASM host can do, and the committed bundle.
import { execFile } from 'node:child_process'
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { parse } from 'yaml'
import { checkBundle } from './bundle.ts'
import { CAPABILITIES, checkCapabilities } from './capabilities.ts'
import { opaPath } from './opa.ts'

const CHECKOUT = fileURLToPath(new URL('..', import.meta.url))
const CONVENTIONS = 'tools/conventions'
/** Of one test; opa's own five seconds are of the clock on the wall, and a test is a hundred evaluations. */
const TEST_TIMEOUT = '60s'
const OUTPUT_LIMIT = 256 * 1024 * 1024

type Result = { ok: boolean; stdout: string; stderr: string }
type Check = { name: string; run: () => Promise<string | undefined> }

let opa = ''

/** Undefined is a pass; a text is what is wrong. */
const checks: Check[] = [
  {
    name: 'every file is formatted',
    run: () => passes('fmt', '--list', '--fail', 'rego', CONVENTIONS),
  },
  {
    name: 'every input path is in the contract (opa check --strict)',
    run: () =>
      passes('check', '--strict', '--schema', 'rego/schemas', '--ignore', '*_test.rego', '--bundle', 'rego'),
  },
  { name: 'a misspelt input path is refused', run: misspeltIsRefused },
  { name: 'tests pass and cover every line', run: () => tests('rego') },
  { name: 'tests of the conventions pass and cover every line', run: () => tests(CONVENTIONS) },
  { name: 'the library keeps its conventions', run: conventions },
  { name: 'a builtin that the WASM host lacks is refused', run: missingBuiltinsAreRefused },
  { name: 'the capabilities are what the WASM host has', run: checkCapabilities },
  { name: 'the committed bundle is what the sources make', run: checkBundle },
]

async function call(...args: string[]): Promise<Result> {
  return new Promise((resolve) => {
    execFile(opa, args, { cwd: CHECKOUT, maxBuffer: OUTPUT_LIMIT }, (error, stdout, stderr) => {
      resolve({ ok: error === null, stdout, stderr })
    })
  })
}

async function passes(...args: string[]): Promise<string | undefined> {
  const { ok, stdout, stderr } = await call(...args)
  return ok ? undefined : stdout + stderr
}

async function json(...args: string[]): Promise<unknown> {
  const { ok, stdout, stderr } = await call(...args)
  if (!ok) throw new Error(stdout + stderr)
  return JSON.parse(stdout)
}

async function tests(folder: string): Promise<string | undefined> {
  const failed = await passes('test', folder, '--ignore', 'schemas', '--timeout', TEST_TIMEOUT)
  if (failed) return failed
  const cover = ['test', folder, '--ignore', 'schemas', '--coverage', '--timeout', TEST_TIMEOUT]
  if ((await call(...cover, '--threshold', '100')).ok) return undefined
  // With a threshold that is missed, opa prints the share and no report.
  const { stdout, stderr } = await call(...cover)
  return `not covered:\n${uncovered(stdout)}${stderr}`
}

function uncovered(report: string): string {
  const end = report.lastIndexOf('}')
  const { files } = JSON.parse(report.slice(report.indexOf('{'), end + 1)) as {
    files: Record<string, { not_covered?: { start: { row: number } }[] }>
  }
  return Object.entries(files)
    .flatMap(([file, { not_covered = [] }]) => not_covered.map(({ start }) => `${file}:${start.row}\n`))
    .join('')
}

async function conventions(): Promise<string | undefined> {
  return inFolder(async (folder) => {
    const file = join(folder, 'input.json')
    const input = {
      annotations: await annotations(folder),
      modules: await modules(),
      codes: await codesInData(),
      examples: await examples(),
    }
    await writeFile(file, JSON.stringify(input))
    const query = 'data.conventions.problems'
    const answer = (await json(
      'eval',
      '--data',
      CONVENTIONS,
      '--input',
      file,
      '--format',
      'json',
      query,
    )) as {
      result?: [{ expressions: [{ value: string[] }] }]
    }
    const problems = answer.result?.[0].expressions[0].value
    if (!problems) return 'the conventions gave no answer'
    return problems.length === 0 ? undefined : problems.join('\n')
  })
}

/** `opa inspect` takes no --ignore, and the packages of the tests are under no root: it looks at a copy. */
async function annotations(folder: string): Promise<unknown> {
  await cp(join(CHECKOUT, 'rego'), join(folder, 'rego'), {
    recursive: true,
    filter: (source) => !source.endsWith('_test.rego'),
  })
  const args = ['inspect', '--annotations', '--format', 'json', 'rego']
  const { stdout } = await promisify(execFile)(opa, args, { cwd: folder, maxBuffer: OUTPUT_LIMIT })
  return (JSON.parse(stdout) as { annotations: unknown }).annotations
}

async function modules(): Promise<unknown[]> {
  const found = []
  for (const file of await files('rego', (name) => name.endsWith('.rego') && !name.endsWith('_test.rego'))) {
    const ast = (await json('parse', '--format', 'json', '--json-include', 'locations', file)) as {
      package: { path: { value: string }[] }
      rules?: unknown[]
    }
    const [, ...names] = ast.package.path.map(({ value }) => value)
    found.push({ file, name: names.join('.'), rules: ast.rules ?? [] })
  }
  return found
}

/** The codes of reasons that a profile makes from its data. */
async function codesInData(): Promise<{ code: string; place: string }[]> {
  const found = []
  for (const file of await files('rego', (name) => name === 'data.yaml')) {
    const { toolsets = {} } = parse(await readFile(join(CHECKOUT, file), 'utf8')) as {
      toolsets?: Record<string, { code: string }>
    }
    for (const [name, { code }] of Object.entries(toolsets)) found.push({ code, place: `${file}: ${name}` })
  }
  return found
}

/** The packages with an example beside them that has canaries: `opa test` asks those. */
async function examples(): Promise<string[]> {
  const found = []
  for (const file of await files('rego', (name) => name === 'example.yaml')) {
    const { example } = parse(await readFile(join(CHECKOUT, file), 'utf8')) as {
      example?: { canaries?: object }
    }
    if (Object.keys(example?.canaries ?? {}).length > 0) found.push(file.split('/').slice(1, -1).join('.'))
  }
  return found
}

async function files(folder: string, wanted: (name: string) => boolean): Promise<string[]> {
  const entries = await readdir(join(CHECKOUT, folder), { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile() && wanted(entry.name))
    .map((entry) => join(entry.parentPath, entry.name).slice(CHECKOUT.length).replaceAll('\\', '/'))
    .sort()
}

async function misspeltIsRefused(): Promise<string | undefined> {
  const text = [
    '# METADATA',
    '# schemas:',
    '#   - input: schema.input',
    'package misspelt',
    'found if input.tool.nmae == "x"',
  ].join('\n')
  return inFolder(async (folder) => {
    await writeFile(join(folder, 'misspelt.rego'), text)
    const { ok, stdout, stderr } = await call('check', '--strict', '--schema', 'rego/schemas', folder)
    if (ok) return '`input.tool.nmae` was accepted'
    return (stdout + stderr).includes('undefined ref') ? undefined : stdout + stderr
  })
}

async function missingBuiltinsAreRefused(): Promise<string | undefined> {
  const calls = {
    'http.send': 'http.send({"method": "get", "url": "https://example.com"}).status_code == 200',
    'net.lookup_ip_addr': 'count(net.lookup_ip_addr("example.com")) > 0',
    'rand.intn': 'rand.intn("x", 2) == 1',
    'opa.runtime': 'opa.runtime().env.HOME',
  }
  for (const [name, expression] of Object.entries(calls)) {
    const problem = await inFolder(async (folder) => {
      await writeFile(join(folder, 'p.rego'), `package p\nfound if ${expression}\n`)
      const output = join(folder, 'b.tar.gz')
      const { ok, stdout, stderr } = await call(
        ...['build', '--target', 'wasm', '--entrypoint', 'p/found', '--capabilities', CAPABILITIES],
        ...['--output', output, join(folder, 'p.rego')],
      )
      if (ok) return `a policy that calls ${name} was built`
      return (stdout + stderr).includes(`undefined function ${name}`) ? undefined : stdout + stderr
    })
    if (problem) return problem
  }
  return undefined
}

async function inFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'rego-'))
  try {
    return await use(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function main(): Promise<boolean> {
  try {
    opa = await opaPath()
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    if (process.env.MCP_ALLOW_NO_OPA === '1') {
      process.stdout.write(`SKIPPED  no check of the policy was run (MCP_ALLOW_NO_OPA=1)\n${text}\n`)
      return true
    }
    process.stderr.write(`FAIL  no check of the policy could be run\n${text}\n`)
    return false
  }
  let whole = true
  for (const { name, run } of checks) {
    const problem = await run().catch((error: unknown) =>
      error instanceof Error ? error.message : String(error),
    )
    process.stdout.write(`${problem === undefined ? 'ok  ' : 'FAIL'}  ${name}\n`)
    if (problem === undefined) continue
    whole = false
    process.stdout.write(`${problem.trim().replaceAll(/^/gm, '      ')}\n`)
  }
  return whole
}

process.exitCode = (await main()) ? 0 : 1
