// Asks the same questions of the shipped library twice: compiled to WebAssembly as it is served, and of `opa eval`.
//   npm run differential -- [--inputs 100000] [--seed N]
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual, parseArgs } from 'node:util'
import { parse } from 'yaml'
import { loadPolicyFiles } from '../src/edge/judge/bundle.ts'
import { createEvaluator } from '../src/edge/judge/evaluator.ts'
import { generate, type Names } from './differential-inputs.ts'
import { createRandom } from './fuzz/random.ts'
import { opaPath } from './opa.ts'

const CHECKOUT = fileURLToPath(new URL('..', import.meta.url))
const BUNDLE = fileURLToPath(new URL('../bundles/default.tar.gz', import.meta.url))
const DATA = fileURLToPath(new URL('differential.yaml', import.meta.url))
const CHUNK = 2_000

export type Difference = { entrypoint: string; input: object; wasm: unknown; opa: unknown }
/** `allowed` by server, and `shown`, by kind: true, or a narrowed schema. */
export type Compared = {
  inputs: number
  allowed: Record<string, number>
  shown: { whole: number; narrowed: number }
  differences: Difference[]
}

type Config = {
  servers: Record<string, { profile?: string }>
  grants: { servers?: string[]; tools?: string[] }[]
}
type Data = { config: Config; mcp: { profiles: Record<string, { tools?: object }> } }

/**
 * The data is that of the default bundle and of `differential.yaml` together.
 * @returns the first differences, at most ten, and what was allowed or shown: none would test little
 */
export async function compare(inputs: number, seed: number): Promise<Compared> {
  const policy = await loadPolicyFiles({ default: BUNDLE }, 'mcp/main/decision')
  const shipped = JSON.parse(policy.data) as Data
  const more = parse(await readFile(DATA, 'utf8')) as Config
  const config = {
    ...shipped.config,
    ...more,
    servers: { ...shipped.config.servers, ...more.servers },
    grants: [...shipped.config.grants, ...more.grants],
  }
  const data = { ...shipped, config }
  const evaluator = createEvaluator(policy.module, data)
  const random = createRandom(seed)
  const names = namesOf(data)
  const folder = await mkdtemp(join(tmpdir(), 'differential-'))
  const file = join(folder, 'config.json')
  await writeFile(file, JSON.stringify(config))
  const compared: Compared = { inputs: 0, allowed: {}, shown: { whole: 0, narrowed: 0 }, differences: [] }
  try {
    while (compared.inputs < inputs && compared.differences.length < 10) {
      const count = Math.min(CHUNK, inputs - compared.inputs)
      const chunk = Array.from({ length: count }, () => generate(random, names))
      const theirs = await evaluate(chunk, file)
      for (const [i, input] of chunk.entries()) {
        compared.inputs++
        for (const entrypoint of ['decision', 'visible'] as const) {
          const answers = evaluator.evaluate(`mcp/main/${entrypoint}`, input) as { result: unknown }[]
          const wasm = answers[0]?.result
          const opa = theirs[entrypoint][String(i)]
          tally(compared, input, wasm)
          if (!isDeepStrictEqual(wasm, opa)) compared.differences.push({ entrypoint, input, wasm, opa })
        }
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
  return compared
}

function tally({ allowed, shown }: Compared, input: { server?: unknown }, answer: unknown): void {
  if (typeof answer !== 'object' || answer === null) return
  if ('allow' in answer) {
    const server = String(input.server)
    if (answer.allow === true) allowed[server] = (allowed[server] ?? 0) + 1
    return
  }
  for (const value of Object.values(answer)) shown[value === true ? 'whole' : 'narrowed']++
}

/** Both answers for every input, by its index, in one run of `opa eval` over the sources of the bundle. */
async function evaluate(
  inputs: object[],
  config: string,
): Promise<Record<'decision' | 'visible', Record<string, unknown>>> {
  const of = (rule: string) =>
    `"${rule}": {sprintf("%d", [n]): r | some n, i in input.inputs; r := data.mcp.main.${rule} with input as i}`
  const args = [
    'eval',
    '--format',
    'json',
    '--stdin-input',
    '--ignore',
    '*_test.rego',
    '-b',
    'rego',
    '-d',
    `config:${config}`,
    `{${of('decision')}, ${of('visible')}}`,
  ]
  const child = spawn(await opaPath(), args, { cwd: CHECKOUT, stdio: ['pipe', 'pipe', 'pipe'] })
  const parts: Buffer[] = []
  let complaint = ''
  child.stdout.on('data', (part: Buffer) => parts.push(part))
  child.stderr.on('data', (part: Buffer) => {
    complaint += part
  })
  child.stdin.end(JSON.stringify({ inputs }))
  const code = await new Promise((resolve) => child.once('close', resolve))
  const text = Buffer.concat(parts).toString('utf8')
  if (code !== 0) throw new Error(`opa eval ended with ${code}: ${complaint || text.slice(0, 1000)}`)
  return JSON.parse(text).result[0].expressions[0].value
}

/** Names of tools: of all that the data has, and by server those of its profile and its grants. */
function namesOf({ config, mcp }: Data): Names {
  const byServer = Object.fromEntries(
    Object.entries(config.servers).map(([server, { profile = '' }]) => [
      server,
      [
        ...Object.keys(mcp.profiles[profile]?.tools ?? {}),
        ...config.grants.flatMap(({ servers = [], tools = [] }) => (servers.includes(server) ? tools : [])),
      ],
    ]),
  )
  return { tools: [...new Set(Object.values(byServer).flat())], byServer }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      inputs: { type: 'string', default: '100000' },
      seed: { type: 'string', default: String(Date.now() % 2 ** 32) },
    },
  })
  const began = Date.now()
  const { inputs, allowed, shown, differences } = await compare(Number(values.inputs), Number(values.seed))
  process.stdout.write(
    `${inputs} inputs, ${differences.length} differences (seed ${values.seed}, ${Math.round((Date.now() - began) / 1000)} s)\n` +
      `allowed: ${Object.entries(allowed)
        .map(([server, count]) => `${server} ${count}`)
        .join(', ')}\nshown: ${shown.whole} whole, ${shown.narrowed} with a narrowed schema\n`,
  )
  for (const difference of differences) process.stdout.write(`${JSON.stringify(difference)}\n`)
  process.exitCode = differences.length === 0 && Object.keys(allowed).length > 0 && shown.whole > 0 ? 0 : 1
}
