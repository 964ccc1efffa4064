// TLS, client certificates and a socket file on the MCP listener, through the program.
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect as connectPlain } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, type TLSSocket } from 'node:tls'
import { afterAll, describe, expect, test } from 'vitest'
import { createIssuer } from '../../support/assertions.ts'
import { postBytes, sendRaw } from '../../support/raw.ts'
import { startRecorder } from '../../support/recorder.ts'
import { startSidecar } from '../../support/sidecar.ts'

const openssl = (() => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
    return true
  } catch {
    console.warn(
      'SKIPPED: TLS on the MCP listener is tested with certificates that openssl makes; there is none',
    )
    return false
  }
})()
const folder = mkdtempSync(join(tmpdir(), 'mcp-tls-'))
afterAll(() => rmSync(folder, { recursive: true }))
const at = (name: string) => join(folder, name)
const pem = (name: string) => readFileSync(at(name))

function makeCa(name: string) {
  const args = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '2',
  ]
  execFileSync(
    'openssl',
    [...args, '-subj', `/CN=${name}`, '-keyout', at(`${name}.key`), '-out', at(`${name}.crt`)],
    {
      stdio: 'ignore',
    },
  )
}
function makeLeaf(name: string, ca: string, ip = '127.0.0.1') {
  writeFileSync(at(`${name}.ext`), `subjectAltName=IP:${ip}\n`)
  const run = (args: string[]) => execFileSync('openssl', args, { stdio: 'ignore' })
  run([
    'req',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-subj',
    `/CN=${name}`,
    '-keyout',
    at(`${name}.key`),
    '-out',
    at(`${name}.csr`),
  ])
  run([
    'x509',
    '-req',
    '-in',
    at(`${name}.csr`),
    '-CA',
    at(`${ca}.crt`),
    '-CAkey',
    at(`${ca}.key`),
    '-CAcreateserial',
    '-days',
    '2',
    '-extfile',
    at(`${name}.ext`),
    '-out',
    at(`${name}.crt`),
  ])
}

const issuer = createIssuer()
const CALL = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'get_me', arguments: {} } }
/** Sends one call over TLS; the status, or the code of the failure. */
const over = (port: number, options: object): Promise<string> =>
  new Promise((resolve) => {
    let socket: TLSSocket
    try {
      socket = connect({ port, host: '127.0.0.1', ca: pem('ca.crt'), ...options }, () =>
        socket.write(postBytes(issuer.mint(), CALL, { connection: 'close' })),
      )
    } catch (error) {
      return resolve((error as NodeJS.ErrnoException).code ?? 'thrown')
    }
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk
    })
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    socket.on('close', () => resolve(/^HTTP\/1.1 (\d+)/.exec(text)?.[1] ?? 'closed'))
  })

