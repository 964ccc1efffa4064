// The switch of docs/operate.md, end to end: its own commands make the bundles, a bundle service publishes them.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { startDemoServer } from '../../tools/demo/server.ts'
import { createIssuer, people } from '../support/assertions.ts'
import { type BundleServer, startBundleServer } from '../support/bundle-server.ts'
import { CLIENTS } from '../support/clients.ts'
import { DEFAULT_BUNDLE, type Sidecar, startSidecar } from '../support/sidecar.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'mcp-switch-'))
const closers: (() => Promise<unknown>)[] = []
afterAll(async () => {
  for (const close of closers.reverse()) await close()
  rmSync(folder, { recursive: true })
})

const page = readFileSync(join(root, 'docs/operate.md'), 'utf8')
const [on = '', off = ''] = [...page.matchAll(/```sh\n([\s\S]*?)```/g)]
  .map(([, script = '']) => script)
  .filter((script) => script.includes('switch.tar.gz'))
const make = (script: string) => {
  execFileSync('sh', ['-ec', script], { cwd: folder })
  return readFileSync(join(folder, 'switch.tar.gz'))
}
const PATH = '/switch.tar.gz'
const app = { owner: 'acme', repo: 'app' }

/** Publishes it, lets the service answer one poll with it, and nothing after that: what is in force came with that one. */
async function publish(server: BundleServer, sidecar: Sidecar, script: string): Promise<void> {
  const activations = () =>
    sidecar.records().filter((event) => event.custom.cause?.code === 'bundle_activated').length
  const before = activations()
  let given = 0
  server.serve(PATH, make(script))
  server.oddly(({ path, headers }, response) => {
    if (path !== PATH) return false
    given += 1
    // Asked with the old ETag it gets the new bundle; whatever comes after that is an error.
    if (given === 1 && headers['if-none-match'] !== undefined) return false
    response.writeHead(500).end()
    return true
  })
  while (activations() === before) await new Promise((resolve) => setTimeout(resolve, 50))
  expect(activations()).toBe(before + 1)
  server.oddly()
}

test('everything is denied within one poll, the record says by what, and it is taken back', async () => {
  const issuer = createIssuer()
  const upstream = await startDemoServer()
  const server = await startBundleServer()
  server.serve(PATH, make(on))
  const sidecar = await startSidecar({
    upstream: upstream.url,
    jwks: issuer.jwks,
    config: {
      services: { policies: { url: server.url } },
      bundles: {
        mcp: { resource: DEFAULT_BUNDLE },
        switch: {
          service: 'policies',
          resource: 'switch.tar.gz',
          polling: { min_delay_seconds: 1, max_delay_seconds: 1 },
        },
      },
    },
  })
  closers.push(server.close, upstream.close, () => sidecar.stop())
  while ((await fetch(`${sidecar.admin}/health?bundles`)).status !== 200)
    await new Promise((resolve) => setTimeout(resolve, 50))
  const as = (person: (typeof people)['mona']) => () => issuer.mint(person)
  const clients = await Promise.all(CLIENTS.map(([, connect]) => connect(sidecar.url, as(people.mona))))
  const allWork = async () => {
    for (const client of clients) {
      expect(await client.names()).toContain('merge_pull_request')
      expect((await client.call('list_issues', app)).isError).not.toBe(true)
    }
  }
  await allWork()
  const calls = upstream.calls.length

  await publish(server, sidecar, off)
  let told = ''
  for (const client of clients) {
    told = await client.text('list_issues', app)
    expect(told).toContain('Everything is stopped for now [stopped]')
    await expect(client.names()).rejects.toThrow('[stopped]')
  }
  for (const [, connect] of CLIENTS)
    await expect(connect(sidecar.url, as(people.alice))).rejects.toThrow(/\[stopped\]|denied access/)
  expect(upstream.calls).toHaveLength(calls)

  const id = /Decision (\S+)/.exec(told)?.[1] ?? ''
  const [event] = await sidecar.recordsOf(id)
  expect(event?.result.reasons).toEqual([
    expect.objectContaining({ code: 'stopped', details: { stop: 'incident 42: ask in #security' } }),
  ])
  expect(event?.bundles.switch.revision).toBe('stopped')

  // As read-only it stops what writes.
  await publish(
    server,
    sidecar,
    off.replace(/"stop": "[^"]*"/, '"stop": false').replace('"read_only": false', '"read_only": true'),
  )
  for (const client of clients) {
    expect(await client.names()).toContain('list_issues')
    expect(await client.names()).not.toContain('merge_pull_request')
    expect(await client.text('merge_pull_request', { ...app, pullNumber: 7 })).toContain('[read_only]')
  }

  await publish(server, sidecar, on)
  await allWork()
  for (const client of clients) await client.close()
  expect(await sidecar.stop()).toBe(0)
}, 60_000)
