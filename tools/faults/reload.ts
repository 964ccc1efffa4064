// Bundles that change, and a bundle service that fails, under load.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type BundleServer, startBundleServer } from '../../test/support/bundle-server.ts'
import { allowing, dataBundle } from '../../test/support/bundles.ts'
import { buildBundle, noOpa } from '../../test/support/policy.ts'
import { type Called, eventsOf, pause, type Row, rssOf, steadily, unrecorded, withSidecar } from './load.ts'

const SKIPPED = { held: true, skipped: true, measured: 'SKIPPED: policies are built with opa' }

/** A service with a policy and its data, waited for at length, so that what is new is asked for at once. */
async function serving(): Promise<{
  server: BundleServer
  allow: (tools: string[], n: number) => Promise<void>
}> {
  const manifest = JSON.stringify({ revision: 'policy', roots: ['mcp'] })
  const built = await buildBundle({ 'mcp/main/main.rego': allowing('rule'), '.manifest': manifest })
  const server = await startBundleServer({ canWait: true })
  server.serve('/mcp.tar.gz', readFileSync(built.path))
  await built.dispose()
  return {
    server,
    allow: async (allowed, n) =>
      server.serve(
        '/data.tar.gz',
        await dataBundle(['config'], { config: { allowed, n } }, { revision: `n${n}` }),
      ),
  }
}

const configOf = (server: BundleServer) => {
  const polling = { min_delay_seconds: 1, max_delay_seconds: 1, long_polling_timeout_seconds: 10 }
  return {
    services: { policies: { url: server.url } },
    bundles: {
      mcp: { service: 'policies', resource: 'mcp.tar.gz', polling },
      data: { service: 'policies', resource: 'data.tar.gz', polling },
    },
  }
}

/** The last records: of a thousand revisions there are too many to read all for each. */
function newest(spool: string): string {
  const name = readdirSync(spool)
    .filter((file) => file.startsWith('decisions-'))
    .sort()
    .at(-1)
  const bytes = name ? readFileSync(join(spool, name)) : Buffer.alloc(0)
  return bytes.subarray(-(64 << 10)).toString()
}

/** `always` is granted by every revision, `never` by none. */
const wrongOf = (calls: Called[]): number =>
  calls.filter(({ n, exchange }) => {
    const body = exchange.answers[0]?.body ?? ''
    return n % 2 === 1 ? !body.includes('called always') : !body.includes('[rule]')
  }).length

export const reloads: Row = {
  id: 'R16',
  fault: 'bundles that change again and again, under load',
  required:
    'each is in force whole or not at all: no call fails, none is decided wrongly; memory does not grow',
  async run(scale, wanted) {
    if (noOpa) return SKIPPED
    const { server, allow } = await serving()
    await allow(['always'], 0)
    try {
      return await withSidecar({ config: configOf(server) }, async ({ call, sidecar, upstream, spool }) => {
        const times = wanted ?? (scale === 'short' ? 3 : 100)
        const active = (n: number) => newest(spool).includes(`"data":{"revision":"n${n}"}`)
        const inForce = async (n: number) => {
          for (let tries = 0; tries < 2_000 && !active(n); tries++) await pause(10)
        }
        while ((await call(-1, { name: 'always' })).status !== 200) await pause(50)
        const stop = steadily(40, (n) => call(n, { name: n % 2 ? 'always' : 'never' }))
        await pause(500)
        const before = await rssOf(sidecar)
        let done = 0
        for (let n = 1; n <= times; n++) {
          await allow(n % 2 ? ['always', 'more'] : ['always'], n)
          await inForce(n)
          if (active(n)) done++
        }
        const after = await rssOf(sidecar)
        const calls = await stop()
        const wrong = wrongOf(calls)
        const lost = unrecorded(upstream, sidecar.spool())
        return {
          held: wrong === 0 && lost === 0 && done === times && calls.length > 0 && after - before < 96,
          measured: `${done} of ${times} revisions in force; ${calls.length} calls: ${wrong} failed or wrong, ${lost} without a record; RSS ${before} to ${after} MiB`,
        }
      })
    } finally {
      await server.close()
    }
  },
}

export const service: Row = {
  id: 'R6',
  fault:
    'there is no bundle yet; then its service is down, hangs, sends garbage, a part, a changed one, or without end',
  required:
    'before the first, 503 to all (R7); then the last good one serves on: no call fails, none is decided wrongly',
  async run(scale) {
    if (noOpa) return SKIPPED
    const { server, allow } = await serving()
    const good = await dataBundle(['config'], { config: { allowed: ['never'] } }, { revision: 'bad' })
    const flipped = Buffer.from(good)
    flipped[flipped.length >> 1] = (flipped[flipped.length >> 1] as number) ^ 0x40
    type Answer = Parameters<NonNullable<Parameters<BundleServer['oddly']>[0]>>[1]
    const whole = (bytes: Uint8Array) => (response: Answer) =>
      void response.writeHead(200, { 'content-type': 'application/gzip', etag: '"odd"' }).end(bytes)
    const faults: ((response: Answer) => void)[] = [
      (response) => void response.writeHead(500).end(),
      (response) => void response.socket?.destroy(),
      whole(Buffer.from('<html>')),
      whole(good.subarray(0, good.length - 30)),
      whole(flipped),
      (response) => {
        response.writeHead(200, { 'content-type': 'application/gzip', etag: '"odd"' })
        const more = setInterval(() => response.write(Buffer.alloc(1 << 20)), 1)
        response.on('close', () => clearInterval(more))
      },
      () => undefined,
    ]
    try {
      return await withSidecar({ config: configOf(server) }, async ({ call, sidecar, upstream }) => {
        const early = await call(-1, { name: 'always' })
        await allow(['always'], 0)
        let ready = early
        for (let tries = 0; tries < 200 && ready.status !== 200; tries++) {
          await pause(50)
          ready = await call(-2, { name: 'always' })
        }
        const before = await rssOf(sidecar)
        const stop = steadily(40, (n) => call(n, { name: n % 2 ? 'always' : 'never' }))
        const tried = scale === 'short' ? faults.slice(0, 3) : faults
        for (const fault of tried) {
          const asked = server.requests().length
          server.oddly((request, response) => {
            if (request.path !== '/data.tar.gz') return false
            fault(response)
            return true
          })
          // Whoever waits for something new is told: there is.
          await allow(['always'], asked)
          await server.came(asked + 1)
          await pause(scale === 'short' ? 500 : 3_000)
        }
        const after = await rssOf(sidecar)
        const calls = await stop()
        server.oddly()
        const wrong = wrongOf(calls)
        const lost = unrecorded(upstream, sidecar.spool())
        const failures = eventsOf(sidecar.spool()).filter(
          ({ custom }) => custom.cause?.code === 'bundle_failed',
        ).length
        return {
          held: early.status === 503 && ready.status === 200 && wrong === 0 && lost === 0 && calls.length > 0,
          measured: `before the first ${early.status}; ${tried.length} kinds of fault, ${failures} on record: ${calls.length} calls, ${wrong} failed or wrong, ${lost} without a record; RSS ${before} to ${after} MiB`,
        }
      })
    } finally {
      await server.close()
    }
  },
}
