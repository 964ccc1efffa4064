import { mkdtemp, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import type { OutgoingHttpHeaders, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { ARCHIVE_LIMITS } from '../../../src/edge/bundles/archive.ts'
import { backOff } from '../../../src/edge/bundles/download.ts'
import type { BundleSource } from '../../../src/edge/bundles/settings.ts'
import type { Service } from '../../../src/edge/services/settings.ts'
import { type BundleServer, type Odd, startBundleServer } from '../../support/bundle-server.ts'
import { allowing, dataBundle } from '../../support/bundles.ts'
import { buildBundle, noOpa } from '../../support/policy.ts'
import { type Taken, takeBundles } from '../../support/taken.ts'

const folder = await mkdtemp(join(tmpdir(), 'mcp-download-'))
const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})
afterAll(() => rm(folder, { recursive: true }))
let n = 0

async function serverWith(options: Parameters<typeof startBundleServer>[0] = {}): Promise<BundleServer> {
  const server = await startBundleServer(options)
  closers.push(server.close)
  return server
}
const serviceAt = (url: string, more: Partial<Service> = {}): Service => ({
  name: 's',
  url,
  headers: {},
  headerTimeout: 2_000,
  caCert: undefined,
  systemCa: true,
  credentials: { kind: 'none' },
  ...more,
})
const from = (
  service: Service,
  resource: string,
  more: Partial<Extract<BundleSource, { kind: 'service' }>> = {},
): BundleSource => ({
  kind: 'service',
  service,
  resource,
  persist: false,
  polling: { minDelay: 20, maxDelay: 40, longPoll: undefined },
  limits: ARCHIVE_LIMITS,
  ...more,
})

function begin(...of: Parameters<typeof takeBundles>): Taken {
  const taken = takeBundles(...of)
  closers.push(taken.bundles.close)
  return taken
}

test('delays grow to the maximum, with a fifth of jitter', () => {
  expect(backOff(1, 60_000, 0.5)).toBe(100)
  expect(backOff(2, 60_000, 0)).toBeCloseTo(128)
  expect(backOff(2, 60_000, 1)).toBeCloseTo(192)
  expect(backOff(1000, 60_000, 0.5)).toBe(60_000)
})

