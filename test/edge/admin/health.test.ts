import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { createIssuer } from '../../support/assertions.ts'
import { startSidecar } from '../../support/sidecar.ts'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../../..', import.meta.url))
/** An upstream that is not there: no probe may wait for it. */
const NOWHERE = 'http://127.0.0.1:1/mcp'

test('health_addr serves health and nothing else, and asks nothing of the upstream', async () => {
  const sidecar = await startSidecar({
    upstream: NOWHERE,
    jwks: createIssuer().jwks,
    config: { plugins: { mcp: { health_addr: '127.0.0.1:0' } } },
  })
  const { health } = sidecar.logs().find(({ msg }) => msg === 'listening') as { health: string }
  const status = async (path: string) => (await fetch(`http://${health}${path}`)).status
  expect(await status('/health')).toBe(200)
  expect(await status('/health?bundles&plugins')).toBe(200)
  expect(await status('/metrics')).toBe(404)
  expect(await status('/v1/status')).toBe(404)
  expect(await status('/mcp')).toBe(404)
  expect((await fetch(`${sidecar.admin}/metrics`)).status).toBe(200)
  expect(await sidecar.stop()).toBe(0)
})

test('without keys it is alive and started, and not ready', async () => {
  const sidecar = await startSidecar({
    upstream: NOWHERE,
    config: { plugins: { mcp: { identity: { jwks_url: 'http://127.0.0.1:1/jwks.json' } } } },
  })
  const status = async (query: string) => (await fetch(`${sidecar.admin}/health${query}`)).status
  expect([await status(''), await status('?bundles'), await status('?plugins')]).toEqual([200, 200, 500])
  const command = ['src/main.ts', 'health', '--addr', sidecar.admin.replace('http://', '')]
  await expect(run(process.execPath, command, { cwd: root })).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('plugin mcp is not ready'),
  })
  await sidecar.stop()
})

test('the health command says that it is ready, or that nobody answers', async () => {
  const sidecar = await startSidecar({ upstream: NOWHERE, jwks: createIssuer().jwks })
  const command = ['src/main.ts', 'health', '--addr', sidecar.admin.replace('http://', '')]
  expect((await run(process.execPath, command, { cwd: root })).stdout).toBe('ready\n')
  await sidecar.stop()
  await expect(run(process.execPath, command, { cwd: root })).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('no answer'),
  })
})
