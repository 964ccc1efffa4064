import { execFileSync, spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { opaPath } from '../../tools/opa.ts'
import { createIssuer } from '../support/assertions.ts'
import { type BundleServer, startBundleServer } from '../support/bundle-server.ts'
import { allowing, dataBundle, tarball } from '../support/bundles.ts'
import { buildBundle, noOpa } from '../support/policy.ts'
import { type Parsed, postBytes, sendRaw } from '../support/raw.ts'
import { type Recorder, startRecorder } from '../support/recorder.ts'
import { type Sidecar, startSidecar } from '../support/sidecar.ts'

const issuer = createIssuer()
const folder = mkdtempSync(join(tmpdir(), 'mcp-life-'))
afterAll(() => rmSync(folder, { recursive: true }))
const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

async function parts(): Promise<{ server: BundleServer; upstream: Recorder }> {
  const server = await startBundleServer()
  const upstream = await startRecorder()
  closers.push(server.close, upstream.close)
  return { server, upstream }
}
async function sidecarOf(upstream: Recorder, config: Parsed): Promise<Sidecar> {
  const sidecar = await startSidecar({ upstream: upstream.url, jwks: issuer.jwks, config })
  closers.push(() => sidecar.stop())
  return sidecar
}
const call = (tool: string) =>
  JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: tool, arguments: {} } })
