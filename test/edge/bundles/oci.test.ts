// What a registry may say that is not so, from a server by the letter of the distribution specification that lies in one place.
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import type { BundleError } from '../../../src/edge/bundles/failure.ts'
import { pull, readReference } from '../../../src/edge/bundles/oci.ts'
import { createRegistry, mayBeAsked, readChallenge } from '../../../src/edge/bundles/registry.ts'
import { createService } from '../../../src/edge/services/client.ts'
import type { Credentials } from '../../../src/edge/services/settings.ts'
import { digestOf, IMAGE, INDEX, imageOf } from '../../support/registry.ts'

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

const HEX = 'a'.repeat(64)
test.each([
  ['ghcr.io/acme/policies:1.0', { repository: 'acme/policies', reference: '1.0' }],
  ['127.0.0.1:5000/p:latest', { repository: 'p', reference: 'latest' }],
  [`r/a/b__c/d-e@sha256:${HEX}`, { repository: 'a/b__c/d-e', reference: `sha256:${HEX}` }],
  [`r/p:tag@sha256:${HEX}`, { repository: 'p', reference: `sha256:${HEX}` }],
  ['ghcr.io/acme/policies', undefined],
  ['acme:1', undefined],
  ['r/Acme:1', undefined],
  ['r/../p:1', undefined],
  ['r/p/:1', undefined],
  ['r/p:a/b', undefined],
  ['https://r/p:1', undefined],
  [`r/p@sha256:${HEX.slice(1)}`, undefined],
  ['r/p@md5:aa', undefined],
])('%s is read as a reference', (text, reference) => {
  expect(readReference(text)).toEqual(reference)
})

test('a challenge is read among others, and only one for a token', () => {
  const bearer = 'Bearer realm="https://auth.x/token",service="reg\\"x",scope="repository:a:pull,push"'
  const read = { realm: 'https://auth.x/token', service: 'reg"x', scope: 'repository:a:pull,push' }
  expect(readChallenge(bearer)).toEqual(read)
  expect(readChallenge(`Basic realm="x", ${bearer}`)).toEqual(read)
  expect(readChallenge(['Basic realm="x"', bearer])).toEqual(read)
  for (const none of [undefined, 'Basic realm="x"', 'Bearer', 'Bearer service="x"', 'NotBearer realm="x"'])
    expect(readChallenge(none)).toBeUndefined()
})

test.each([
  ['https://auth.x/', 'https://ghcr.io', true],
  ['http://auth.x/', 'https://ghcr.io', false],
  ['http://ghcr.io/', 'https://ghcr.io', false],
  ['https://169.254.169.254/', 'https://ghcr.io', false],
  ['https://localhost/', 'https://ghcr.io', false],
  ['https://[::1]/', 'https://ghcr.io', false],
  ['https://u:p@auth.x/', 'https://ghcr.io', false],
  ['ftp://auth.x/', 'https://ghcr.io', false],
  ['https://10.0.0.1:5001/', 'https://10.0.0.1:5000', true],
  ['http://127.0.0.1:2/', 'http://localhost:1', true],
  ['http://169.254.169.254/', 'http://127.0.0.1:1', false],
  ['http://registry:2/', 'http://registry:1', true],
])('%s is asked for %s: %s', (to, registry, may) => {
  expect(mayBeAsked(new URL(to), new URL(registry))).toBe(may)
})

type Seen = { method: string; path: string; headers: IncomingHttpHeaders }
type Lie = (seen: Seen, response: ServerResponse) => boolean

const bundle = Buffer.from('a bundle, as far as a registry knows')
const image = imageOf(bundle)

