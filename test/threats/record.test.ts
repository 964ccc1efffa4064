// 1.I: what an attacker can do to the record, and what the record can tell an attacker.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createIssuer } from '../support/assertions.ts'
import { postBytes, sendRaw } from '../support/raw.ts'
import { type Recorder, startRecorder } from '../support/recorder.ts'
import { type Sidecar, startSidecar } from '../support/sidecar.ts'

const issuer = createIssuer()
let upstream: Recorder
let sidecar: Sidecar
beforeAll(async () => {
  upstream = await startRecorder()
  sidecar = await startSidecar({
    upstream: upstream.url,
    jwks: issuer.jwks,
    config: { plugins: { mcp: { upstream: { authorization: 'forward' } } } },
  })
})
afterAll(async () => {
  expect(await sidecar.stop()).toBe(0)
  await upstream.close()
})
const call = async (
  name: string,
  args: object,
  headers: Record<string, string> = {},
  assertion = issuer.mint(),
) => {
  const body = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: args } }
  return (await sendRaw(sidecar.port, postBytes(assertion, body, headers))).answers[0]
}
const metrics = async () => (await fetch(`${sidecar.admin}/metrics`)).text()

test('I1 a call of a megabyte costs the record a few kilobytes', async () => {
  const before = sidecar.spool().length
  for (let i = 0; i < 5; i++)
    await call(i % 2 ? 'get_me' : 'delete_repository', {
      text: 'x'.repeat(500_000),
      more: Array(2000).fill('y'.repeat(100)),
    })
  expect(sidecar.spool().length - before).toBeLessThan(5 * 70_000)
  const [decision] = sidecar.records().filter(({ custom }) => custom.truncated)
  expect(decision?.custom.truncated.length).toBeGreaterThan(0)
})

test('I2 whatever is in a call is one line, and reads back as it was', async () => {
  const naughty = [
    'a\r\nb',
    '\n{"decision_id":"forged"}\n',
    '\u2028\u2029',
    '\x1b[31mred',
    '"}}\n',
    '\u0085',
    '\ufeff',
  ]
  const before = sidecar.records().length
  for (const text of naughty) await call('delete_repository', { text })
  const added = sidecar.records().slice(before)
  expect(added.map(({ input }) => input?.arguments?.text)).toEqual(naughty)
  const raw = sidecar.spool().trimEnd()
  expect(raw.split(/\r\n|[\n\r\u2028\u2029]/)).toHaveLength(sidecar.records().length)
  expect(sidecar.records().map(({ custom }) => custom.seq)).toEqual(sidecar.records().map((_, i) => i + 1))
})

test('I3 no credential is in the record, the logs or the metrics', async () => {
  const assertion = issuer.mint()
  const secret = 'canary-secret-91c2'
  await call(
    'get_me',
    { token: secret, nested: { password: `${secret}-2`, api_key: `${secret}-3` } },
    {
      authorization: `Bearer ${secret}-upstream`,
      'x-canary': secret,
      cookie: secret,
    },
    assertion,
  )
  expect(upstream.raw()).toContain(`${secret}-upstream`)
  const everything = sidecar.spool() + JSON.stringify(sidecar.logs()) + (await metrics())
  expect(everything).not.toContain(secret)
  expect(everything).not.toContain(assertion.split('.')[2])
})

test('I7 the MCP listener serves nothing of the admin’s; the admin changes nothing', async () => {
  for (const path of ['/metrics', '/health', '/', '/debug/pprof', '/v1/data', '/config', '/admin']) {
    const answer = await fetch(new URL(path, sidecar.url), {
      headers: { 'x-pomerium-jwt-assertion': issuer.mint() },
    })
    expect(answer.status, path).toBe(404)
  }
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
    expect((await fetch(`${sidecar.admin}/health`, { method })).status, method).toBe(405)
    expect((await fetch(`${sidecar.admin}/metrics`, { method })).status, method).toBe(405)
  }
})

test('I8 names that callers make up are no series of the metrics', async () => {
  // The first of each kind makes its series.
  await call('made-up', {})
  await call('get_me', {}, { 'content-type': 'text/plain' })
  const series = (text: string) =>
    text.split('\n').filter((line) => line !== '' && !line.startsWith('#')).length
  const before = await metrics()
  for (let i = 0; i < 300; i++) {
    const headers: Record<string, string> =
      i % 3 === 0 ? { 'content-type': `text/x${i}` } : { 'mcp-name': `n${i}`, 'x-request-id': `r${i}` }
    await call(`tool-${i}-made-up`, {}, headers, issuer.mint({ sub: `s${i}`, user: `s${i}` }))
  }
  const after = await metrics()
  expect(after).not.toContain('made-up')
  expect(series(after) - series(before)).toBeLessThanOrEqual(2)
})

test('I9 no answer says where in the code, or which policy text', async () => {
  for (const body of ['', '{', '[]', '{"jsonrpc":"2.0","id":1,"method":"x"}', 'null']) {
    const { answers } = await sendRaw(sidecar.port, postBytes(issuer.mint(), body))
    expect(answers[0]?.body).not.toMatch(/node_modules|\.ts:|at [A-Za-z.]+ \(|\/src\/|rego/i)
  }
})