async function ask(
  sidecar: Sidecar,
  tool: string,
): Promise<{ status: number; text: string; header: Parsed }> {
  const { answers } = await sendRaw(sidecar.port, postBytes(issuer.mint(), call(tool)))
  return { status: answers[0]?.status ?? 0, text: answers[0]?.body ?? '', header: answers[0]?.header }
}
/** Asks until it holds: a bundle is in force when its service is next asked. */
async function until<T>(look: () => Promise<T> | T, holds: (seen: T) => boolean): Promise<T> {
  for (;;) {
    const seen = await look()
    if (holds(seen)) return seen
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
const health = async (sidecar: Sidecar, query: string) => {
  const answer = await fetch(`${sidecar.admin}/health${query}`)
  return { status: answer.status, body: await answer.text() }
}

describe.skipIf(noOpa)('the life of a bundle', async () => {
  const build = async (mark: string) => {
    const manifest = JSON.stringify({ revision: mark, roots: ['mcp'] })
    const bundle = await buildBundle({ 'mcp/main/main.rego': allowing(mark), '.manifest': manifest })
    const bytes = readFileSync(bundle.path)
    await bundle.dispose()
    return bytes
  }
  const [one, two] = noOpa ? [] : await Promise.all([build('one'), build('two')])
  const polling = { min_delay_seconds: 1, max_delay_seconds: 1 }
  const config = (server: BundleServer, more: object = {}) => ({
    services: { policies: { url: server.url } },
    persistence_directory: join(folder, 'store'),
    bundles: {
      mcp: { service: 'policies', resource: 'mcp.tar.gz', persist: true, polling },
      data: { service: 'policies', resource: 'data.tar.gz', persist: true, polling },
    },
    ...more,
  })
  const data = (allowed: string[], more: object = {}) =>
    dataBundle(['config'], { config: { allowed, ...more } }, { revision: allowed.join('+') })

  test('nothing passes before the first; it comes, changes, is taken back, outlives a restart and becomes stale', async () => {
    const { server, upstream } = await parts()
    const settings = (maxAge: string) => config(server, { plugins: { mcp: { bundle_max_age: maxAge } } })
    const sidecar = await sidecarOf(upstream, settings('1h'))
    const none = await ask(sidecar, 'a')
    expect(none).toMatchObject({ status: 503 })
    expect(none.text).toContain('"no_bundle"')
    expect(none.header('retry-after')).toBe('1')
    expect(await health(sidecar, '?bundles')).toMatchObject({
      status: 500,
      body: expect.stringContaining('mcp ('),
    })
    expect(await health(sidecar, '')).toMatchObject({ status: 200 })
    expect(upstream.bytes()).toBe(0)

    server.serve('/mcp.tar.gz', one as Buffer)
    server.serve('/data.tar.gz', await data(['a']))
    await until(
      () => ask(sidecar, 'a'),
      (seen) => seen.status === 200 && !seen.text.includes('isError'),
    )
    expect(await health(sidecar, '?bundles&plugins')).toMatchObject({ status: 200 })

    server.serve('/mcp.tar.gz', two as Buffer)
    const denied = await until(
      () => ask(sidecar, 'b'),
      (seen) => seen.text.includes('[two]'),
    )
    expect(denied.text).toContain('policy two, a')

    // What cannot be active changes nothing but what is said of it.
    server.serve(
      '/data.tar.gz',
      await data(['b'], { canaries: { a: { input: { tool: { name: 'a' } }, allow: true } } }),
    )
    const failed = await until(
      () =>
        sidecar
          .records()
          .find(
            (event) =>
              event.custom.cause?.code === 'bundle_failed' && event.custom.cause.failure === 'canaries',
          ),
      (event) => event !== undefined,
    )
    expect(failed?.custom).toMatchObject({
      event: 'lifecycle',
      cause: { bundle: 'data', error: expect.stringContaining('canary "a"') },
    })
    expect((await ask(sidecar, 'a')).text).not.toContain('isError')
    const metrics = await (await fetch(`${sidecar.admin}/metrics`)).text()
    expect(metrics).toMatch(
      /bundle_failed_load_counter\{name="data",code="bundle_error",message="canaries"\} [1-9]/,
    )
    expect(metrics).toMatch(/last_success_bundle_activation\{name="mcp",active_revision="two"\} \d/)
    for (const stage of ['timer_bundle_request_ns', 'timer_rego_load_bundles_ns']) {
      const [, sum] =
        new RegExp(`bundle_loading_duration_ns_sum\\{name="mcp",stage="${stage}"\\} (\\d+)`).exec(metrics) ??
        []
      expect(Number(sum)).toBeGreaterThan(1000)
    }
    expect(metrics).not.toContain('active_revision="one"')

    // A bundle with data only that allows nothing stops everything within a poll.
    server.serve('/data.tar.gz', await data([]))
    await until(
      () => ask(sidecar, 'a'),
      (seen) => seen.text.includes('isError'),
    )
    const activated = sidecar.records().filter((event) => event.custom.cause?.code === 'bundle_activated')
    expect(activated.at(-1)?.custom.cause).toMatchObject({
      from: { mcp: { revision: 'two' }, data: { revision: 'a' } },
      to: { mcp: { revision: 'two' } },
      data_digest: expect.stringMatching(/^sha256:/),
    })

    // Each decision's own text says by which policy it was decided.
    for (const event of sidecar.records().filter((record) => record.path)) {
      expect(event.bundles.mcp.revision).toBe(event.result.reasons[0].code)
    }
    expect(await sidecar.stop()).toBe(0)

    await server.close()
    const again = await sidecarOf(upstream, settings('1h'))
    expect((await ask(again, 'a')).text).toContain('[two]')
    expect(await again.stop()).toBe(0)
    const before = new Date(Date.now() - 7_200_000)
    for (const name of ['mcp', 'data'])
      utimesSync(join(folder, 'store/bundles', name, 'bundle.tar.gz'), before, before)
    const old = await sidecarOf(upstream, settings('1h'))
    const stale = await ask(old, 'a')
    expect(stale.status).toBe(503)
    expect(stale.text).toContain('"bundle_stale"')
    expect(await health(old, '?bundles')).toMatchObject({
      status: 500,
      body: expect.stringContaining('bundle_max_age'),
    })
  }, 60_000)

  test('a candidate answers beside the policy in force, is recorded and counted, and changes nothing', async () => {
    const { server, upstream } = await parts()
    server.serve('/mcp.tar.gz', one as Buffer)
    server.serve('/data.tar.gz', await data(['a']))
    const from = config(server)
    const sidecar = await sidecarOf(upstream, {
      ...from,
      persistence_directory: join(folder, 'store-of-candidate'),
      bundles: {
        ...from.bundles,
        next: { service: 'policies', resource: 'next.tar.gz', polling },
      },
      plugins: { mcp: { candidate: { bundles: { data: 'next' } } } },
    })
    const allowed = (seen: { status: number; text: string }) =>
      seen.status === 200 && !seen.text.includes('isError')
    await until(() => ask(sidecar, 'a'), allowed)
    // It is not there yet, which holds up nothing.
    expect(await health(sidecar, '?bundles&plugins')).toMatchObject({ status: 200 })
    const metrics = async () => (await fetch(`${sidecar.admin}/metrics`)).text()
    await until(metrics, (text) => /mcp_candidate_failures_total\{reason="no_bundle"\} [1-9]/.test(text))

    server.serve('/next.tar.gz', await data(['b']))
    const decisions = () => sidecar.records().filter((event) => event.custom.candidate !== undefined)
    await until(
      async () => [allowed(await ask(sidecar, 'a')), decisions().length] as const,
      ([, count]) => count > 0,
    )
    expect(allowed(await ask(sidecar, 'b'))).toBe(false)
    await until(decisions, (events) => events.some((event) => event.custom.candidate.allow))
    for (const event of decisions()) {
      const enforced = event.custom.event === 'candidate' ? event.custom.enforced : event.result
      expect(event.custom.candidate).toEqual({
        allow: !enforced.allow,
        reasons: [{ code: 'one', title: 'one' }],
        revision: 'one, b',
      })
      if (event.custom.event === 'decision') expect(event.bundles.data.revision).toBe('a')
    }
    const counted = await metrics()
    expect(counted).toMatch(
      /mcp_candidate_flips_total\{method="tools\/call",tool="other",direction="allow_to_deny"\} [1-9]/,
    )
    expect(counted).toMatch(
      /mcp_candidate_flips_total\{method="tools\/call",tool="other",direction="deny_to_allow"\} [1-9]/,
    )
    // One whose canaries do not hold is not tried, and the one before goes on being so.
    server.serve(
      '/next.tar.gz',
      await data([], { canaries: { a: { input: { tool: { name: 'a' } }, allow: true } } }),
    )
    await until(metrics, (text) =>
      /bundle_failed_load_counter\{name="next",[^}]*message="canaries"\}/.test(text),
    )
    expect(await health(sidecar, '?bundles')).toMatchObject({ status: 200 })
    expect(allowed(await ask(sidecar, 'a'))).toBe(true)
    expect(upstream.requests().every((request) => request.json.params.name === 'a')).toBe(true)
  }, 60_000)

  test('the same service, keys and status as for the real opa: both ask, verify and report alike', async () => {
    const { server, upstream } = await parts()
    const { publicKey, privateKey } = generateKeyPairSync('ec', {
      namedCurve: 'P-256',
      privateKeyEncoding: { type: 'sec1', format: 'pem' },
      publicKeyEncoding: { type: 'spki', format: 'pem' },
    })
    const key = join(folder, 'key.pem')
    writeFileSync(key, privateKey)
    const signed = async (files: Record<string, string>) => {
      const bundle = await buildBundle(files, ['--signing-key', key, '--signing-alg', 'ES256'])
      const bytes = readFileSync(bundle.path)
      await bundle.dispose()
      return bytes
    }
    const manifest = (revision: string, root: string) => JSON.stringify({ revision, roots: [root] })
    server.serve(
      '/mcp.tar.gz',
      await signed({ 'mcp/main/main.rego': allowing('one'), '.manifest': manifest('one', 'mcp') }),
    )
    // `opa build -t wasm` wants an entrypoint, and a plain opa takes no wasm: data is signed as it is.
    const source = join(folder, 'signed-data')
    mkdirSync(source)
    writeFileSync(join(source, 'data.json'), '{"config": {"allowed": ["a"], "numbers": [1.0, 1e2]}}')
    writeFileSync(join(source, '.manifest'), manifest('d1', 'config'))
    const claims = join(folder, 'claims.json')
    writeFileSync(claims, '{"keyid": "default"}')
    const opa = await opaPath()
    execFileSync(
      opa,
      ['sign', '--signing-key', key, '--signing-alg', 'ES256', '--claims-file', claims, '--bundle', '.'],
      { cwd: source },
    )
    const files = ['data.json', '.manifest', '.signatures.json'].map((name) => ({
      name,
      text: readFileSync(join(source, name)),
    }))
    server.serve('/data.tar.gz', await tarball(files))

    const common = {
      labels: { app: 'both' },
      services: {
        policies: {
          url: server.url,
          headers: { 'x-who': 'sidecar' },
          credentials: { bearer: { token: 't' } },
        },
      },
      keys: { default: { algorithm: 'ES256', key: publicKey } },
      status: { service: 'policies' },
    }
    const bundle = (resource: string) => ({
      service: 'policies',
      resource,
      polling,
      signing: { keyid: 'default' },
    })
    const sidecar = await sidecarOf(upstream, {
      ...common,
      bundles: { mcp: bundle('mcp.tar.gz'), data: bundle('data.tar.gz') },
    })
    await until(
      () => ask(sidecar, 'a'),
      (seen) => seen.status === 200 && !seen.text.includes('isError'),
    )

    const config = join(folder, 'opa.json')
    const theirs = { ...common, bundles: { data: bundle('data.tar.gz') } }
    theirs.services.policies = { ...common.services.policies, headers: { 'x-who': 'opa' } }
    writeFileSync(config, JSON.stringify(theirs))
    const child = spawn(opa, ['run', '--server', '--addr', '127.0.0.1:0', '--config-file', config], {
      stdio: 'ignore',
    })
    closers.push(async () => child.kill('SIGKILL'))
    const of = (who: string, method: string) =>
      server.requests().filter((request) => request.headers['x-who'] === who && request.method === method)
    const reportOf = (who: string): Parsed =>
      of(who, 'POST')
        .map((request) => JSON.parse(request.body))
        .findLast((body) => body.bundles?.data?.active_revision === 'd1')
    const [opas, ours] = await until(
      () => [reportOf('opa'), reportOf('sidecar')],
      (both) => both.every((body) => body !== undefined),
    )
    expect(of('opa', 'POST')[0]?.path).toBe(of('sidecar', 'POST')[0]?.path)
    expect(of('sidecar', 'POST')[0]?.headers).toMatchObject({
      'content-type': 'application/json',
      authorization: 'Bearer t',
    })
    const { metrics: _ours, ...mine } = ours.bundles.data
    const { metrics: _theirs, ...its } = opas.bundles.data
    expect(Object.keys(mine).sort()).toEqual(Object.keys(its).sort())
    expect(mine).toMatchObject({ name: its.name, type: its.type, size: its.size, active_revision: 'd1' })
    for (const [name, value] of Object.entries(mine)) {
      if (name.startsWith('last_')) expect(Number.isNaN(Date.parse(String(value))), name).toBe(false)
    }
    expect(ours.labels).toMatchObject({ app: 'both', id: expect.any(String), version: expect.any(String) })
    expect(ours.plugins.bundle).toEqual({ state: 'OK' })
    expect(opas.plugins.bundle).toEqual({ state: 'OK' })
    const asked = (who: string) =>
      of(who, 'GET').find((request) => request.path === '/data.tar.gz' && request.headers['if-none-match'])
    await until(
      () => [asked('opa'), asked('sidecar')],
      (both) => both.every((request) => request !== undefined),
    )
    expect(asked('sidecar')?.headers['if-none-match']).toBe(asked('opa')?.headers['if-none-match'])
    const local = await (await fetch(`${sidecar.admin}/v1/status`)).json()
    expect(local).toMatchObject({ result: { bundles: { data: { active_revision: 'd1' } } } })
    // Unsigned, and so from anybody: neither takes it.
    server.serve('/data.tar.gz', await dataBundle(['config'], { config: { allowed: ['b'] } }))
    const refusing = (body: Parsed) =>
      body.bundles?.data?.code === 'bundle_error' && body.bundles.data.active_revision === 'd1'
    await until(
      () =>
        ['opa', 'sidecar'].map((who) =>
          of(who, 'POST').some((request) => refusing(JSON.parse(request.body))),
        ),
      (both) => both.every(Boolean),
    )
    expect((await ask(sidecar, 'b')).text).toContain('isError')
  }, 60_000)

  test('a file that cannot be active ends the start, and says why', async () => {
    const { upstream } = await parts()
    const path = join(folder, 'none.tar.gz')
    writeFileSync(path, 'x')
    await expect(sidecarOf(upstream, { bundles: { mcp: { resource: path } } })).rejects.toThrow(
      /not a gzipped tar/,
    )
  })
})
