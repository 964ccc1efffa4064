// What the policy itself costs: one evaluation of each kind of message in this thread, by the project's own evaluator.
//   node bench/policy.ts [--users 10000] [--others 0] [--own 0] [--seconds 2] [--bundle FILE] [--only NAME]
// --others and --own: so many more grants, of groups that no caller is in, and of the group that most are in.
import { readFileSync } from 'node:fs'
import { arch, cpus, platform } from 'node:os'
import { performance } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { loadPolicyFiles } from '../src/edge/judge/bundle.ts'
import { createEvaluator } from '../src/edge/judge/evaluator.ts'
import { toolFacts } from '../src/pdp/tool.ts'

const { values } = parseArgs({
  options: {
    users: { type: 'string', default: '10000' },
    others: { type: 'string', default: '0' },
    own: { type: 'string', default: '0' },
    seconds: { type: 'string', default: '2' },
    bundle: { type: 'string', default: fileURLToPath(new URL('../bundles/default.tar.gz', import.meta.url)) },
    only: { type: 'string' },
  },
})

const DECISION = 'mcp/main/decision'
const VISIBLE = 'mcp/main/visible'

type Case = {
  name: string
  entrypoint: string
  input: object
  expect: (answer: unknown) => boolean
  goal?: number
}

const identity = (subject: string, ...groups: string[]) => ({
  source: 'pomerium',
  subject,
  email: `${subject}@acme.example`,
  name: 'Ann Example',
  groups,
  issuer: 'mcp-github.acme.example',
  audience: 'mcp-github.acme.example',
  claims: { amr: ['pwd', 'hwk'] },
})

const asked = (method: string, more: object) => ({
  decision_id: '019a0000-0000-7000-8000-000000000000',
  time: '2026-11-24T10:26:14.008Z',
  time_ms: 1795515974008,
  server: 'github',
  protocol_version: '2025-11-25',
  direction: 'to_server',
  kind: 'request',
  method,
  identity: identity('user-7', 'engineering'),
  client: { name: 'claude-code', version: '2.0.0' },
  mcp_session: 'hmac:0123456789012345678901',
  http: { request_id: '2f1c5b7e-3c7f-4e0a-9d0a-1f9a7d0a4f2b', source_ip: '10.0.0.7' },
  params: {},
  ...more,
})

const call = (name: string, args: object, more: object = {}) =>
  asked('tools/call', {
    tool: {
      name,
      declared: 'listed',
      annotations: { title: name, readOnlyHint: false },
      digest: `sha256:${'0'.repeat(64)}`,
    },
    arguments: { owner: 'acme', repo: 'app', ...args },
    undeclared_arguments: [],
    ...more,
  })

const allowed = (answer: unknown) => (answer as { allow?: boolean })?.allow === true
const denied = (code: string) => (answer: unknown) => {
  const { allow, reasons } = answer as { allow: boolean; reasons: { code: string }[] }
  return allow === false && reasons[0]?.code === code
}
const shows = (answer: unknown) => Object.keys(answer as object).length > 10

const pullRequest = {
  title: 'Fix the login',
  head: 'agent/login',
  base: 'main',
  body: `Closes #7.\n\n${'It was wrong. '.repeat(10)}`,
}

const GOALS = { decision: 60, visible: 1000 }
const { decision, visible } = GOALS
const cases: Case[] = [
  {
    name: 'ping-like: initialize',
    entrypoint: DECISION,
    input: asked('initialize', {}),
    expect: allowed,
    goal: decision,
  },
  {
    name: 'read, allowed',
    entrypoint: DECISION,
    input: call('get_file_contents', { path: 'src/main.ts', ref: 'main' }),
    expect: allowed,
    goal: decision,
  },
  {
    name: 'open a pull request, allowed',
    entrypoint: DECISION,
    input: call('create_pull_request', pullRequest),
    expect: allowed,
    goal: decision,
  },
  {
    name: 'write a file, allowed',
    entrypoint: DECISION,
    input: call('create_or_update_file', {
      path: 'src/main.ts',
      branch: 'agent/login',
      message: 'Fix',
      content: 'x'.repeat(400),
    }),
    expect: allowed,
    goal: decision,
  },
  {
    name: 'write a file on main, denied',
    entrypoint: DECISION,
    input: call('create_or_update_file', {
      path: 'src/main.ts',
      branch: 'main',
      message: 'Fix',
      content: 'x',
    }),
    expect: denied('protected_branch'),
    goal: decision,
  },
  {
    name: 'merge, denied',
    entrypoint: DECISION,
    input: call('merge_pull_request', { pullNumber: 7 }),
    expect: denied('merge_not_granted'),
    goal: decision,
  },
  {
    name: 'merge by a maintainer, allowed',
    entrypoint: DECISION,
    input: call(
      'merge_pull_request',
      { pullNumber: 7 },
      { identity: identity('user-7', 'engineering', 'maintainers', 'release-managers') },
    ),
    expect: allowed,
    goal: decision,
  },
  {
    name: 'open a pull request by a service account, allowed',
    entrypoint: DECISION,
    input: call('create_pull_request', pullRequest, { identity: identity('svc:pr-bot') }),
    expect: allowed,
    goal: decision,
  },
  ...[25, 100].map((count) => ({
    name: `open a pull request by a user of ${count} groups, allowed`,
    entrypoint: DECISION,
    input: call('create_pull_request', pullRequest, {
      identity: identity(
        'user-7',
        'engineering',
        ...Array.from({ length: count - 1 }, (_, i) => `a-team-${i}`),
      ),
    }),
    expect: allowed,
    goal: decision,
  })),
  {
    name: `list of 100 tools`,
    entrypoint: VISIBLE,
    input: asked('tools/list', { items: items(100) }),
    expect: shows,
    goal: visible,
  },
]

