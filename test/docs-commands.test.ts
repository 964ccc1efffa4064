// Every command of every page is run: here, or by the test that is named, or it is in the list of those that cannot be.
import { type ExecFileException, execFile, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createIssuer, people } from './support/assertions.ts'
import { postBytes, sendRaw } from './support/raw.ts'
import { type Recorder, startRecorder } from './support/recorder.ts'
import { type Sidecar, sidecarConfig, startSidecar } from './support/sidecar.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const PAGES = [
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`),
]

/** Pages of which one test takes each command, so that a new one is run without being named here. */
const WHOLE: Record<string, string> = {
  'docs/bundles.md': 'test/docs-bundles.test.ts',
  'docs/commands.md': 'test/commands/policy.test.ts',
  'docs/policy-repository.md': 'test/docs-policy-repository.test.ts',
  'docs/records.md': 'test/commands/record.test.ts',
}

type How = { by: string } | { here: 'program' | 'kubectl' | 'config' } | { not: string }
const NO_REGISTRY = 'the images come from registries'
const COMMANDS: [command: RegExp, how: How][] = [
  [/^npm ci && npm run demo$/, { by: 'test/e2e/demo.test.ts' }],
  [/^npm run demo \| sed -n '\/THE RECORD\/,\$p'$/, { by: 'test/e2e/demo.test.ts' }],
  [/^npm ci && npm start$/, { by: 'test/e2e/demo.test.ts' }],
  [/^npm ci && npm test$/, { by: '.ci/run' }],
  [/^node src\/main\.ts (check|run) --config-file sidecar\.yaml$/, { here: 'config' }],
  [/^export PATH=\$PWD\/node_modules\/\.bin:\$PATH$/, { by: 'test/readme.test.ts' }],
  [/^mcp-opa-sidecar sinks test --config-file sidecar\.yaml$/, { here: 'config' }],
  [/^mcp-opa-sidecar doctor /, { here: 'config' }],
  [/^mcp-opa-sidecar (explain|tail|verify) .*\/var\/lib\/mcp-opa-sidecar/, { here: 'program' }],
  [/^(mkdir -p switch$|echo .* > switch\/|tar -czf switch\.tar\.gz)/, { by: 'test/e2e/switch.test.ts' }],
  [/^kubectl kustomize /, { here: 'kubectl' }],
  [/^kubectl (-n mcp-github )?create /, { here: 'kubectl' }],
  [/^kubectl apply -k /, { not: 'there is no cluster; the same is rendered and validated' }],
  [/^deploy\/compose\/prepare\.sh$/, { by: 'test/deploy/compose.test.ts' }],
  [/^GITHUB_CLIENT_ID=.* deploy\/compose\/prepare\.sh$/, { by: 'test/deploy/compose.test.ts' }],
  [/^docker compose (exec sidecar|logs) /, { by: 'test/containers/compose.test.ts' }],
  [/^docker compose --profile demo up --wait/, { by: 'test/containers/compose.test.ts' }],
  [/^docker compose --profile '\*' down$/, { by: 'test/containers/compose.test.ts' }],
  [/^docker compose --profile (github|demo --profile siem) up --wait$/, { not: NO_REGISTRY }],
  [/^claude mcp add /, { not: 'Claude Code is no part of this project' }],
  [
    /^NODE_EXTRA_CA_CERTS=\S+ (claude|code)\b/,
    { not: 'Claude Code and VS Code are no part of this project' },
  ],
]

const lines = PAGES.filter((page) => !WHOLE[page]).flatMap((page) =>
  [...read(page).matchAll(/```sh\n([\s\S]*?)```/g)].flatMap(([, block = '']) =>
    block
      .trim()
      .split('\n')
      .map((command) => ({ page, command })),
  ),
)
const howOf = (command: string) => COMMANDS.filter(([known]) => known.test(command))

test('every command is run somewhere, or it is said why not', () => {
  for (const { page, command } of lines) expect(howOf(command), `${page}: ${command}`).toHaveLength(1)
  for (const [known] of COMMANDS)
    expect(
      lines.some(({ command }) => known.test(command)),
      `${known} is of no page`,
    ).toBe(true)
  expect(lines.length).toBeGreaterThan(30)
})

test('the tests that run them are there, and speak of them', () => {
  for (const [page, by] of Object.entries(WHOLE)) expect(read(by)).toContain(page)
  for (const [, how] of COMMANDS) if ('by' in how) expect(existsSync(join(root, how.by)), how.by).toBe(true)
})

const folder = mkdtempSync(join(tmpdir(), 'mcp-docs-'))
const spool = join(folder, 'spool')
const issuer = createIssuer()
let upstream: Recorder
let sidecar: Sidecar
let denied = ''
beforeAll(async () => {
  upstream = await startRecorder()
  sidecar = await startSidecar({
    upstream: upstream.url,
    jwks: issuer.jwks,
    config: { plugins: { mcp_audit: { buffer: { path: spool } } } },
  })
  const params = { name: 'merge_pull_request', arguments: { owner: 'acme', repo: 'app', pullNumber: 7 } }
  const body = { jsonrpc: '2.0', id: 1, method: 'tools/call', params }
  const { answers } = await sendRaw(sidecar.port, postBytes(issuer.mint(people.alice), body))
  denied = /Decision ([0-9a-f-]{36})/.exec(String(answers[0]?.body))?.[1] ?? ''
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  const program = `#!/bin/sh\nexec "${process.execPath}" "${join(root, 'src/main.ts')}" "$@"\n`
  writeFileSync(join(bin, 'mcp-opa-sidecar'), program, { mode: 0o755 })
})
afterAll(async () => {
  await sidecar?.stop()
  await upstream?.close()
  rmSync(folder, { recursive: true, force: true })
})

