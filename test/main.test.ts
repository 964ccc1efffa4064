import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { createIssuer } from './support/assertions.ts'
import { startBundleServer } from './support/bundle-server.ts'
import { dataBundle } from './support/bundles.ts'
import { sidecarConfig, startSidecar } from './support/sidecar.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
/** The program as a person starts it: what it printed and how it ended. */
const cli = (args: string[], env: Record<string, string> = {}) =>
  new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    execFile(
      process.execPath,
      ['src/main.ts', ...args],
      { cwd: root, env: { PATH: process.env.PATH, ...env } },
      (error, stdout, stderr) => {
        resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr })
      },
    )
  })

test('--help and --version answer on stdout', async () => {
  expect(await cli(['--help'])).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('Exit codes:'),
    stderr: '',
  })
  expect((await cli(['-v'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
})

test('each command that --help names has a help of its own, with its options', async () => {
  const { stdout } = await cli(['--help'])
  const names = [...stdout.matchAll(/^ {2}([a-z-]+) {2,}\S/gm)].map((match) => match[1] ?? '')
  expect(names).toEqual(expect.arrayContaining(['run', 'check']))
  const helps = await Promise.all(names.map(async (name) => ({ name, help: await cli([name, '--help']) })))
  for (const { name, help } of helps) {
    expect(help, name).toMatchObject({ code: 0, stderr: '' })
    expect(help.stdout).toContain(`mcp-opa-sidecar ${name}`)
  }
})

test.each([
  ['no command', [], /a command is needed: run, check/],
  ['another command', ['serve'], /no such command: run, check/],
  ['an unknown option', ['run', '--confg', 'x'], /Unknown option '--confg'/],
  ['a file that is not there', ['run', '-c', '/nowhere.yaml'], /ENOENT/],
  ['nothing configured', ['run'], /the configuration has \d+ fault/],
])('wrong use, %s, is exit code 64 and says what to do', async (_name, args, says) => {
  const { code, stdout, stderr } = await cli(args)
  expect({ code, stdout }).toEqual({ code: 64, stdout: '' })
  expect(stderr).toMatch(says)
})

test('what is compiled is kept beside the code, of the program and of its threads', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-kept-'))
  const says = join(folder, 'says.cjs')
  writeFileSync(
    says,
    `const { isMainThread } = require('node:worker_threads')
     const say = () => process._rawDebug(isMainThread, require('node:module').getCompileCacheDir())
     isMainThread ? process.on('exit', say) : say()`,
  )
  const sidecar = await startSidecar({
    upstream: 'http://127.0.0.1:1/mcp',
    jwks: createIssuer().jwks,
    env: { NODE_OPTIONS: `--require ${says}` },
  })
  expect(await sidecar.stop()).toBe(0)
  const said = sidecar.logs().map(({ text }) => text)
  for (const of of ['true', 'false'])
    expect(said).toContainEqual(
      expect.stringContaining(`${of} ${join(root, 'node_modules/.cache/mcp-opa-sidecar')}`),
    )
  rmSync(folder, { recursive: true })
})

test('a process that would believe any certificate does not start', async () => {
  expect(await cli(['check'], { NODE_TLS_REJECT_UNAUTHORIZED: '0' })).toMatchObject({
    code: 64,
    stderr: expect.stringContaining('ca_file'),
  })
})

test('a bundle that cannot be activated is exit code 1, with the reason', async () => {
  const config = sidecarConfig({ upstream: 'http://127.0.0.1:1/mcp', jwks: createIssuer().jwks }, '/tmp')
  const bundle = fileURLToPath(new URL('../package.json', import.meta.url))
  const sets = ['bundles', 'plugins'].flatMap((key) => ['--set', `${key}=${JSON.stringify(config[key])}`])
  const { code, stderr } = await cli(['run', ...sets, '--bundle', bundle])
  expect({ code, says: stderr.includes('not a gzipped tar') }).toEqual({ code: 1, says: true })
})

test('check says that a sound configuration is sound', async () => {
  const config = sidecarConfig({ upstream: 'http://127.0.0.1:1/mcp', jwks: createIssuer().jwks }, '/tmp')
  const sets = ['bundles', 'plugins'].flatMap((key) => ['--set', `${key}=${JSON.stringify(config[key])}`])
  const { code, stdout } = await cli(['check', ...sets])
  expect({ code, last: stdout.trimEnd().split('\n').at(-1) }).toEqual({
    code: 0,
    last: 'the configuration is sound',
  })
  expect(stdout).toContain('mcp: entrypoints mcp/main/decision, mcp/main/visible, system/log/')
})

test('check says what is wrong with bundles, all of it', async () => {
  const config = sidecarConfig({ upstream: 'http://127.0.0.1:1/mcp', jwks: createIssuer().jwks }, '/tmp')
  const plugins = ['--set', `plugins=${JSON.stringify(config.plugins)}`]
  const bad = fileURLToPath(new URL('../package.json', import.meta.url))
  const one = await cli(['check', ...plugins, '--bundle', bad])
  expect(one).toMatchObject({ code: 1, stdout: '' })
  expect(one.stderr).toContain('bundle mcp: not a gzipped tar')
  const data = fileURLToPath(new URL('../bundles/default', import.meta.url))
  const none = await cli(['check', ...plugins, '--bundle', data])
  expect(none).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(/^bundle mcp: revision none, data only/),
  })
  expect(none.stderr).toContain('exactly one bundle must carry policy.wasm')
})

