// The workflow that users copy, run step by step on what new-policy writes.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { parse } from 'yaml'
import { OPA_VERSION, opaPath } from '../../tools/opa.ts'
import { noOpa } from '../support/policy.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'mcp-policy-repository-'))
afterAll(() => rmSync(folder, { recursive: true }))

type Step = { uses?: string; run?: string; with?: Record<string, unknown> }
const workflow = parse(readFileSync(join(root, 'deploy/policy-repository/policy.yaml'), 'utf8')) as {
  permissions: object
  jobs: Record<string, { 'runs-on': string; steps: Step[] }>
}
const steps = Object.values(workflow.jobs).flatMap((job) => job.steps)
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }

test('it has the versions that this project has, and may write nothing', () => {
  const using = (name: string) => steps.find(({ uses }) => uses?.startsWith(name))?.with
  expect(using('open-policy-agent/setup-opa')?.version).toBe(OPA_VERSION)
  expect(String(using('actions/setup-node')?.['node-version'])).toBe('24')
  expect(steps.map(({ run }) => run)).toContain(`npm install --global mcp-opa-sidecar@${manifest.version}`)
  expect(workflow.permissions).toEqual({ contents: 'read' })
  for (const { uses } of steps) if (uses) expect(uses).toMatch(/^[\w-]+\/[\w-]+@v\d+$/)
})

test.skipIf(noOpa)(
  'its steps pass on a new policy, and fail on one that is wrong',
  { timeout: 60_000 },
  async () => {
    const bin = join(folder, 'bin')
    mkdirSync(bin)
    symlinkSync(await opaPath(), join(bin, 'opa'))
    const program = `#!/bin/sh\nexec "${process.execPath}" "${join(root, 'src/main.ts')}" "$@"\n`
    writeFileSync(join(bin, 'mcp-opa-sidecar'), program, { mode: 0o755 })
    const env = { ...process.env, PATH: [bin, process.env.PATH].join(delimiter) }
    const run = (script: string) => execFileSync('bash', ['-ec', script], { cwd: folder, env, stdio: 'pipe' })
    const tools = [
      { name: 'read_note', inputSchema: { type: 'object' }, annotations: { readOnlyHint: true } },
    ]
    writeFileSync(join(folder, 'notes.json'), JSON.stringify({ tools }))
    run('mcp-opa-sidecar new-policy --server notes --group engineering --tools notes.json policy')
    // The package is this checkout's; everything else is as it is written.
    const scripts = steps.flatMap(({ run: script = '' }) => (/^$|^npm install /.test(script) ? [] : [script]))
    expect(scripts).toHaveLength(3)
    for (const script of scripts) run(script)
    const kept = steps.find(({ uses }) => uses?.startsWith('actions/upload-artifact'))?.with?.path
    expect(existsSync(join(folder, String(kept)))).toBe(true)
    // Each of the first two steps finds what it is for.
    writeFileSync(join(folder, 'policy/wrong.rego'), 'package   wrong\nx := 1\n')
    expect(() => run(scripts[0] ?? '')).toThrow()
    writeFileSync(join(folder, 'policy/wrong.rego'), 'package wrong_test\n\ntest_no if false\n')
    expect(() => run(scripts[1] ?? '')).toThrow()
  },
)