type Told = { code: number | string; out: string; err: string }
/** @param seen ends it when it has said so much: for commands that go on until they are ended */
function run(command: string, cwd = folder, seen?: RegExp): Promise<Told> {
  const env = { ...process.env, PATH: [join(folder, 'bin'), process.env.PATH].join(delimiter) }
  return new Promise((resolve) => {
    const done = (error: ExecFileException | null, out: string, err: string) =>
      resolve({ code: error?.code ?? error?.signal ?? 0, out, err })
    // exec, so that a signal is the command's own.
    const child = execFile('bash', ['-euo', 'pipefail', '-c', `exec ${command}`], { cwd, env }, done)
    let said = ''
    const look = (text: string) => {
      said += text
      if (!child.killed && seen?.test(said)) child.kill('SIGTERM')
    }
    child.stdout?.on('data', look)
    child.stderr?.on('data', look)
  })
}
const here = (kind: 'program' | 'kubectl' | 'config') =>
  lines.flatMap(({ page, command }) => {
    const [, how] = howOf(command)[0] ?? []
    return how && 'here' in how && how.here === kind ? [[page, command] as const] : []
  })

describe('on a record', () => {
  test.each(here('program'))('%s: %s', async (_page, command) => {
    expect(denied).not.toBe('')
    const real = command.replace('/var/lib/mcp-opa-sidecar', spool).replace('DECISION_ID', denied)
    const told = await run(real, folder, command.includes('--follow') ? /merge_pull_request/ : undefined)
    if (!command.includes('--follow')) expect(told).toMatchObject({ code: 0 })
    expect(told.out).toMatch(command.includes(' verify ') ? /\d/ : /merge_pull_request/)
  })
})

describe('on a configuration', () => {
  const inCheckout = (command: string) => command.replace('sidecar.yaml', join(folder, 'sidecar.yaml'))
  beforeAll(() => {
    const config = sidecarConfig(
      {
        upstream: upstream.url,
        jwks: issuer.jwks,
        config: { plugins: { mcp_audit: { output: [{ type: 'stdout' }] } } },
      },
      join(folder, 'another'),
    )
    writeFileSync(join(folder, 'sidecar.yaml'), JSON.stringify(config))
  })

  test.each(here('config'))('%s: %s', async (_page, command) => {
    const route = /https:\/\/\S+/.exec(command)?.[0]
    const told = await run(inCheckout(command), root, command.includes(' run ') ? /"listening"/ : undefined)
    if (command.includes(' check ')) expect(told.out).toContain('the configuration is sound')
    else if (command.includes(' run '))
      expect({ code: told.code, err: told.err }).toMatchObject({
        code: 0,
        err: expect.stringContaining('"listening"'),
      })
    else if (command.includes('sinks test'))
      expect(told).toMatchObject({ code: 0, out: expect.stringContaining('sink_test') })
    else {
      // Nobody serves the host of the page: it says so, and everything else is in order.
      expect(told.code).toBe(1)
      expect(told.out).toContain(`fault  route: ${route}`)
      expect(told.out).toContain('1 fault(s) found')
    }
  })
})

const noKubectl = spawnSync('kubectl', ['version', '--client']).status !== 0
if (noKubectl)
  process.stderr.write('SKIPPED in test/docs-commands.test.ts: kubectl, for there is none here\n')
describe.skipIf(noKubectl)('with kubectl, as far as it goes without a cluster', () => {
  test.each(here('kubectl'))('%s: %s', async (_page, command) => {
    const dry = command.includes(' create ') ? `${command} --dry-run=client --output name` : command
    const told = await run(dry, root)
    expect(told).toMatchObject({ code: 0 })
    expect(told.out).toMatch(
      command.includes(' create ') ? /^(namespace|secret)\/\S+\n$/ : /kind: Deployment/,
    )
  })
})
