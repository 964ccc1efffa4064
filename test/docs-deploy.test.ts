import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { loadPolicyFiles } from '../src/edge/judge/bundle.ts'
import { createEvaluator } from '../src/edge/judge/evaluator.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const PAGES = ['compose', 'kubernetes', 'pomerium', 'adopt', 'operate', 'comparison'].map(
  (name) => `docs/${name}.md`,
)
const commandsOf = (path: string) =>
  [...read(path).matchAll(/```sh\n([\s\S]*?)```/g)].flatMap((match) => (match[1] ?? '').trim().split('\n'))

test.each(PAGES)('%s points to files that are there', (page) => {
  const links = [...read(page).matchAll(/\]\(((?!http)[^)#]+)\)/g)].map((match) =>
    join('docs', match[1] ?? ''),
  )
  const files = [...read(page).matchAll(/`((?:deploy|bundles)\/[\w./-]+)`/g)].map((match) => match[1] ?? '')
  for (const path of [...links, ...files].filter(
    (one) => one !== 'deploy/compose/run' && one !== 'deploy/compose/run/ca.pem',
  ))
    expect(existsSync(join(root, path)), path).toBe(true)
})

test('each command of the program in them is one that there is', () => {
  const known = [
    ...read('src/main.ts').matchAll(/^ {2}'?([a-z-]+)'?: \{ ?$|^ {2}'?([a-z-]+)'?: \{ does/gm),
  ].map((match) => match[1] ?? match[2] ?? '')
  const used = PAGES.flatMap((page) =>
    [...read(page).matchAll(/(?:mcp-opa-sidecar|dist\/main\.js) ([a-z-]+)\b(?= [-/A-Z])/g)].map(
      (match) => match[1] ?? '',
    ),
  )
  expect(used.length).toBeGreaterThan(4)
  for (const name of used) expect(known, name).toContain(name)
})

test('compose is used with profiles that there are', () => {
  const { services } = parse(read('compose.yaml'), { merge: true }) as {
    services: Record<string, { profiles?: string[] }>
  }
  const profiles = new Set(['*', ...Object.values(services).flatMap((service) => service.profiles ?? [])])
  const used = commandsOf('docs/compose.md').flatMap((line) =>
    [...line.matchAll(/--profile '?([\w*]+)'?/g)].map((m) => m[1] ?? ''),
  )
  expect(used.length).toBeGreaterThan(3)
  for (const name of used) expect(profiles, name).toContain(name)
})

test('metrics that are alerted on are those that there are', async () => {
  const names = [...read('docs/operate.md').matchAll(/\b((?:mcp|plugin|bundle)_[a-z_]+)\b/g)].map(
    (match) => match[1] ?? '',
  )
  const source = ['metrics', 'bundle-metrics']
    .map((name) => `src/edge/admin/${name}.ts`)
    .filter((path) => existsSync(join(root, path)))
    .map(read)
    .join('')
  expect(names.length).toBeGreaterThan(4)
  for (const name of names) expect(source, name).toContain(name)
})

test.each([
  ['nothing', undefined, { allow: false }],
  ['all', 'all', { allow: true, dry_run: { allow: false } }],
  ['the code of the rule that denies', ['undeclared_arguments'], { allow: true, dry_run: { allow: false } }],
  ['the code of another', ['read_only'], { allow: false }],
])('config.dry_run of docs/adopt.md: %s', async (_name, dryRun, expected) => {
  const policy = await loadPolicyFiles({ mcp: join(root, 'bundles/default.tar.gz') }, 'mcp/main/decision')
  const data = JSON.parse(policy.data)
  if (dryRun !== undefined) data.config.dry_run = dryRun
  const input = {
    decision_id: 'd',
    time: '2026-11-22T20:26:14.008Z',
    time_ms: 1795379174008,
    server: 'github',
    protocol_version: '2025-11-25',
    direction: 'to_server',
    kind: 'request',
    method: 'tools/call',
    tool: { name: 'list_issues', declared: 'listed' },
    arguments: { owner: 'acme', repo: 'app', Owner: 'other' },
    undeclared_arguments: ['/Owner'],
    params: {},
    http: {},
    identity: { source: 'pomerium', subject: 'alice', groups: ['engineering'], claims: {} },
  }
  const [answer] = createEvaluator(policy.module, data).evaluate('mcp/main/decision', input) as {
    result: object
  }[]
  expect(answer?.result).toMatchObject(expected)
})