test('check looks into what services have where it is told to', async () => {
  const { plugins } = sidecarConfig({ upstream: 'http://127.0.0.1:1/mcp', jwks: createIssuer().jwks }, '/tmp')
  const server = await startBundleServer()
  const data = (sequence: number) =>
    dataBundle(['config/banned'], { config: { banned: {} } }, { revision: 'r1', metadata: { sequence } })
  server.serve('/data.tar.gz', await data(7))
  const sets = Object.entries({
    plugins,
    services: { policies: { url: server.url } },
    bundles: {
      mcp: { resource: fileURLToPath(new URL('../bundles/default.tar.gz', import.meta.url)) },
      data: { service: 'policies', resource: 'data.tar.gz' },
    },
  }).flatMap(([key, value]) => ['--set', `${key}=${JSON.stringify(value)}`])
  const without = await cli(['check', ...sets])
  expect(without).toMatchObject({ code: 0 })
  expect(without.stdout).toContain('bundle data comes from the service policies: --fetch looks into it\n')
  expect(server.requests()).toEqual([])
  const fetched = await cli(['check', '--fetch', ...sets])
  expect(fetched).toMatchObject({ code: 0 })
  expect(fetched.stdout).toContain(
    'bundle data: revision r1, data only, signature not verified (no keys), sequence 7, roots config/banned\n',
  )
  expect(fetched.stdout).toMatch(
    /^bundle mcp: revision sha256:\w+, policy, .*roots mcp\/main .*config\/servers$/m,
  )
  expect(fetched.stdout).toContain('mcp + data: entrypoints mcp/main/decision')
  await server.close()
  const away = await cli(['check', '--fetch', ...sets])
  expect(away).toMatchObject({ code: 1 })
  expect(away.stderr).toMatch(/bundle data: the service cannot be reached: .*ECONNREFUSED/)
})

test('a port that is taken is exit code 1', async () => {
  const sidecar = await startSidecar({ upstream: 'http://127.0.0.1:1/mcp', jwks: createIssuer().jwks })
  const again = startSidecar({
    upstream: 'http://127.0.0.1:1/mcp',
    jwks: createIssuer().jwks,
    config: { plugins: { mcp: { addr: `127.0.0.1:${sidecar.port}` } } },
  })
  await expect(again).rejects.toThrow(/ended with 1.*EADDRINUSE/s)
  expect(await sidecar.stop()).toBe(0)
})
