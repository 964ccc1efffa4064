import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { createIssuer } from '../support/assertions.ts'
import { type BundleServer, startBundleServer } from '../support/bundle-server.ts'
import { allowing, dataBundle } from '../support/bundles.ts'
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
    const again = await sidecarOf(upstream, settings('10s'))
    expect((await ask(again, 'a')).text).toContain('[two]')
    const stale = await until(
      () => ask(again, 'a'),
      (seen) => seen.status === 503,
    )
    expect(stale.text).toContain('"bundle_stale"')
    expect(await health(again, '?bundles')).toMatchObject({
      status: 500,
      body: expect.stringContaining('bundle_max_age'),
    })
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
