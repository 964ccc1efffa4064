// Bundles from the real registry of Debian, pushed by the real `oras`, and read by the real `opa` too.
import { execFileSync, spawn } from 'node:child_process'
import { createPrivateKey, sign } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { readConfig } from '../../../src/config.ts'
import { opaPath } from '../../../tools/opa.ts'
import { dataBundle } from '../../support/bundles.ts'
import { noOpa } from '../../support/policy.ts'
import { goProgram } from '../../support/programs.ts'
import {
  answers,
  freePort,
  imageOf,
  push,
  type RealRegistry,
  registryProgram,
  startRegistry,
} from '../../support/registry.ts'
import { type Taken, takeBundles } from '../../support/taken.ts'

const oras = await goProgram('oras', 'oras.land/oras/cmd/oras@v1.3.6')
const openssl = (() => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
    return true
  } catch {
    console.warn('SKIPPED: the token service of a registry signs with what openssl makes, and there is none')
    return false
  }
})()

const folder = mkdtempSync(join(tmpdir(), 'mcp-oci-'))
const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})
afterAll(() => rmSync(folder, { recursive: true }))

async function registryWith(more?: string): Promise<RealRegistry> {
  const registry = await startRegistry(more)
  closers.push(registry.close)
  return registry
}
const data = (revision: string) =>
  dataBundle(['config/banned'], { config: { banned: { said: revision } } }, { revision })
const said = (taken: Taken): unknown => JSON.parse(taken.bundles.policy()?.data ?? '{}').config?.banned?.said

/** The services and bundles of a configuration, as the sidecar reads them. */
function begin(services: object, bundles: object, more: object = {}): Taken {
  const read = readConfig(
    stringify({
      services,
      bundles: { mcp: { resource: 'bundles/default.tar.gz' }, ...bundles },
      plugins: {
        mcp: {
          server: 's',
          upstream: { url: 'http://127.0.0.1:1/mcp' },
          identity: { development: { subject: 'a', email: 'a@b.example' } },
        },
        mcp_audit: { buffer: { path: join(folder, 'spool') } },
      },
      ...more,
    }),
    [],
    {},
  )
  if (!read.ok) throw new Error(read.faults.join('\n'))
  for (const source of Object.values(read.config.bundles))
    if (source.kind === 'service') source.polling = { minDelay: 50, maxDelay: 100, longPoll: undefined }
  const taken = takeBundles(read.config.bundles)
  closers.push(taken.bundles.close)
  return taken
}

