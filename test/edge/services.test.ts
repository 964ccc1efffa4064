// Services over TLS, with an authority of their own and client certificates, on real sockets.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { createService, type ServiceClient } from '../../src/edge/services/client.ts'
import { signAws } from '../../src/edge/services/s3.ts'
import type { Service } from '../../src/edge/services/settings.ts'
import { type BundleServer, startBundleServer } from '../support/bundle-server.ts'

const openssl = (() => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
    return true
  } catch {
    console.warn('SKIPPED: TLS of services is tested with certificates that openssl makes; there is none')
    return false
  }
})()
const folder = mkdtempSync(join(tmpdir(), 'mcp-services-'))
afterAll(() => rmSync(folder, { recursive: true }))
const at = (name: string) => join(folder, name)
const pem = (name: string) => readFileSync(at(name), 'utf8')

const EC = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
const run = (args: string[]) => execFileSync('openssl', args, { stdio: 'ignore' })
function authority(name: string) {
  run([
    'req',
    '-x509',
    ...EC,
    '-days',
    '2',
    '-subj',
    `/CN=${name}`,
    '-keyout',
    at(`${name}.key`),
    '-out',
    at(`${name}.crt`),
  ])
}
function leaf(name: string, by: string) {
  writeFileSync(at(`${name}.ext`), 'subjectAltName=IP:127.0.0.1\n')
  run(['req', ...EC, '-subj', `/CN=${name}`, '-keyout', at(`${name}.key`), '-out', at(`${name}.csr`)])
  const ca = ['-CA', at(`${by}.crt`), '-CAkey', at(`${by}.key`), '-CAcreateserial']
  run([
    'x509',
    '-req',
    '-in',
    at(`${name}.csr`),
    ...ca,
    '-days',
    '1',
    '-extfile',
    at(`${name}.ext`),
    '-out',
    at(`${name}.crt`),
  ])
}

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})
function clientOf(service: Partial<Service> & { url: string }): ServiceClient {
  const client = createService(
    {
      name: 's',
      headers: {},
      headerTimeout: 2_000,
      caCert: undefined,
      systemCa: true,
      credentials: { kind: 'none' },
      ...service,
    },
    'test/1',
  )
  closers.push(client.close)
  return client
}
const get = async (client: ServiceClient, path = 'b'): Promise<number | string> => {
  try {
    const answer = await client.request(path, {
      method: 'GET',
      headers: { prefer: 'modes=snapshot' },
      signal: AbortSignal.timeout(5_000),
    })
    await answer.body.dump()
    return answer.statusCode
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? (error as Error).name
  }
}

describe.skipIf(!openssl)('a service over TLS', () => {
  if (openssl) {
    authority('ca')
    authority('other')
    leaf('server', 'ca')
    leaf('client', 'ca')
    leaf('stranger', 'other')
  }
  const serve = async (more: object = {}): Promise<BundleServer> => {
    const server = await startBundleServer({
      tls: { cert: pem('server.crt'), key: pem('server.key'), ...more },
    })
    closers.push(server.close)
    server.serve('/b', Buffer.from('x'))
    return server
  }

  test('is believed with the configured authority only', async () => {
    const { url } = await serve()
    expect(await get(clientOf({ url, caCert: at('ca.crt'), systemCa: false }))).toBe(200)
    expect(await get(clientOf({ url, caCert: at('ca.crt'), systemCa: true }))).toBe(200)
    expect(await get(clientOf({ url, caCert: at('other.crt'), systemCa: false }))).toMatch(
      /CERT|SIGNATURE|VERIFY/,
    )
    expect(await get(clientOf({ url }))).toMatch(/CERT|SIGNATURE|VERIFY/)
  })

  test('hears a client with a certificate; a renewed one is taken over', async () => {
    const server = await serve({ ca: pem('ca.crt'), requestCert: true, rejectUnauthorized: true })
    const { url } = server
    const tls = { url, caCert: at('ca.crt'), systemCa: false }
    const none = clientOf(tls)
    expect(typeof (await get(none))).toBe('string')
    for (const half of ['crt', 'key']) writeFileSync(at(`live.${half}`), pem(`stranger.${half}`))
    const credentials = {
      kind: 'client_tls',
      cert: at('live.crt'),
      key: at('live.key'),
      passphrase: undefined,
    } as const
    const client = clientOf({ ...tls, credentials })
    expect(typeof (await get(client))).toBe('string')
    for (const half of ['crt', 'key']) {
      writeFileSync(at('part'), pem(`client.${half}`))
      renameSync(at('part'), at(`live.${half}`))
    }
    expect(await get(client)).toBe(200)
    rmSync(at('live.key'))
    expect(await get(client)).toBe('ENOENT')
  })
})

test('a token file is read for each request, and one without a token asks nobody', async () => {
  const server = await startBundleServer()
  closers.push(server.close)
  server.serve('/b', Buffer.from('x'))
  const path = at('token')
  writeFileSync(path, 'one\n')
  const client = clientOf({ url: server.url, credentials: { kind: 'bearer_file', scheme: 'Token', path } })
  await get(client)
  writeFileSync(path, 'two')
  await get(client)
  writeFileSync(path, '\n')
  expect(await get(client)).toBe('Error')
  expect(server.requests().map((request) => request.headers.authorization)).toEqual([
    'Token one',
    'Token two',
  ])
})

test('a request to S3 is signed for what goes on the wire', async () => {
  const server = await startBundleServer()
  closers.push(server.close)
  const path = '/bucket/a b/mcp+1.tar.gz'
  server.serve(encodeURI(path), Buffer.from('x'))
  const keys = { id: 'AKID', secret: 'secret', token: 'session', region: 'eu-central-1' }
  const client = clientOf({
    url: server.url,
    credentials: { kind: 'aws', service: 's3', sources: [{ kind: 'environment', keys }], ecr: undefined },
  })
  expect(await get(client, path)).toBe(200)
  const [request] = server.requests()
  const at = String(request?.headers['x-amz-date'])
  const time = new Date(at.replace(/^(....)(..)(..T..)(..)(..Z)$/, '$1-$2-$3:$4:$5'))
  const seen = new URL(request?.path ?? '', `http://${request?.headers.host}`)
  const expected = signAws('s3', 'GET', seen, {}, '', keys, time)
  expect(request?.headers).toMatchObject(expected)
  expect(JSON.stringify(request?.headers)).not.toContain('"secret"')
})

test('a server that says nothing is given up, and follows nobody elsewhere', async () => {
  const sockets: Socket[] = []
  const silent = createServer((socket) => void sockets.push(socket))
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  closers.push(() => {
    for (const socket of sockets) socket.destroy()
    return new Promise((resolve) => silent.close(resolve))
  })
  const { port } = silent.address() as { port: number }
  const client = clientOf({ url: `http://127.0.0.1:${port}`, headerTimeout: 1_000 })
  expect(await get(client)).toBe('UND_ERR_HEADERS_TIMEOUT')
  const server = await startBundleServer()
  closers.push(server.close)
  server.oddly((request, response) => {
    if (request.path !== '/b') return false
    response.writeHead(307, { location: '/elsewhere' }).end()
    return true
  })
  expect(await get(clientOf({ url: server.url }))).toBe(307)
  expect(server.requests()).toHaveLength(1)
})
