// Writes what a policy may call, from the builtins that the sidecar has.
//   node tools/capabilities.ts            writes bundles/capabilities.json and docs/builtins.md
//   node tools/capabilities.ts --check    fails where they are not what the registry makes

import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { extract } from 'tar-stream'
import { NATIVES } from '../src/edge/judge/builtins/natives.ts'
import { HOST_BUILTINS, REFUSED } from '../src/edge/judge/builtins/registry.ts'
import { builtinsOf } from '../src/edge/judge/evaluator.ts'
import type { Question } from '../src/edge/judge/module/code.ts'
import { compilePolicy } from '../src/edge/judge/module/compile.ts'
import { NATIVE_DIFFERENCES } from './native-differences.ts'
import { OPA_VERSION, opaPath } from './opa.ts'

const CHECKOUT = fileURLToPath(new URL('..', import.meta.url))
export const CAPABILITIES = join(CHECKOUT, 'bundles', 'capabilities.json')
const TABLE = join(CHECKOUT, 'docs', 'builtins.md')

type Declared = { name: string; decl: { args?: unknown[] }; relation?: boolean }
type Capabilities = { builtins: Declared[]; allow_net?: string[] }

/** Operators, and what the compiler replaces: none of them reaches the module as a call. */
const COMPILED_OUT = /^(and|or|assign|eq|print|internal\..*|rego\.metadata\..*)$/

export async function opaCall(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(await opaPath(), args, { cwd: CHECKOUT, maxBuffer: 256 << 20 })
  return stdout
}

/** `policy.wasm` out of a bundle. */
export async function moduleOf(bundle: string): Promise<Uint8Array<ArrayBuffer>> {
  const reader = extract()
  reader.end(gunzipSync(await readFile(bundle)))
  for await (const entry of reader) {
    const chunks: Buffer[] = []
    for await (const chunk of entry) chunks.push(chunk as Buffer)
    if (entry.header.name.endsWith('policy.wasm')) return new Uint8Array(Buffer.concat(chunks))
  }
  throw new Error('the bundle has no policy.wasm')
}

/** What OPA has, less what is refused here. */
async function capabilities(): Promise<Capabilities> {
  const all = JSON.parse(await opaCall('capabilities', '--current')) as Capabilities
  const unknown = Object.keys(REFUSED).filter(
    (name) => !all.builtins.some((builtin) => builtin.name === name),
  )
  if (unknown.length > 0) throw new Error(`OPA ${OPA_VERSION} has no builtin ${unknown.join(', ')}`)
  const builtins = all.builtins.filter(({ name }) => !Object.hasOwn(REFUSED, name))
  return { ...all, builtins, allow_net: [] }
}

/** Which of the builtins a module asks of its host, by compiling a policy that calls them all. */
async function askedFor({ builtins }: Capabilities, file: string): Promise<Set<string>> {
  const lines = ['package every']
  for (const { name, decl, relation } of builtins) {
    if (COMPILED_OUT.test(name)) continue
    const args = (decl.args ?? []).map((_, index) => `input.a${index}`)
    lines.push(
      `found if ${relation ? `${name}(${[...args, '_'].join(', ')})` : `_ = ${name}(${args.join(', ')})`}`,
    )
  }
  const folder = await mkdtemp(join(tmpdir(), 'capabilities-'))
  try {
    const bundle = join(folder, 'bundle.tar.gz')
    await writeFile(join(folder, 'every.rego'), lines.join('\n'))
    await opaCall(
      ...['build', '--target', 'wasm', '--entrypoint', 'every/found', '--capabilities', file],
      ...['--output', bundle, join(folder, 'every.rego')],
    )
    return new Set(builtinsOf(compilePolicy(await moduleOf(bundle))))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Both files as the registry makes them. @throws Error for a builtin that nobody has */
export async function makeCapabilities(): Promise<{ capabilities: string; table: string }> {
  const made = await capabilities()
  const text = `${JSON.stringify(made, undefined, 2)}\n`
  const folder = await mkdtemp(join(tmpdir(), 'capabilities-'))
  try {
    const file = join(folder, 'capabilities.json')
    await writeFile(file, text)
    const asked = await askedFor(made, file)
    const missing = [...asked].filter((name) => !HOST_BUILTINS.has(name))
    if (missing.length > 0) throw new Error(`neither native nor ours nor refused: ${missing.join(', ')}`)
    const idle = [...HOST_BUILTINS.keys()].filter((name) => !asked.has(name))
    if (idle.length > 0) throw new Error(`ours, but no module asks for them: ${idle.join(', ')}`)
    return { capabilities: text, table: tableOf(made, asked) }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Of what arguments the host is asked where the module has a function of its own. */
const ASKED: Readonly<Record<Question, string>> = {
  noMembers: 'an empty array',
  emptyText: 'an empty text',
  large: 'numbers that are not plain or have more than nine digits',
  notTen: 'other bases than `10`',
  odd: 'numbers that are not plain',
  oddInside: 'arrays of numbers that are not plain, or of what has parts',
  set: 'sets',
  text: 'texts',
  wide: 'more than ASCII',
}

function nativeRow(name: string): string {
  const native = NATIVES.find(({ builtin }) => builtin === name)
  const differs = NATIVE_DIFFERENCES[name] ? `; differs: ${NATIVE_DIFFERENCES[name]}` : ''
  if (!native) return `native${differs}`
  const { when } = native
  return when
    ? `native, host for ${[...new Set(when.map(([of]) => ASKED[of]))].join(' and ')}${differs}`
    : `host${differs}`
}

function tableOf({ builtins }: Capabilities, asked: Set<string>): string {
  const own = builtins.map(({ name }): [string, string] => [name, asked.has(name) ? 'host' : nativeRow(name)])
  const refused = Object.entries(REFUSED).map(([name, why]): [string, string] => [name, `refused: ${why}`])
  const rows = [...own, ...refused].sort(([a], [b]) => (a < b ? -1 : 1))
  return `| builtin | |\n| --- | --- |\n${rows.map(([name, how]) => `| \`${name}\` | ${how} |`).join('\n')}\n`
}

const MARK = '<!-- written by npm run capabilities -->\n'

async function documented(table: string): Promise<string> {
  const [before = ''] = (await readFile(TABLE, 'utf8')).split(MARK)
  return `${before}${MARK}\n${table}`
}

/** Undefined where both files are what the registry makes. */
export async function checkCapabilities(): Promise<string | undefined> {
  const made = await makeCapabilities()
  if ((await readFile(CAPABILITIES, 'utf8')) !== made.capabilities)
    return 'bundles/capabilities.json is not what the registry makes: run `npm run capabilities`'
  if ((await readFile(TABLE, 'utf8')) !== (await documented(made.table)))
    return 'docs/builtins.md is not what the registry makes: run `npm run capabilities`'
  return undefined
}

if (import.meta.main) {
  if (process.argv.includes('--check')) {
    const problem = await checkCapabilities()
    process.stdout.write(
      `${problem ?? 'bundles/capabilities.json and docs/builtins.md are what the registry makes'}\n`,
    )
    process.exitCode = problem === undefined ? 0 : 1
  } else {
    const made = await makeCapabilities()
    await writeFile(CAPABILITIES, made.capabilities)
    await writeFile(TABLE, await documented(made.table))
    process.stdout.write('bundles/capabilities.json docs/builtins.md\n')
  }
}