test.skipIf(!registryProgram || !oras || noOpa)(
  'the sidecar and opa read the same configuration and the same registry; what is pushed next is in force next',
  async () => {
    const registry = await registryWith()
    const pushed = (revision: string, bytes: Buffer) => {
      writeFileSync(join(folder, 'bundle.tar.gz'), bytes)
      writeFileSync(join(folder, 'config.json'), '{}')
      // As OPA's documentation says.
      execFileSync(
        oras ?? '',
        [
          'push',
          '--plain-http',
          `${registry.host}/acme/grants:live`,
          '--config',
          'config.json:application/vnd.oci.image.config.v1+json',
          '--annotation',
          `org.opencontainers.image.revision=${revision}`,
          'bundle.tar.gz:application/vnd.oci.image.layer.v1.tar+gzip',
        ],
        { cwd: folder, stdio: 'pipe' },
      )
    }
    pushed('one', await data('one'))
    const services = { registry: { url: registry.url, type: 'oci' } }
    const polling = { min_delay_seconds: 1, max_delay_seconds: 1 }
    const bundles = { data: { service: 'registry', resource: `${registry.host}/acme/grants:live`, polling } }
    const taken = begin(services, bundles)
    await taken.bundles.start()
    await taken.until(() => taken.changes.length === 1)
    expect([taken.revision('data'), said(taken)]).toEqual(['one', 'one'])

    const file = join(folder, 'opa.yaml')
    writeFileSync(file, stringify({ services, bundles, persistence_directory: join(folder, 'opa') }))
    const port = await freePort()
    const opa = spawn(await opaPath(), ['run', '-s', '-a', `127.0.0.1:${port}`, '-c', file], {
      stdio: 'ignore',
    })
    const ended = new Promise((resolve) => opa.once('exit', resolve))
    closers.push(() => {
      opa.kill('SIGKILL')
      return ended
    })
    while (!(await answers(port))) await new Promise((resolve) => setTimeout(resolve, 50))
    const opaHas = async (revision: string) => {
      for (;;) {
        const answer = await fetch(`http://127.0.0.1:${port}/v1/data/config/banned/said`)
        const { result } = (await answer.json()) as { result?: string }
        if (result === revision) return
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
    }
    await opaHas('one')

    pushed('two', await data('two'))
    await taken.until(() => taken.changes.length === 2)
    expect([taken.revision('data'), said(taken)]).toEqual(['two', 'two'])
    await opaHas('two')
    expect(taken.failures).toEqual([])
  },
  120_000,
)

test.skipIf(!registryProgram)(
  'a bundle by digest stays what it is, whatever its tag becomes; what is the same is asked for by HEAD only',
  async () => {
    const registry = await registryWith()
    const [one, two] = [await data('one'), await data('two')]
    const type = 'application/vnd.openpolicyagent.layer.v1.tar+gzip'
    const config = 'application/vnd.openpolicyagent.config.v1+json'
    const first = imageOf(one, type, config)
    await push(registry, 'acme/grants', 'live', first, ['{}', one])
    const answer = await fetch(`${registry.url}/v2/acme/grants/manifests/live`, {
      headers: { accept: 'application/vnd.oci.image.manifest.v1+json' },
    })
    const digest = answer.headers.get('docker-content-digest')
    await push(registry, 'acme/grants', 'live', imageOf(two, type, config), [two])
    const services = { registry: { url: registry.url, type: 'oci' } }
    const taken = begin(services, {
      data: { service: 'registry', resource: `${registry.host}/acme/grants@${digest}` },
    })
    await taken.bundles.start()
    await taken.until(() => taken.changes.length === 1)
    expect(said(taken)).toBe('one')
    const heads = () => registry.requests().filter((line) => line.startsWith('HEAD')).length
    while (heads() < 2) await new Promise((resolve) => setTimeout(resolve, 20))
    expect(
      registry.requests().filter((line) => line.startsWith('GET') && line.includes('blobs')),
    ).toHaveLength(1)
    expect(taken.changes).toHaveLength(1)
  },
)

test.skipIf(!registryProgram)('what is not there yet is asked for again, and named', async () => {
  const registry = await registryWith()
  const services = { registry: { url: registry.url, type: 'oci' } }
  const taken = begin(services, {
    data: { service: 'registry', resource: `${registry.host}/acme/grants:live` },
  })
  await taken.bundles.start()
  await taken.until(() => taken.failures.length === 1)
  expect(taken.failures[0]).toMatchObject({ code: 'http_status', status: 404 })
  const one = await data('one')
  await push(registry, 'acme/grants', 'live', imageOf(one), ['{}', one])
  await taken.until(() => taken.changes.length === 1)
})

test.skipIf(!registryProgram || !openssl)(
  'a registry that wants a token gives the bundle to who has the password, and to nobody else',
  async () => {
    const [key, cert] = [join(folder, 'token.key'), join(folder, 'token.crt')]
    execFileSync(
      'openssl',
      [
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-days',
        '2',
        '-subj',
        '/CN=tokens',
        '-keyout',
        key,
        '-out',
        cert,
      ],
      { stdio: 'ignore' },
    )
    const asked: (string | undefined)[] = []
    const tokens = createServer((request, response) => {
      const { searchParams } = new URL(request.url ?? '', 'http://x')
      const [kind, name, actions = ''] = (searchParams.get('scope') ?? '').split(':')
      asked.push(request.headers.authorization)
      if (request.headers.authorization !== `Basic ${Buffer.from('mona:secret').toString('base64')}`)
        return void response.writeHead(401).end()
      if (searchParams.get('service') !== 'bundles') return void response.writeHead(400).end()
      const now = Math.floor(Date.now() / 1000)
      const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
      const x5c = [readFileSync(cert, 'utf8').replace(/-----.*?-----|\s/g, '')]
      const access = [{ type: kind, name, actions: actions.split(',') }]
      const claims = {
        iss: 'tokens',
        sub: 'mona',
        aud: 'bundles',
        exp: now + 300,
        nbf: now - 60,
        iat: now,
        jti: 'j',
        access,
      }
      const text = `${part({ typ: 'JWT', alg: 'ES256', x5c })}.${part(claims)}`
      const by = { key: createPrivateKey(readFileSync(key)), dsaEncoding: 'ieee-p1363' as const }
      response.end(
        JSON.stringify({ token: `${text}.${sign('sha256', Buffer.from(text), by).toString('base64url')}` }),
      )
    })
    await new Promise<void>((resolve) => tokens.listen(0, '127.0.0.1', resolve))
    closers.push(() => new Promise((resolve) => void tokens.close(resolve)))
    const realm = `http://127.0.0.1:${(tokens.address() as AddressInfo).port}/token`
    const registry = await registryWith(
      `auth: {token: {realm: "${realm}", service: bundles, issuer: tokens, rootcertbundle: ${JSON.stringify(cert)}}}`,
    )
    const one = await data('one')
    const got = await fetch(`${realm}?service=bundles&scope=repository:acme/grants:pull,push`, {
      headers: { authorization: `Basic ${Buffer.from('mona:secret').toString('base64')}` },
    })
    const { token } = (await got.json()) as { token: string }
    await push(registry, 'acme/grants', 'live', imageOf(one), ['{}', one], {
      authorization: `Bearer ${token}`,
    })

    const bundles = { data: { service: 'registry', resource: `${registry.host}/acme/grants:live` } }
    const service = (password?: string) => ({
      url: registry.url,
      type: 'oci',
      ...(password && { credentials: { bearer: { scheme: 'Basic', token: `mona:${password}` } } }),
    })
    for (const wrong of [undefined, 'wrong']) {
      const taken = begin({ registry: service(wrong) }, bundles)
      await taken.bundles.start()
      await taken.until(() => taken.failures.length === 1)
      expect(taken.failures[0]).toMatchObject({ code: 'http_status', status: 401 })
      await taken.bundles.close()
    }
    asked.length = 0
    const taken = begin({ registry: service('secret') }, bundles)
    await taken.bundles.start()
    await taken.until(() => taken.changes.length === 1)
    expect(said(taken)).toBe('one')
    expect(asked).toHaveLength(1)
  },
)
