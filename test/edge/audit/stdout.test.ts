import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'
import { createIssuer } from '../../support/assertions.ts'
import { logText } from '../../support/log.ts'
import { sidecarConfig } from '../../support/sidecar.ts'

const root = fileURLToPath(new URL('../../../', import.meta.url))
const ends: (() => void)[] = []
afterEach(() => {
  for (const end of ends.splice(0)) end()
})

/** The real program with its records on stdout too. */
const start = async () => {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-stdout-'))
  const config = sidecarConfig(
    {
      upstream: 'http://127.0.0.1:1/mcp',
      jwks: createIssuer().jwks,
      config: { plugins: { mcp_audit: { output: [{ type: 'stdout' }] } } },
    },
    join(folder, 'spool'),
  )
  const file = join(folder, 'config.yaml')
  writeFileSync(file, JSON.stringify(config))
  const child = spawn(process.execPath, ['src/main.ts', 'run', '-c', file], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  ends.push(() => {
    child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const logs = () =>
    stderr
      .split('\n')
      .slice(0, -1)
      .map((text) => JSON.parse(text))
  const listening = () => logs().find((entry) => entry.msg === 'listening')
  await expect.poll(listening, { timeout: 15_000 }).toBeDefined()
  const { addr, admin, endpoint } = listening()
  return {
    child,
    logs,
    url: `http://${addr}${endpoint}`,
    admin: `http://${admin}`,
    spool: () => logText(join(folder, 'spool')),
  }
}
/** A message that is refused, and so leaves a record. */
const refused = async (url: string) => {
  const answer = await fetch(url, { method: 'POST', headers: { 'user-agent': 'test' }, body: 'x' })
  await answer.arrayBuffer()
}
const terminate = async (child: ChildProcess) => {
  const exit = once(child, 'exit')
  child.kill('SIGTERM')
  return (await exit)[0]
}
const codes = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).custom.cause.code)

test('stdout has exactly the lines of the file', async () => {
  const { child, url, spool } = await start()
  let stdout = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  const ended = once(child.stdout, 'end')
  for (let i = 0; i < 20; i++) await refused(url)
  expect(await terminate(child)).toBe(0)
  await ended
  expect(stdout).toBe(spool())
  expect(codes(stdout)).toHaveLength(22)
})

test('a stdout whose reader has gone costs the copy, said once, and nothing else', async () => {
  const { child, url, admin, spool, logs } = await start()
  child.stdout.destroy()
  for (let i = 0; i < 5; i++) {
    await refused(url)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  expect((await fetch(`${admin}/health?plugins`)).status).toBe(200)
  expect(await terminate(child)).toBe(0)
  expect(logs().filter((entry) => entry.error?.includes('EPIPE'))).toHaveLength(1)
  expect(codes(spool()).slice(-1)).toEqual(['stopped'])
  expect(codes(spool())).toHaveLength(7)
})

test('a stdout that nobody reads does not hold up the end', async () => {
  const { child, url, spool } = await start()
  for (let i = 0; i < 1000; i += 50) await Promise.all(Array.from({ length: 50 }, () => refused(url)))
  expect(spool().length).toBeGreaterThan(300_000)
  const from = Date.now()
  expect(await terminate(child)).toBe(0)
  expect(Date.now() - from).toBeLessThan(8_000)
  expect(codes(spool()).at(-1)).toBe('stopped')
})
