import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { checkCanaries } from '../src/edge/bundles/canaries.ts'
import { loadPolicyFiles } from '../src/edge/judge/bundle.ts'
import { createEvaluator } from '../src/edge/judge/evaluator.ts'
import type { Decision } from '../src/pdp/decision.ts'
import { denialText } from '../src/pep/denial.ts'
import { opaPath } from '../tools/opa.ts'
import { examples, page } from '../tools/policy-examples.ts'
import { buildBundle, mainPolicy, noOpa } from './support/policy.ts'

const root = join(import.meta.dirname, '..')
const folder = mkdtempSync(join(tmpdir(), 'mcp-docs-policy-'))
afterAll(() => rmSync(folder, { recursive: true }))

type Call = [tool: string, args: object]
type Story = { server: string; group: string; allowed: Call[]; denied: Call[] }

/** The calls that docs/policy.md speaks of; those that are denied in the order of its words. */
const STORIES: Record<string, Story> = {
  slack: {
    server: 'slack',
    group: 'engineering',
    allowed: [
      ['slack_post_message', { channel_id: 'C0DEPLOYS', text: 'v1.2 is out' }],
      ['slack_get_channel_history', { channel_id: 'C0DEPLOYS' }],
    ],
    denied: [
      ['slack_post_message', { channel_id: 'C0GENERAL', text: 'v1.2 is out' }],
      ['slack_post_message', { channel_id: 'C0DEPLOYS', text: '<!here> v1.2 is out' }],
    ],
  },
  api: {
    server: 'billing',
    group: 'support',
    allowed: [
      ['http_request', { method: 'GET', path: '/v1/customers/42' }],
      ['http_request', { method: 'POST', path: '/v1/refunds', body: { amount_cents: 10_000 } }],
    ],
    denied: [
      ['http_request', { method: 'DELETE', path: '/v1/customers/42' }],
      ['http_request', { method: 'POST', path: '/v1/refunds', body: { amount_cents: 10_001 } }],
    ],
  },
  filesystem: {
    server: 'files',
    group: 'writers',
    allowed: [
      ['read_text_file', { path: '/srv/docs/a.md' }],
      ['write_file', { path: '/srv/docs/drafts/a.md', content: 'x' }],
    ],
    denied: [
      ['write_file', { path: '/srv/docs/a.md', content: 'x' }],
      ['read_text_file', { path: '/srv/docs/.env' }],
    ],
  },
  sql: {
    server: 'db',
    group: 'analysts',
    allowed: [
      ['execute_sql', { sql: 'select count(*) from orders' }],
      ['list_tables', {}],
    ],
    denied: [
      ['execute_sql', { sql: 'delete from orders' }],
      ['execute_sql', { sql: 'select pg_sleep(9)' }],
    ],
  },
}

const stories = [
  ...readFileSync(join(root, 'docs/policy.md'), 'utf8').matchAll(
    /^```yaml profile=(\w+)\n(.*?)^```\n\n```text\n(.*?)^```$/gms,
  ),
].map(([, profile = '', yaml = '', said = '']) => ({ profile, yaml, said }))

const inputs = ({ server, group, allowed, denied }: Story) =>
  [...allowed, ...denied].map(([name, args]) => ({
    time_ms: 1795515974008,
    server,
    direction: 'to_server',
    kind: 'request',
    method: 'tools/call',
    identity: { subject: 'ann', groups: [group] },
    tool: { name },
    arguments: args,
    undeclared_arguments: [],
  }))

const why = (decision: Decision) =>
  denialText(decision, { server: 's', decision_id: 'd', revision: 'r' })
    .split('\n')
    .filter((line) => line.startsWith('Why: '))

function holds(story: Story, said: string, decisions: Decision[]): void {
  const { allowed, denied } = story
  expect(decisions.map(({ allow }) => allow)).toEqual([
    ...allowed.map(() => true),
    ...denied.map(() => false),
  ])
  expect(decisions.slice(allowed.length).flatMap(why)).toEqual(said.trim().split('\n'))
}

test('docs/policy.md tells the story of each profile that has no table', () => {
  expect(stories.map(({ profile }) => profile)).toEqual(Object.keys(STORIES))
})