describe.skipIf(!openssl)('TLS', () => {
  test('only a client with a certificate is heard; changed files are taken over, half of a change is not', async () => {
    for (const ca of ['ca', 'other']) makeCa(ca)
    makeLeaf('server', 'ca')
    makeLeaf('client', 'ca')
    makeLeaf('stranger', 'other')
    makeLeaf('renewed', 'ca')
    copyFileSync(at('server.crt'), at('live.crt'))
    copyFileSync(at('server.key'), at('live.key'))
    const recorder = await startRecorder()
    const sidecar = await startSidecar({
      upstream: recorder.url,
      jwks: issuer.jwks,
      config: {
        plugins: {
          mcp: { tls: { cert_file: at('live.crt'), key_file: at('live.key'), client_ca_file: at('ca.crt') } },
        },
      },
    })
    const { port } = sidecar
    const client = { cert: pem('client.crt'), key: pem('client.key') }
    expect(await over(port, client)).toBe('200')
    expect(await over(port, { ...client, maxVersion: 'TLSv1.2' })).toBe('200')
    const seen = recorder.requests().length
    expect(seen).toBe(2)

    expect(await over(port, {})).not.toBe('200')
    expect(await over(port, { maxVersion: 'TLSv1.2' })).not.toBe('200')
    const stranger = { cert: pem('stranger.crt'), key: pem('stranger.key') }
    expect(await over(port, stranger)).not.toBe('200')
    expect(
      await over(port, {
        ...client,
        minVersion: 'TLSv1.1',
        maxVersion: 'TLSv1.1',
        ciphers: 'DEFAULT@SECLEVEL=0',
      }),
    ).not.toBe('200')
    const plain = await sendRaw(port, postBytes(issuer.mint(), CALL), { timeout: 3000 })
    expect(plain.answers).toEqual([])
    expect(recorder.requests()).toHaveLength(seen)
    await expect
      .poll(() => sidecar.records().filter(({ custom }) => custom.cause?.code === 'bad_tls').length)
      .toBeGreaterThan(2)

    copyFileSync(at('renewed.crt'), at('live.crt'))
    await expect
      .poll(() => sidecar.logs().some(({ msg }) => /stays as it was/.test(msg)), { timeout: 10_000 })
      .toBe(true)
    expect(await over(port, client)).toBe('200')
    copyFileSync(at('renewed.key'), at('live.key'))
    await expect
      .poll(() => sidecar.logs().some(({ msg }) => /was read again/.test(msg)), { timeout: 10_000 })
      .toBe(true)
    const subject = await new Promise((resolve) => {
      const socket = connect({ port, host: '127.0.0.1', ca: pem('ca.crt'), ...client }, () => {
        resolve(socket.getPeerCertificate().subject.CN)
        socket.destroy()
      })
    })
    expect(subject).toBe('renewed')
    expect(await sidecar.stop()).toBe(0)
    await recorder.close()
  }, 60_000)

  test('what cannot be served is a fault of the configuration', async () => {
    const start = (tls: object) =>
      startSidecar({
        upstream: 'http://127.0.0.1:1/mcp',
        jwks: issuer.jwks,
        config: { plugins: { mcp: { tls } } },
      })
    await expect(start({ cert_file: at('server.crt') })).rejects.toThrow(/go together/)
    await expect(start({ cert_file: at('server.crt'), key_file: at('client.key') })).rejects.toThrow(
      /mismatch/,
    )
    await expect(start({ client_ca_file: at('ca.crt') })).rejects.toThrow(/go together/)
  })
})

test('a socket file: for owner and group, taken over from the dead, not from the living, never in place of a file', async () => {
  const path = at('mcp.sock')
  const recorder = await startRecorder()
  const options = {
    upstream: recorder.url,
    jwks: issuer.jwks,
    config: { plugins: { mcp: { addr: `unix://${path}`, trusted_proxies: ['unix'] } } },
  }
  const first = await startSidecar(options)
  expect(statSync(path).mode & 0o777).toBe(0o660)
  const ask = () =>
    new Promise<string>((resolve) => {
      const socket = connectPlain({ path }, () =>
        socket.write(
          postBytes(issuer.mint(), CALL, { 'x-forwarded-for': '10.9.9.9, 10.1.2.3', connection: 'close' }),
        ),
      )
      let text = ''
      socket.on('data', (chunk) => {
        text += chunk
      })
      socket.on('close', () => resolve(text))
    })
  expect(await ask()).toMatch(/^HTTP\/1.1 200/)
  expect(first.records().find(({ custom }) => custom.event === 'decision')?.input.http.source_ip).toBe(
    '10.1.2.3',
  )
  await expect(startSidecar(options)).rejects.toThrow(/somebody listens/)
  await first.stop('SIGKILL')
  expect(existsSync(path)).toBe(true)
  const second = await startSidecar(options)
  expect(await ask()).toMatch(/^HTTP\/1.1 200/)
  expect(await second.stop()).toBe(0)
  writeFileSync(path, 'somebody’s')
  await expect(startSidecar(options)).rejects.toThrow(/no socket/)
  expect(readFileSync(path, 'utf8')).toBe('somebody’s')
  await recorder.close()
})