async function serve(lie: Lie = () => false, manifest = image, more: Record<string, string> = {}) {
  const seen: Seen[] = []
  const manifests: Record<string, string> = { v1: manifest, [digestOf(manifest)]: manifest, ...more }
  const server = createServer((request, response) => {
    const asked = { method: request.method ?? '', path: request.url ?? '', headers: request.headers }
    seen.push(asked)
    if (lie(asked, response)) return
    const [, kind = '', which = ''] = /^\/v2\/acme\/p\/(manifests|blobs)\/([^/]+)$/.exec(asked.path) ?? []
    const found = kind === 'manifests' ? manifests[which] : which === digestOf(bundle) ? bundle : undefined
    if (found === undefined) return void response.writeHead(404).end()
    response.writeHead(200, {
      'content-type': kind === 'manifests' ? JSON.parse(manifest).mediaType : 'application/octet-stream',
      'docker-content-digest': digestOf(found),
      'content-length': Buffer.byteLength(found),
    })
    response.end(asked.method === 'HEAD' ? undefined : found)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen }
}

const SECRET: Credentials = { kind: 'bearer', scheme: 'Basic', token: 'mona:secret' }
const BASIC = `Basic ${Buffer.from('mona:secret').toString('base64')}`

async function ask(
  url: string,
  {
    reference = 'v1',
    etag,
    credentials = { kind: 'none' },
    most = 1 << 20,
  }: {
    reference?: string
    etag?: string
    credentials?: Credentials
    most?: number
  } = {},
) {
  const service = {
    name: 's',
    type: 'oci' as const,
    url,
    headers: { 'x-tenant': 'acme' },
    headerTimeout: 5_000,
    caCert: undefined,
    systemCa: true,
    credentials,
  }
  const client = createService(service, 'test/1')
  closers.push(client.close)
  const where = { repository: 'acme/p', reference }
  const registry = createRegistry('b', service, where.repository, client)
  const signal = AbortSignal.timeout(15_000)
  return pull('b', where, registry, { etag, most, signal }).catch((error: BundleError) => error)
}

test('a bundle comes by tag and by digest; what is the same is not fetched again', async () => {
  const { url, seen } = await serve()
  const answer = { bytes: bundle, etag: digestOf(image), waits: false }
  expect(await ask(url)).toEqual(answer)
  expect(await ask(url, { reference: digestOf(image) })).toEqual(answer)
  seen.length = 0
  expect(await ask(url, { etag: digestOf(image) })).toEqual({ ...answer, bytes: undefined })
  expect(seen.map(({ method }) => method)).toEqual(['HEAD'])
  expect(await ask(url, { etag: digestOf('other') })).toEqual(answer)
})

test('an index leads to the bundle, past what build tools attach', async () => {
  const note = imageOf(bundle, 'application/vnd.in-toto+json')
  const entry = (manifest: string, os: string) => ({
    mediaType: IMAGE,
    digest: digestOf(manifest),
    size: manifest.length,
    platform: { os, architecture: os === 'unknown' ? os : 'amd64' },
  })
  const index = (...entries: object[]) =>
    JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: entries })
  const good = index(entry('not there', 'unknown'), entry(note, 'linux'), entry(image, 'linux'))
  const more = { [digestOf(image)]: image, [digestOf(note)]: note }
  const { url, seen } = await serve(undefined, good, more)
  expect(await ask(url)).toMatchObject({ bytes: bundle, etag: digestOf(good) })
  expect(seen.map(({ path }) => path)).not.toContain(`/v2/acme/p/manifests/${digestOf('not there')}`)
  const none = await serve(undefined, index(entry(note, 'linux')), more)
  expect(await ask(none.url)).toMatchObject({
    code: 'malformed',
    message: expect.stringMatching(/no layer of/),
  })
  // An index in itself, and one that never ends.
  const nested = (n: number): [string, Record<string, string>] => {
    if (n === 0) return [image, {}]
    const [inner, rest] = nested(n - 1)
    const text = index({ mediaType: INDEX, digest: digestOf(inner), size: inner.length })
    return [text, { ...rest, [digestOf(inner)]: inner }]
  }
  const [four, fours] = nested(4)
  expect(await ask((await serve(undefined, four, fours)).url)).toMatchObject({ bytes: bundle })
  const [five, fives] = nested(5)
  expect(await ask((await serve(undefined, five, fives)).url)).toMatchObject({
    code: 'malformed',
    message: expect.stringMatching(/more than 4 levels/),
  })
})

test('the layer may have the type of OPA’s own tools, and must be one', async () => {
  const own = imageOf(
    bundle,
    'application/vnd.openpolicyagent.layer.v1.tar+gzip',
    'application/vnd.openpolicyagent.config.v1+json',
  )
  expect(await ask((await serve(undefined, own)).url)).toMatchObject({ bytes: bundle })
  const twice = JSON.parse(image)
  twice.layers.push(twice.layers[0])
  expect(await ask((await serve(undefined, JSON.stringify(twice))).url)).toMatchObject({
    code: 'malformed',
    message: expect.stringMatching(/2 layers that could be/),
  })
})

const at =
  (part: RegExp, does: (response: ServerResponse, seen: Seen) => void): Lie =>
  (seen, response) => {
    if (!part.test(`${seen.method} ${seen.path}`)) return false
    response.on('error', () => undefined)
    does(response, seen)
    return true
  }
