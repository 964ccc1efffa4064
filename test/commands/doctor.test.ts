import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, createServer as createTcp } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { createIssuer } from '../support/assertions.ts'
import { startRecorder } from '../support/recorder.ts'
import { sidecarConfig, startSidecar } from '../support/sidecar.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

type Options = {
  upstream?: string
  jwks?: string
  config?: Record<string, unknown>
  spool?: string
  args?: string[]
}
type Told = { code: number; out: string; err: string }
const issuer = createIssuer()

/** The command as an operator types it. */
async function doctor({
  upstream,
  jwks = issuer.jwks,
  config = {},
  spool,
  args = [],
}: Options): Promise<Told> {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-doctor-'))
  ends.push(() => rmSync(folder, { recursive: true, force: true }))
  const given = 'jwks_url' in ((config.identity as object | undefined) ?? {}) ? undefined : jwks
  const settings = sidecarConfig(
    { upstream: upstream ?? 'http://127.0.0.1:1/mcp', jwks: given, config: { plugins: { mcp: config } } },
    spool ?? join(folder, 'spool'),
  )
  writeFileSync(join(folder, 'config.yaml'), JSON.stringify(settings))
  const words = ['src/main.ts', 'doctor', '-c', join(folder, 'config.yaml'), ...args]
  return new Promise((resolve) => {
    execFile(process.execPath, words, { cwd: root }, (error, out, err) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, out, err })
    })
  })
}
const serve = async (answer: RequestListener): Promise<string> => {
  const server = createServer(answer)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  ends.push(() => server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
const healthy = async () => {
  const recorder = await startRecorder()
  ends.push(recorder.close)
  return recorder.url
}

test('where nothing is wrong it says so, and ends with 0', async () => {
  const jwks = await serve((_, answer) => answer.end(issuer.jwks))
  const { code, out, err } = await doctor({
    upstream: await healthy(),
    config: { identity: { jwks_url: `${jwks}/jwks.json` } },
  })
  expect({ code, err }).toEqual({ code: 0, err: '' })
  for (const about of ['bundles', 'keys', 'clock', 'identity', 'upstream', 'record'])
    expect(out).toMatch(new RegExp(`^fine +${about}: `, 'm'))
  expect(out).not.toMatch(/^fault/m)
})

describe('each mistake is a fault with what to do, and exit code 1', () => {
  const found = async (options: Options, about: string, says: RegExp, todo: RegExp) => {
    const { code, out } = await doctor({ upstream: await healthy(), ...options })
    const lines = out.split('\n')
    const at = lines.findIndex((line) => line.startsWith(`fault  ${about}: `) && says.test(line))
    expect(at, out).toBeGreaterThanOrEqual(0)
    expect(lines[at + 1]).toMatch(todo)
    expect(code).toBe(1)
  }

  test('keys that cannot be reached', () =>
    found(
      { config: { identity: { jwks_url: 'http://127.0.0.1:1/jwks.json' } } },
      'keys',
      /ECONNREFUSED/,
      /ca_file/,
    ))

  test('a clock that is off', async () => {
    const jwks = await serve((_, answer) => {
      answer.setHeader('date', new Date(Date.now() - 600_000).toUTCString())
      answer.end(issuer.jwks)
    })
    await found({ config: { identity: { jwks_url: `${jwks}/` } } }, 'clock', /ahead of/, /NTP/)
  })

  test('an issuer and an audience of two hosts, an audience that is a URL', async () => {
    await found(
      { config: { identity: { audience: 'other.example.com' } } },
      'identity',
      /two hosts/,
      /into both/,
    )
    await found(
      { config: { identity: { audience: 'https://mcp.example.com/' } } },
      'identity',
      /no host name/,
      /without scheme/,
    )
  })

  test('a server that is not there', () =>
    found({ upstream: 'http://127.0.0.1:1/mcp' }, 'upstream', /nobody listens/, /start the MCP server/))

  const others = Object.values(networkInterfaces()).some((all) => all?.some(({ internal }) => !internal))
  test.skipIf(!others)('a server that listens to everybody', async () => {
    const server = createTcp((socket) => socket.end())
    await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve))
    ends.push(() => server.close())
    const upstream = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`
    await found({ upstream }, 'upstream', /past the sidecar/, /127\.0\.0\.1 only/)
  })

  test('a bundle without the entrypoints', () =>
    found(
      { config: { path: 'another/decision' } },
      'bundles',
      /no entrypoint another\/decision/,
      /opa build -t wasm/,
    ))

  test('a record that cannot be written', () =>
    found({ spool: '/proc/nowhere/spool' }, 'record', /\/proc/, /writable/))

  test.each([
    [401, { 'www-authenticate': 'Bearer realm="x"' }, 'note'],
    [302, { location: 'https://authenticate.example.com' }, 'fault'],
    // What Pomerium 0.33.1 answers to a client that wants no page, on a route without mcp:.
    [401, { 'content-type': 'application/json' }, 'fault'],
    [404, {}, 'fault'],
    [200, {}, 'fault'],
    [401, { 'www-authenticate': 'Bearer resource_metadata="https://mcp.example.com/x"' }, 'fine'],
  ])('a route that answers %s %j is a %s', async (status, headers, level) => {
    const route = await serve((_, answer) => answer.writeHead(status, headers).end())
    const { out } = await doctor({ upstream: await healthy(), args: ['--route', `${route}/mcp`] })
    expect(out).toMatch(new RegExp(`^${level} +route: `, 'm'))
  })

  test('what the record says of the traffic: no assertion, another audience', async () => {
    const upstream = await healthy()
    const spool = mkdtempSync(join(tmpdir(), 'mcp-doctor-spool-'))
    ends.push(() => rmSync(spool, { recursive: true, force: true }))
    const sidecar = await startSidecar({
      upstream,
      jwks: issuer.jwks,
      config: { plugins: { mcp_audit: { buffer: { path: spool } } } },
    })
    const post = (headers: Record<string, string>) =>
      fetch(sidecar.url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'application/json, text/event-stream',
          ...headers,
        },
        body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' }),
      })
    expect((await post({})).status).toBe(403)
    const foreign = issuer.mint({ aud: 'other.example.com' })
    expect((await post({ 'x-pomerium-jwt-assertion': foreign })).status).toBe(403)
    await sidecar.stop()
    await found({ upstream, spool }, 'traffic', /assertion_missing/, /pass_identity_headers: true/)
    await found({ upstream, spool }, 'traffic', /assertion_audience/, /host of the route/)
  })
})

test('faults of the configuration are all said, with exit code 64', async () => {
  const { code, err } = await doctor({ config: { adr: 'x', server: null } })
  expect(code).toBe(64)
  expect(err).toContain('plugins.mcp.adr: is not a setting')
  expect(err).toContain('plugins.mcp.server: is required')
})
