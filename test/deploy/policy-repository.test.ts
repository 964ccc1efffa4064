// The workflow that users copy. What it runs is run in test/docs-policy-repository.test.ts.
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { OPA_VERSION } from '../../tools/opa.ts'

const read = (name: string) => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8')
type Step = { uses?: string; run?: string; with?: Record<string, unknown> }
const workflow = parse(read('deploy/policy-repository/.github/workflows/policy.yaml')) as {
  permissions: object
  jobs: Record<string, { permissions?: object; steps: Step[] }>
}
const steps = Object.values(workflow.jobs).flatMap((job) => job.steps)
const { version } = JSON.parse(read('package.json')) as { version: string }

test('the workflow has the versions that this project has', () => {
  const used = (name: string) => steps.filter(({ uses }) => uses?.startsWith(name)).map((step) => step.with)
  expect(used('open-policy-agent/setup-opa').map((given) => given?.version)).toEqual([
    OPA_VERSION,
    OPA_VERSION,
  ])
  expect(used('actions/setup-node').map((given) => String(given?.['node-version']))).toEqual(['24', '24'])
  const installs = steps.flatMap(({ run }) => (run?.startsWith('npm ') ? [run] : []))
  expect(installs).toEqual(Array(2).fill(`npm install --global mcp-opa-sidecar@${version}`))
  for (const { uses } of steps) if (uses) expect(uses).toMatch(/^[\w-]+\/[\w-]+@v\d+$/)
})

test('a pull request may write nothing', () => {
  expect(workflow.permissions).toEqual({ contents: 'read' })
  const writing = Object.entries(workflow.jobs).flatMap(([name, job]) => (job.permissions ? [name] : []))
  expect(writing).toEqual(['publish'])
  expect(workflow.jobs.publish).toMatchObject({ if: "github.ref == 'refs/heads/main'" })
})