const body = (part: RegExp, text: string | Buffer, headers: Record<string, string> = {}) =>
  at(part, (response) => void response.writeHead(200, headers).end(text))
const manifestWith = (change: (image: { layers: Record<string, unknown>[] }) => void): string => {
  const copy = JSON.parse(image)
  change(copy)
  return JSON.stringify(copy)
}

describe('what a registry sends is not taken', () => {
  const tag = /GET .*manifests\/v1$/
  const blob = /GET .*blobs/
  test.each<[string, Lie, string, RegExp, string?]>([
    ['another blob', body(blob, Buffer.from('b'.repeat(bundle.length))), 'malformed', /has not the digest/],
    ['half a blob', body(blob, bundle.subarray(1)), 'malformed', /has not the digest/],
    ['more than a blob', body(blob, Buffer.concat([bundle, bundle])), 'too_large', /more than 36 bytes/],
    ['nothing', body(blob, ''), 'malformed', /has not the digest/],
    [
      'a manifest with another digest',
      body(tag, image, { 'docker-content-digest': digestOf('x') }),
      'malformed',
      /has not the digest/,
    ],
    [
      'a manifest with no digest that is one',
      body(tag, image, { 'docker-content-digest': 'x' }),
      'malformed',
      /has not the digest/,
    ],
    ['no JSON', body(tag, '<html>'), 'malformed', /is not one/],
    ['one key twice', body(tag, image.replace('{', '{"layers":[],')), 'malformed', /is not one/],
    ['a list', body(tag, '[]'), 'malformed', /is not one/],
    ['no layers', body(tag, '{}'), 'malformed', /no layers/],
    ['no manifest', at(tag, (response) => void response.writeHead(404).end()), 'http_status', /answered 404/],
    ['a great manifest', body(tag, Buffer.alloc((4 << 20) + 1, 0x20)), 'too_large', /of a manifest/],
    [
      'a layer without a digest',
      body(
        tag,
        manifestWith(({ layers }) => delete layers[0]?.digest),
      ),
      'malformed',
      /without a digest/,
    ],
    [
      'a path for a digest',
      body(
        tag,
        manifestWith(({ layers }) => void Object.assign(layers[0] ?? {}, { digest: '../../x' })),
      ),
      'malformed',
      /without a digest/,
    ],
    [
      'a size that is none',
      body(
        tag,
        manifestWith(({ layers }) => void Object.assign(layers[0] ?? {}, { size: -1 })),
      ),
      'malformed',
      /without a digest/,
    ],
    [
      'a layer that is too large',
      body(
        tag,
        manifestWith(({ layers }) => void Object.assign(layers[0] ?? {}, { size: 2 << 20 })),
      ),
      'too_large',
      /size_limit_bytes/,
    ],
  ])('%s', async (_name, lie, code, text) => {
    const { url } = await serve(lie)
    expect(await ask(url)).toMatchObject({ code, message: expect.stringMatching(text) })
  })

  test('another manifest than the digest names', async () => {
    const { url } = await serve(undefined, image, { [digestOf('x')]: image })
    expect(await ask(url, { reference: digestOf('x') })).toMatchObject({ code: 'malformed' })
  })
})

test('credentials and headers go to the registry, and not where it sends us', async () => {
  const store = await serve((seen, response) => {
    response.end(seen.path === '/signed?for=us' ? bundle : undefined)
    return true
  })
  const { url, seen } = await serve(
    at(
      /GET .*blobs/,
      (response) => void response.writeHead(307, { location: `${store.url}/signed?for=us` }).end(),
    ),
  )
  expect(await ask(url, { credentials: SECRET })).toMatchObject({ bytes: bundle })
  for (const { headers } of seen) expect(headers).toMatchObject({ authorization: BASIC, 'x-tenant': 'acme' })
  const [there] = store.seen
  expect(there).toMatchObject({ method: 'GET', headers: { 'user-agent': 'test/1' } })
  expect(Object.keys(there?.headers ?? {})).not.toContain('authorization')
  expect(Object.keys(there?.headers ?? {})).not.toContain('x-tenant')
})

test('a registry does not send us to what only this machine reaches, nor in a circle', async () => {
  for (const location of [
    'http://169.254.169.254/latest/meta-data',
    'file:///etc/passwd',
    'https://u:p@x/',
    '//10.0.0.1/',
  ])
    expect(
      await ask(
        (await serve(at(/blobs/, (response) => void response.writeHead(302, { location }).end()))).url,
      ),
    ).toMatchObject({
      code: 'http_status',
      message: expect.stringMatching(/sends us to an address that is not asked/),
    })
  const circle = await serve(
    at(/blobs/, (response, { path }) => void response.writeHead(302, { location: path }).end()),
  )
  expect(await ask(circle.url)).toMatchObject({ code: 'http_status', status: 302 })
  expect(circle.seen.filter(({ path }) => path.includes('blobs'))).toHaveLength(4)
})

