// Asks the same questions of the shipped library twice: compiled to WebAssembly as it is served, and of `opa eval`.
//   npm run differential -- [--inputs 100000] [--seed N]
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual, parseArgs } from 'node:util'
import { loadPolicyFiles } from '../src/edge/judge/bundle.ts'
import { createEvaluator } from '../src/edge/judge/evaluator.ts'
import { createRandom, type Random } from './fuzz/random.ts'
import { opaPath } from './opa.ts'

const CHECKOUT = fileURLToPath(new URL('..', import.meta.url))
const BUNDLE = fileURLToPath(new URL('../bundles/default.tar.gz', import.meta.url))
const CHUNK = 2_000

export type Difference = { entrypoint: string; input: object; wasm: unknown; opa: unknown }
export type Compared = { inputs: number; allowed: number; shown: number; differences: Difference[] }

/** @returns the first differences, at most ten, and how many inputs were allowed or shown anything: none would test little */
export async function compare(inputs: number, seed: number): Promise<Compared> {
  const policy = await loadPolicyFiles({ default: BUNDLE }, 'mcp/main/decision')
  const data = JSON.parse(policy.data)
  const evaluator = createEvaluator(policy.module, data)
  const random = createRandom(seed)
  const tools = namesIn(data)
  const compared: Compared = { inputs: 0, allowed: 0, shown: 0, differences: [] }
  while (compared.inputs < inputs && compared.differences.length < 10) {
    const count = Math.min(CHUNK, inputs - compared.inputs)
    const chunk = Array.from({ length: count }, () => generate(random, tools))
    const theirs = await evaluate(chunk)
    for (const [i, input] of chunk.entries()) {
      compared.inputs++
      for (const entrypoint of ['decision', 'visible'] as const) {
        const answers = evaluator.evaluate(`mcp/main/${entrypoint}`, input) as { result: unknown }[]
        const wasm = answers[0]?.result
        const opa = theirs[entrypoint][String(i)]
        if (entrypoint === 'decision' && (wasm as { allow?: unknown })?.allow === true) compared.allowed++
        if (entrypoint === 'visible' && Object.keys(wasm ?? {}).length > 0) compared.shown++
        if (!isDeepStrictEqual(wasm, opa)) compared.differences.push({ entrypoint, input, wasm, opa })
      }
    }
  }
  return compared
}