describe.each(stories)('the story of $profile', ({ profile, yaml, said }) => {
  const story = STORIES[profile] as Story

  test('is what the default bundle decides in WebAssembly', async () => {
    const bundle = join(root, 'bundles/default.tar.gz')
    const policy = await loadPolicyFiles({ default: bundle }, 'mcp/main/decision')
    const data = { ...JSON.parse(policy.data), config: parse(yaml) }
    const evaluator = createEvaluator(policy.module, data)
    const decisions = inputs(story).map((input) => {
      const [answer] = evaluator.evaluate('mcp/main/decision', input) as { result: Decision }[]
      return answer?.result as Decision
    })
    holds(story, said, decisions)
    // The data does it, not the profile alone.
    const bare = createEvaluator(policy.module, { ...data, config: { ...data.config, grants: [] } })
    for (const input of inputs(story))
      expect(bare.evaluate('mcp/main/decision', input)).toMatchObject([{ result: { allow: false } }])
  })

  test.skipIf(noOpa)('is what `opa eval` decides, with its own reading of the YAML', async () => {
    const file = join(folder, `${profile}.yaml`)
    writeFileSync(file, yaml)
    const args = ['eval', '--format', 'values', '--stdin-input', '--ignore', '*_test.rego']
    const query = '[decision | some call in input; decision := data.mcp.main.decision with input as call]'
    const answer = execFileSync(
      await opaPath(),
      [...args, '--bundle', join(root, 'rego'), '--data', `config:${file}`, query],
      { input: JSON.stringify(inputs(story)), encoding: 'utf8' },
    )
    holds(story, said, JSON.parse(answer)[0])
  })
})

test.skipIf(noOpa)(
  'the Rego of docs/policy-style.md does what the page says, in both evaluators',
  async () => {
    const page = readFileSync(join(root, 'docs/policy-style.md'), 'utf8')
    const blocks = [...page.matchAll(/^```rego\n(.*?)^```$/gms)].map(([, text = '']) => text)
    expect(blocks).toHaveLength(2)
    const files = Object.fromEntries([
      ...blocks.map((text, i) => [`page/${i}.rego`, text]),
      ['main.rego', mainPolicy('answer := {}')],
      ['mcp/reason/reason.rego', readFileSync(join(root, 'rego/mcp/reason/reason.rego'), 'utf8')],
      ['data.json', JSON.stringify({ config: { deploys_frozen: true } })],
    ])
    const entrypoints = ['style/trap', 'style/safe', 'mcp/rules/team_deploys/deny']
    const built = await buildBundle(
      files,
      entrypoints.flatMap((name) => ['-e', name]),
    )
    const policy = await loadPolicyFiles({ style: built.path }, 'mcp/main/decision')
    const evaluator = createEvaluator(policy.module, JSON.parse(policy.data))
    const source = join(built.path, '..', 'src')
    const opa = await opaPath()
    const ask = (name: string, input: object) => {
      const [answer] = evaluator.evaluate(name, input) as { result: unknown }[]
      const query = `data.${name.replaceAll('/', '.')}`
      const theirs = execFileSync(opa, ['eval', '-f', 'values', '-I', '-b', source, query], {
        input: JSON.stringify(input),
        encoding: 'utf8',
      })
      expect(JSON.parse(theirs)[0], name).toEqual(answer?.result)
      return answer?.result
    }
    const refused = ['not a working branch']
    expect(ask('style/trap', { arguments: { branch: 'main' } })).toEqual(refused)
    expect(ask('style/trap', { arguments: {} })).toEqual([])
    for (const args of [{ branch: 'main' }, {}, { branch: 7 }])
      expect(ask('style/safe', { arguments: args })).toEqual(refused)
    expect(ask('style/safe', { arguments: { branch: 'agent/x' } })).toEqual([])
    const frozen = { code: 'deploys_frozen', title: 'Deploys are frozen' }
    expect(ask('mcp/rules/team_deploys/deny', { tool: { name: 'deploy' } })).toEqual([frozen])
    expect(ask('mcp/rules/team_deploys/deny', { tool: { name: 'other' } })).toEqual([])
    await built.dispose()
  },
)

test('docs/policy-examples.md has the example of each family', () => {
  expect(readFileSync(join(root, 'docs/policy-examples.md'), 'utf8')).toBe(page())
})

describe.each(examples())('the example of $family', ({ yaml }) => {
  test('has canaries that hold in WebAssembly, more than one', async () => {
    const bundle = join(root, 'bundles/default.tar.gz')
    const policy = await loadPolicyFiles({ default: bundle }, 'mcp/main/decision')
    const data = { ...JSON.parse(policy.data), config: parse(yaml) }
    const evaluator = createEvaluator(policy.module, data)
    const asked: object[] = []
    const faults = checkCanaries(
      (input) => {
        asked.push(input)
        return evaluator.evaluate('mcp/main/decision', input)
      },
      data,
      new Date('2026-11-24T10:26:14.008Z'),
    )
    expect(faults).toEqual([])
    expect(asked.length).toBeGreaterThan(1)
  })
})
