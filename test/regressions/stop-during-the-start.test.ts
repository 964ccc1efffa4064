// A stop that was asked for during the start ended the process with 1 and left a record without its end; as the first
// process of a container it was not heard at all before the program was loaded, and the container was killed later.
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createIssuer } from '../support/assertions.ts'
import { logText } from '../support/log.ts'
import { type EventLine, type SidecarOptions, sidecarConfig } from '../support/sidecar.ts'

const noNamespaces = spawnSync('unshare', ['-Urpf', 'true']).status !== 0
if (noNamespaces)
  console.warn('SKIPPED: what a first process hears needs a PID namespace (unshare -Urpf), and there is none')

let folder: string
let child: ChildProcess | undefined
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mcp-start-'))
})
afterEach(() => {
  child?.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

const start = (before: string[], file: string) => {
  const [command = '', ...words] = [...before, process.execPath, 'src/main.ts', 'run', '-c', file]
  const started = spawn(command, words, { stdio: ['ignore', 'inherit', 'pipe'] })
  child = started
  let stderr = ''
  started.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const ended = new Promise<number | null>((resolve) => started.once('exit', resolve))
  return { pid: started.pid ?? 0, ended, said: () => stderr }
}
const settings = (options: Partial<SidecarOptions>) =>
  JSON.stringify(sidecarConfig({ upstream: 'http://127.0.0.1:1/mcp', ...options }, join(folder, 'spool')))
const write = (options: Partial<SidecarOptions>) => {
  const file = join(folder, 'config.yaml')
  writeFileSync(file, settings(options))
  return file
}
/** What the record says of the life of the process. */
const codes = () => {
  const lines = existsSync(join(folder, 'spool'))
    ? logText(join(folder, 'spool')).split('\n').slice(0, -1)
    : []
  return lines.map((line) => (JSON.parse(line) as EventLine).custom.cause.code)
}

test('asked for while the keys are fetched, it waits for nothing', async () => {
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>()
  const keys = createServer(() => ask())
  await new Promise<void>((resolve) => keys.listen(0, '127.0.0.1', resolve))
  const { port } = keys.address() as AddressInfo
  const jwks_url = `http://127.0.0.1:${port}/jwks.json`
  const { pid, ended, said } = start([], write({ config: { plugins: { mcp: { identity: { jwks_url } } } } }))
  await asked
  process.kill(pid, 'SIGTERM')
  expect(await ended).toBe(0)
  expect(said()).toMatch(/"stopping"[\s\S]*"clean":true[\s\S]*"stopped"/)
  expect(codes()).toEqual([])
  keys.close()
})

test('asked for when the record says that it has started, the record says that it has stopped', async () => {
  const { pid, ended } = start([], write({ jwks: createIssuer().jwks }))
  await expect.poll(codes, { timeout: 20_000, interval: 20 }).toEqual(['started'])
  process.kill(pid, 'SIGTERM')
  expect(await ended).toBe(0)
  expect(codes()).toEqual(['started', 'stopped'])
})

test('a start that fails after the record says that it has started ends the record too', async () => {
  const other = createServer()
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
  const { port } = other.address() as AddressInfo
  const addr = `127.0.0.1:${port}`
  const file = write({ jwks: createIssuer().jwks, config: { plugins: { mcp: { addr } } } })
  const { ended, said } = start([], file)
  expect(await ended).toBe(1)
  expect(said()).toContain('EADDRINUSE')
  expect(codes()).toEqual(['started', 'stopped'])
  other.close()
})

test.skipIf(noNamespaces)(
  'the first process of a container hears it before the program is loaded',
  async () => {
    const file = join(folder, 'config.yaml')
    // It waits at a configuration that is not written yet.
    execFileSync('mkfifo', [file])
    const { pid, ended, said } = start(['unshare', '-Urpf', '--kill-child'], file)
    const config = await open(file, 'w')
    const first = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8'))
    process.kill(first, 'SIGTERM')
    await config.writeFile(settings({ jwks: createIssuer().jwks }))
    await config.close()
    expect(await ended).toBe(0)
    expect(said()).toMatch(/"stopping"[\s\S]*"stopped"/)
    expect(codes()).toEqual([])
  },
)