/** Both answers for every input, by its index, in one run of `opa eval` over the sources of the bundle. */
async function evaluate(inputs: object[]): Promise<Record<'decision' | 'visible', Record<string, unknown>>> {
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
    '-b',
    'bundles/default',
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

/** Names of tools that the library's data knows. */
function namesIn(data: unknown, found = new Set<string>()): string[] {
  if (typeof data === 'string' && /^[a-z]+(_[a-z]+)+$/.test(data)) found.add(data)
  if (typeof data === 'object' && data !== null) {
    for (const [key, value] of Object.entries(data)) {
      if (/^[a-z]+(_[a-z]+)+$/.test(key)) found.add(key)
      namesIn(value, found)
    }
  }
  return [...found]
}

const METHODS = [
  'tools/call',
  'tools/call',
  'tools/call',
  'tools/call',
  'tools/list',
  'initialize',
  'resources/read',
  'prompts/get',
  'stream/open',
  'session/end',
  'logging/setLevel',
  'completion/complete',
  'server/discover',
  'foo/bar',
]
const SUBJECTS = [
  { subject: 'alice', groups: ['engineering'] },
  { subject: 'mona', groups: ['engineering', 'maintainers'] },
  { subject: 'rita', groups: ['release-managers'] },
  { subject: 'svc:pr-bot', groups: [] },
  { subject: 'nobody', groups: [] },
  { subject: '', groups: ['Engineering', 'engineering '] },
]
const KEYS = [
  'owner',
  'repo',
  'branch',
  'ref',
  'base',
  'head',
  'path',
  'method',
  'workflow_id',
  'pullNumber',
  'from_branch',
  'organization',
  'query',
  'event',
  'Owner',
  'ключ',
]
const VALUES = [
  'acme',
  'app',
  'main',
  'master',
  'agent/x',
  'feature/y',
  'refs/heads/main',
  'refs/heads/agent/x',
  'release.yml',
  'ACME',
  'other',
  '',
  'acme/app',
  '../app',
  'app.git',
  '.github/workflows/x.yml',
  'README.md',
  'create',
  'APPROVE',
  'repo:acme/app x',
  'a\u0000b',
  '\ud83d\ude00',
  'İ',
  'ß',
  null,
  true,
  false,
  0,
  -1,
  7,
  1.5,
  1e21,
  9007199254740991,
  [],
  ['acme'],
  {},
  { name: 'acme' },
  [[[]]],
]

function generate(random: Random, tools: string[]): object {
  const { pick, chance, int } = random
  const method = pick(METHODS)
  const args: Record<string, unknown> = {}
  // Often what a grant asks for, so that not everything is denied for its first argument.
  if (chance(0.7)) Object.assign(args, { owner: 'acme', repo: 'app' })
  if (chance(0.4))
    Object.assign(args, {
      branch: 'agent/x',
      head: 'agent/x',
      base: 'main',
      ref: 'main',
      workflow_id: 'release.yml',
    })
  for (let left = int(4); left > 0; left--) args[pick(KEYS)] = pick(VALUES)
  const input: Record<string, unknown> = {
    decision_id: `d${int(1e9)}`,
    time: '2026-11-22T20:26:14.008Z',
    time_ms: 1795379174008,
    server: chance(0.9) ? 'github' : pick(['slack', '', 'GitHub']),
    protocol_version: pick(['2025-11-25', '2026-07-28']),
    direction: chance(0.95) ? 'to_server' : 'to_client',
    kind: pick(['request', 'request', 'request', 'notification', 'stream', 'response']),
    method,
    identity: {
      source: 'pomerium',
      ...pick(SUBJECTS),
      claims: {},
      ...(chance(0.1) && { groups: pick(VALUES) }),
    },
    params: {},
    http: {},
  }
  if (method === 'tools/call') {
    const declared = pick(['listed', 'pinned', 'unknown'])
    input.tool = {
      name: chance(0.95) ? pick(tools) : pick(VALUES),
      declared,
      ...(chance(0.3) && { annotations: { readOnlyHint: pick(VALUES) } }),
    }
    input.arguments = chance(0.95) ? args : pick(VALUES)
    if (chance(0.2)) input.undeclared_arguments = chance(0.8) ? ['/Owner'] : pick(VALUES)
  }
  if (method === 'prompts/get') input.prompt = { name: pick(VALUES) }
  if (method === 'resources/read')
    input.resource = {
      uri: 'repo://acme/app/x',
      scheme: 'repo',
      host: pick(['acme', 'other']),
      path: '/app/x',
    }
  if (chance(0.5))
    input.items = Array.from({ length: int(6) }, () => ({
      kind: pick(['tool', 'tool', 'tool', 'prompt', 'resource', 'template', 'link', 'capability']),
      key: chance(0.9) ? pick(tools) : pick(VALUES),
    }))
  // Now and then something is missing, or of another type altogether.
  if (chance(0.1)) delete input[pick(Object.keys(input))]
  if (chance(0.05)) input[pick(Object.keys(input))] = pick(VALUES)
  return input
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
    `${inputs} inputs, ${allowed} allowed, ${shown} shown something, ${differences.length} differences (seed ${values.seed}, ${Math.round((Date.now() - began) / 1000)} s)\n`,
  )
  for (const difference of differences) process.stdout.write(`${JSON.stringify(difference)}\n`)
  process.exitCode = differences.length === 0 && allowed > 0 && shown > 0 ? 0 : 1
}
