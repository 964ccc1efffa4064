import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { guaranteesFault } from '../../src/edge/guarantees.ts'
import { createIssuer } from '../support/assertions.ts'
import { startSidecar } from '../support/sidecar.ts'

const fault = (env: Record<string, string>, execArgv: string[] = [], inspector?: string) =>
  guaranteesFault({ env, execArgv, inspector })

test.each([
  [{ NODE_TLS_REJECT_UNAUTHORIZED: '0' }, [], /any key source/],
  [{ NODE_OPTIONS: '--inspect' }, [], /inspector/],
  [{ NODE_OPTIONS: '--no-warnings "--inspect-brk=0"' }, [], /inspector/],
  [{ NODE_OPTIONS: '--insecure_http_parser' }, [], /ambiguous/],
  [{ NODE_OPTIONS: '--tls-keylog=/tmp/x' }, [], /keys of connections/],
  [{}, ['--inspect=127.0.0.1:0'], /inspector/],
  [{}, ['--inspect-wait'], /inspector/],
  [{}, ['--insecure-http-parser'], /ambiguous/],
  [{ NODE_DEBUG: 'http' }, [], /credentials/],
] as [Record<string, string>, string[], RegExp][])('%j %j is refused', (env, args, says) => {
  expect(fault(env, args)).toMatch(says)
})

test('an inspector that is open, however it came to be', () =>
  expect(fault({}, [], 'ws://127.0.0.1:9229/x')).toMatch(/inspector/))

test('ordinary settings are no fault', () =>
  expect(
    fault({ NODE_OPTIONS: '--max-old-space-size=512 --enable-source-maps', NODE_EXTRA_CA_CERTS: '/ca.pem' }),
  ).toBe(undefined))

test('the program does not start with an inspector', async () => {
  const root = fileURLToPath(new URL('../..', import.meta.url))
  const child = spawn(process.execPath, ['--inspect=127.0.0.1:0', 'src/main.ts', 'check'], { cwd: root })
  let said = ''
  child.stderr.on('data', (text) => {
    said += text
  })
  expect(await new Promise((resolve) => child.once('exit', resolve))).toBe(64)
  expect(said).toContain('--inspect is refused')
})

test('SIGUSR1 opens no inspector', async () => {
  const sidecar = await startSidecar({ upstream: 'http://127.0.0.1:1/mcp', jwks: createIssuer().jwks })
  process.kill(sidecar.pid, 'SIGUSR1')
  await expect.poll(() => sidecar.logs().some(({ msg }) => /SIGUSR1/.test(msg))).toBe(true)
  expect(sidecar.logs().filter(({ text }) => /Debugger listening/.test(text ?? ''))).toEqual([])
  expect(await sidecar.stop()).toBe(0)
})