describe('a registry that wants a token', () => {
  const wants =
    (realm: string): Lie =>
    (seen, response) => {
      if (seen.headers.authorization === 'Bearer good') return false
      const scope = 'repository:acme/p:pull'
      response
        .writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="reg",scope="${scope}"` })
        .end()
      return true
    }
  const tokens = (text: string, status = 200) =>
    serve((_seen, response) => Boolean(response.writeHead(status).end(text)))

  test.each([
    ['with credentials', SECRET, BASIC],
    ['with none', { kind: 'none' } as Credentials, undefined],
  ])('gets one that its token service gives, %s', async (_name, credentials, proof) => {
    const service = await tokens('{"access_token":"good","expires_in":300}')
    const { url, seen } = await serve(wants(`${service.url}/token?a=b`))
    expect(await ask(url, { credentials })).toMatchObject({ bytes: bundle })
    expect(service.seen.map(({ path }) => path)).toEqual([
      '/token?a=b&service=reg&scope=repository%3Aacme%2Fp%3Apull',
    ])
    expect(service.seen[0]?.headers.authorization).toBe(proof)
    expect(service.seen[0]?.headers['x-tenant']).toBeUndefined()
    expect(seen.map(({ headers }) => headers.authorization)).toEqual([proof, 'Bearer good', 'Bearer good'])
  })

  test('and refuses what it is given, is asked once more and then told so', async () => {
    const service = await tokens('{"token":"bad"}')
    const { url, seen } = await serve(wants(service.url))
    expect(await ask(url)).toMatchObject({
      code: 'http_status',
      status: 401,
      message: expect.stringMatching(/scheme Basic/),
    })
    expect(seen).toHaveLength(2)
  })

  test.each<[string, string, number, RegExp]>([
    ['no token', '{"expires_in":300}', 200, /no token/],
    ['a token with a line break', '{"token":"a\\nb"}', 200, /no token/],
    ['no JSON', 'token', 200, /no token/],
    ['an error', '{"token":"good"}', 403, /answered 403 when its token service/],
    ['too much', ' '.repeat(65_537), 200, /of a token/],
  ])('whose token service answers with %s is not believed', async (_name, text, status, message) => {
    const { url } = await serve(wants((await tokens(text, status)).url))
    expect(await ask(url)).toMatchObject({ message: expect.stringMatching(message) })
  })

  test('cannot have the credentials sent to whom it likes', async () => {
    for (const realm of [
      'http://169.254.169.254/token',
      'http://elsewhere.example/token',
      'nowhere',
      'file:///x',
    ]) {
      const answer = await ask((await serve(wants(realm))).url, { credentials: SECRET })
      expect(answer).toMatchObject({
        code: 'http_status',
        message: expect.stringMatching(/token service that is not asked/),
      })
    }
  })
})

test('a token is asked for again when it has run out', async () => {
  let current = 'one'
  const service = await serve((_seen, response) => Boolean(response.end(JSON.stringify({ token: current }))))
  const { url, seen } = await serve((asked, response) => {
    if (asked.headers.authorization === `Bearer ${current}`) return false
    response.writeHead(401, { 'www-authenticate': `Bearer realm="${service.url}"` }).end()
    return true
  })
  const settings = {
    name: 's',
    type: 'oci' as const,
    url,
    headers: {},
    headerTimeout: 5_000,
    caCert: undefined,
    systemCa: true,
    credentials: { kind: 'none' } as const,
  }
  const client = createService(settings, 'test/1')
  closers.push(client.close)
  const registry = createRegistry('b', settings, 'acme/p', client)
  const once = () =>
    pull('b', { repository: 'acme/p', reference: 'v1' }, registry, {
      etag: digestOf(image),
      most: 1000,
      signal: AbortSignal.timeout(15_000),
    })
  await once()
  await once()
  current = 'two'
  await once()
  expect(service.seen).toHaveLength(2)
  expect(seen.map(({ headers }) => headers.authorization)).toEqual([
    undefined,
    'Bearer one',
    'Bearer one',
    'Bearer one',
    'Bearer two',
  ])
})