/** GitHub's own tools, and made up ones to make a hundred. */
function items(count: number): object[] {
  const file = new URL('../rego/mcp/profiles/github/data.yaml', import.meta.url)
  const known = [...readFileSync(file, 'utf8').matchAll(/^ {2}([a-z_]+):/gm)].map(([, name]) => String(name))
  return known.slice(-count).map((name) => ({
    kind: 'tool',
    key: name,
    annotations: { title: name.replaceAll('_', ' '), readOnlyHint: name.startsWith('get_') },
    digest: toolFacts({ name, description: name, inputSchema: { type: 'object' } }).digest,
  }))
}

const policy = await loadPolicyFiles({ default: values.bundle }, DECISION)
const data = JSON.parse(policy.data) as { config: { directory?: object; grants: object[] } }
const users = Number(values.users)
data.config.directory = Object.fromEntries(
  Array.from({ length: users }, (_, i) => [`user-${i}`, { groups: ['employees', `team-${i % 200}`] }]),
)
const grants = (count: string, ...groups: string[]) =>
  Array.from({ length: Number(count) }, (_, i) => ({
    id: `${groups[0]}-${i}`,
    groups,
    servers: ['github'],
    toolsets: ['read', 'triage', 'propose'],
    repositories: [`acme/repo-${i}`],
  }))
data.config.grants.push(...grants(values.others, 'other', 'another'), ...grants(values.own, 'engineering'))
const evaluator = createEvaluator(policy.module, data)

const rows: string[][] = []
let missed = 0
for (const { name, entrypoint, input, expect, goal } of cases) {
  if (values.only && !name.includes(values.only)) continue
  const answer = (evaluator.evaluate(entrypoint, input) as { result: unknown }[])[0]?.result
  if (!expect(answer)) throw new Error(`${name}: ${JSON.stringify(answer)}`)
  for (let i = 0; i < 300; i++) evaluator.evaluate(entrypoint, input)
  const times: number[] = []
  const before = process.cpuUsage()
  const end = performance.now() + Number(values.seconds) * 1000
  while (performance.now() < end) {
    const start = performance.now()
    evaluator.evaluate(entrypoint, input)
    times.push((performance.now() - start) * 1000)
  }
  const { user, system } = process.cpuUsage(before)
  times.sort((a, b) => a - b)
  const at = (share: number) => times[Math.floor(times.length * share)] as number
  const verdict = goal === undefined ? '' : at(0.5) <= goal ? `met: ≤ ${goal}` : `NOT MET: ≤ ${goal}`
  if (verdict.startsWith('NOT')) missed++
  rows.push([
    name,
    ...[at(0.1), at(0.5), at(0.99), (user + system) / times.length].map((n) => n.toFixed(1)),
    verdict,
  ])
}

process.stdout.write(
  `${cpus().length} × ${cpus()[0]?.model ?? arch()}, ${platform()}, Node ${process.versions.node}; ${users} users in data; ` +
    `${values.seconds} s each, one thread\n\n| one evaluation, µs | p10 | p50 | p99 | processor | |\n| --- | ---: | ---: | ---: | ---: | --- |\n`,
)
for (const row of rows) process.stdout.write(`| ${row.join(' | ')} |\n`)
process.exitCode = missed === 0 ? 0 : 1