describe.skipIf(noOpa)('a bundle service', async () => {
  const built: Record<string, Buffer> = {}
  for (const mark of noOpa ? [] : ['one', 'two']) {
    const bundle = await buildBundle({
      'mcp/main/main.rego': allowing(mark),
      '.manifest': JSON.stringify({ revision: mark, roots: ['mcp'] }),
    })
    built[mark] = await readFile(bundle.path)
    await bundle.dispose()
  }
  const one = built.one ?? Buffer.alloc(0)
  const two = built.two ?? Buffer.alloc(0)

  test('is asked as OPA asks, and again only for what is new', async () => {
    const server = await serverWith()
    server.serve('/v1/mcp/bundle.tar.gz', one)
    const token = join(folder, 'token')
    await writeFile(token, 'first\n')
    const service = serviceAt(`${server.url}/v1`, {
      headers: { 'x-tenant': 'acme' },
      credentials: { kind: 'bearer_file', scheme: 'Bearer', path: token },
    })
    const { bundles, changes, until, revision } = begin({ mcp: from(service, 'mcp/bundle.tar.gz') })
    await bundles.start()
    expect(bundles.statuses.fault()).toMatch(/mcp \(it has not come yet\)/)
    await until(() => changes.length === 1)
    expect(bundles.statuses.fault()).toBeUndefined()
    const [first] = server.requests()
    expect(first).toMatchObject({ method: 'GET', path: '/v1/mcp/bundle.tar.gz' })
    expect(first?.headers).toMatchObject({
      authorization: 'Bearer first',
      prefer: 'modes=snapshot',
      'user-agent': 'test/1',
      'x-tenant': 'acme',
    })
    expect(first?.headers['if-none-match']).toBeUndefined()
    await writeFile(token, 'second\n')
    await server.came(server.requests().length + 2)
    expect(server.requests().at(-1)?.headers).toMatchObject({
      authorization: 'Bearer second',
      'if-none-match': expect.stringMatching(/^"[0-9a-f]{16}"$/),
    })
    expect(changes).toHaveLength(1)
    server.serve('/v1/mcp/bundle.tar.gz', two)
    await until(() => changes.length === 2)
    expect(revision()).toBe('two')
  })

  test('that sends no ETag sends the same again, and nothing is put in force again', async () => {
    const server = await serverWith()
    server.oddly((_request, response) => Boolean(response.writeHead(200).end(one)))
    const { bundles, changes, until } = begin({ mcp: from(serviceAt(server.url), 'b') })
    await bundles.start()
    await until(() => changes.length === 1)
    await server.came(5)
    expect(changes).toHaveLength(1)
  })

  test('that can wait is asked to, and brings what is new at once', async () => {
    const server = await serverWith({ canWait: true })
    server.serve('/b', one)
    const polling = { minDelay: 3_600_000, maxDelay: 3_600_000, longPoll: 60 }
    const { bundles, changes, until, revision } = begin({
      mcp: from(serviceAt(server.url), 'b', { polling }),
    })
    await bundles.start()
    await until(() => changes.length === 1)
    await server.came(2)
    expect(server.requests().map((request) => request.headers.prefer)).toEqual([
      'modes=snapshot',
      'modes=snapshot;wait=60',
    ])
    server.serve('/b', two)
    await until(() => changes.length === 2)
    expect(revision()).toBe('two')
  })

  const all = (status: number, body: string | Buffer = '', headers: OutgoingHttpHeaders = {}): Odd => {
    return (_request, response) => {
      response.writeHead(status, headers).end(body)
      return true
    }
  }
  const part = (does: (response: ServerResponse) => void): Odd => {
    return (_request, response) => {
      response.on('error', () => undefined)
      does(response)
      return true
    }
  }
  const endless = part((response) => {
    const more = () => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536)));
    }
    response.writeHead(200).on('drain', more)
    more()
  })
  test.each([
    ['answers 500', 'http_status', all(500, 'x')],
    ['answers 404', 'http_status', all(404)],
    ['redirects', 'http_status', all(302, '', { location: '/b2' })],
    ['answers with nothing', 'malformed', all(200)],
    ['answers with text', 'malformed', all(200, '<html>')],
    ['sends half', 'malformed', all(200, one.subarray(0, 500))],
    [
      'breaks off',
      'unreachable',
      part((response) =>
        response.writeHead(200, { 'content-length': '100' }).write('x', () => response.destroy()),
      ),
    ],
    ['hangs up', 'unreachable', part((response) => response.destroy())],
    [
      'says that it is too large',
      'too_large',
      part((response) => response.writeHead(200, { 'content-length': '9999999' }).write('x')),
    ],
    ['sends without end', 'too_large', endless],
    ['sends a bomb', 'too_large', all(200, gzipSync(Buffer.alloc(4 << 20)))],
  ] as [string, string, Odd][])(
    'that %s changes nothing, is said once, and is asked again',
    async (_name, code, odd) => {
      const server = await serverWith()
      const limits = { bytes: 1 << 20, files: 100 }
      server.serve('/b', one)
      const { bundles, changes, failures, until, revision } = begin({
        mcp: from(serviceAt(server.url), 'b', { limits }),
      })
      // At the start, where nothing is active yet.
      server.oddly(odd)
      await bundles.start()
      await until(() => failures.length === 1)
      expect(failures[0]).toMatchObject({ code })
      await server.came(3)
      expect(failures).toHaveLength(1)
      expect(bundles.policy()).toBeUndefined()
      server.oddly()
      await until(() => changes.length === 1)
      // And again, where something is.
      server.serve('/b', two)
      server.oddly(odd)
      await until(() => failures.length === 2)
      expect(revision()).toBe('one')
      expect(bundles.statuses.all().mcp).toMatchObject({ code: 'bundle_error', active_revision: 'one' })
      server.oddly()
      await until(() => changes.length === 2)
      expect(revision()).toBe('two')
      expect(bundles.statuses.all().mcp?.code).toBeUndefined()
    },
  )

  test('a 304 to a request without ETag is no answer', async () => {
    const server = await serverWith()
    server.oddly(all(304))
    const { bundles, failures, until } = begin({ mcp: from(serviceAt(server.url), 'b') })
    await bundles.start()
    await until(() => failures.length === 1)
    expect(failures[0]).toMatchObject({ code: 'http_status', status: 304 })
  })

  test('after a bundle that fails, the ETag of the active one is sent, so that the bad one does not stick', async () => {
    const server = await serverWith()
    server.serve('/b', one)
    const { bundles, changes, failures, until } = begin({ mcp: from(serviceAt(server.url), 'b') })
    await bundles.start()
    await until(() => changes.length === 1)
    await server.came(2)
    const good = server.requests().at(-1)?.headers['if-none-match']
    server.serve('/b', await dataBundle(['mcp'], {}))
    await until(() => failures.length === 1)
    await server.came(server.requests().length + 2)
    expect(server.requests().at(-1)?.headers['if-none-match']).toBe(good)
    server.serve('/b', one)
    await until(() => bundles.statuses.all().mcp?.code === undefined)
    expect(changes).toHaveLength(1)
  })

  test('nothing is active before all bundles are there', async () => {
    const server = await serverWith()
    server.serve('/mcp', one)
    const service = serviceAt(server.url)
    const { bundles, changes, failures, until } = begin({
      mcp: from(service, 'mcp'),
      data: from(service, 'data'),
    })
    await bundles.start()
    await until(() => failures.length === 1)
    await server.came(6)
    expect(changes).toHaveLength(0)
    server.serve('/data', await dataBundle(['config'], { config: { allowed: [] } }))
    await until(() => changes.length === 1)
  })

  test('the last good bundle is kept and used while the service is away', async () => {
    const persistence = join(folder, `store-${++n}`)
    const server = await serverWith()
    server.serve('/b', one)
    const settings = { mcp: from(serviceAt(server.url), 'b', { persist: true }) }
    const first = begin(settings, { persistence })
    await first.bundles.start()
    await first.until(() => first.changes.length === 1)
    server.serve('/b', await dataBundle(['mcp'], {}))
    await first.until(() => first.failures.length === 1)
    await first.bundles.close()
    const kept = join(persistence, 'bundles/mcp/bundle.tar.gz')
    expect(await readFile(kept)).toEqual(one)
    expect((await stat(kept)).mode & 0o077).toBe(0)
    await server.close()

    const second = begin(settings, { persistence })
    await second.bundles.start()
    await second.until(() => second.changes.length === 1)
    expect(second.revision()).toBe('one')
    await second.bundles.close()

    // What was kept goes through the same checks.
    await writeFile(kept, one.subarray(0, 1000))
    const third = begin(settings, { persistence })
    await third.bundles.start()
    await third.until(() => third.failures.length > 0)
    expect(third.failures[0]).toMatchObject({ code: 'malformed' })
    expect(third.bundles.policy()).toBeUndefined()
  })

  test('an older sequence stays out after a restart, too', async () => {
    const persistence = join(folder, `store-${++n}`)
    const server = await serverWith()
    server.serve('/mcp', one)
    const data = (sequence: number) => dataBundle(['config'], { config: { allowed: [], sequence } })
    server.serve('/data', await data(5))
    const service = serviceAt(server.url)
    const settings = { mcp: from(service, 'mcp'), data: from(service, 'data') }
    const first = begin(settings, { persistence })
    await first.bundles.start()
    await first.until(() => first.changes.length === 1)
    await first.bundles.close()
    server.serve('/data', await data(4))
    const second = begin(settings, { persistence })
    await second.bundles.start()
    await second.until(() => second.failures.length === 1)
    expect(second.failures[0]).toMatchObject({ code: 'sequence', bundle: 'data' })
    expect(second.bundles.policy()).toBeUndefined()
    server.serve('/data', await data(6))
    await second.until(() => second.changes.length === 1)
    await second.bundles.close()
    await writeFile(join(persistence, 'bundles/data/sequence'), 'x')
    await expect(begin(settings, { persistence }).bundles.start()).rejects.toThrow(/is not a number/)
  })

  test('what no source confirms becomes stale; so it is after a restart; and it is not once it is confirmed', async () => {
    const persistence = join(folder, `store-${++n}`)
    const server = await serverWith()
    server.serve('/b', one)
    const settings = { mcp: from(serviceAt(server.url), 'b', { persist: true }) }
    const first = begin(settings, { persistence, maxAge: 60_000 })
    await first.bundles.start()
    await first.until(() => first.changes.length === 1)
    expect(first.bundles.stale()).toBeUndefined()
    await first.bundles.close()
    const before = new Date(Date.now() - 120_000)
    await utimes(join(persistence, 'bundles/mcp/bundle.tar.gz'), before, before)
    server.oddly((_request, response) => Boolean(response.writeHead(503).end()))
    const second = begin(settings, { persistence, maxAge: 60_000 })
    await second.bundles.start()
    await second.until(() => second.changes.length === 1)
    expect(second.bundles.stale()).toMatch(/not confirmed by its source for 1\d\d s/)
    server.oddly()
    await second.until(() => second.bundles.stale() === undefined)
    // A service that answers only with what cannot be active confirms nothing.
    const third = begin({ mcp: from(serviceAt(server.url), 'b') }, { maxAge: 50 })
    await third.bundles.start()
    await third.until(() => third.changes.length === 1)
    server.serve('/b', await dataBundle(['mcp'], {}))
    await third.until(() => third.failures.length === 1)
    await sleep(60)
    expect(third.bundles.stale()).toMatch(/bundle_max_age/)
  })
})
