import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { readJwks } from '../../../src/edge/judge/assertion.ts'
import {
  createKeyStore,
  KEY_TIMES,
  type KeySource,
  type KeyStore,
  type KeyTimes,
} from '../../../src/edge/judge/keys.ts'
import { createIssuer, jwksOf } from '../../support/assertions.ts'
import { postBytes, sendRaw } from '../../support/raw.ts'
import { type Recorder, startRecorder } from '../../support/recorder.ts'
import { type Sidecar, startSidecar } from '../../support/sidecar.ts'

type Answer = (request: IncomingMessage, response: ServerResponse) => void
const json =
  (text: string): Answer =>
  (_request, response) => {
    response.setHeader('content-type', 'application/json')
    response.end(text)
  }
const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** A key source that answers as it is told, and counts. */
async function startSource(make: (listener: RequestListener) => Server = createServer) {
  let answer: Answer = json('{"keys":[]}')
  let asked: { method: string; url: string; headers: IncomingMessage['headers'] }[] = []
  const server = make((request, response) => {
    asked.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers })
    answer(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    port,
    url: `http://127.0.0.1:${port}/.well-known/pomerium/jwks.json`,
    asked: () => asked,
    say(next: Answer) {
      answer = next
    },
    reset() {
      asked = []
    },
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
type Source = Awaited<ReturnType<typeof startSource>>

/** By hand only: no timer fires within a test. */
const TIMES: KeyTimes = { every: 60_000, cooldown: 60_000, timeout: 300, maxStale: 60_000 }

describe('the store', () => {
  let source: Source
  let store: KeyStore | undefined
  let published: string[][]

  beforeEach(async () => {
    source = await startSource()
    published = []
  })
  afterEach(async () => {
    await store?.close()
    store = undefined
    await source.close()
  })
  const open = async (times: Partial<KeyTimes> = {}, from: KeySource = { kind: 'url', url: source.url }) => {
    store = await createKeyStore(from, (jwks) => published.push([...(readJwks(jwks)?.keys() ?? [])]), {
      ...TIMES,
      ...times,
    })
    return store
  }
  const [one, two] = [createIssuer({ kid: 'one' }), createIssuer({ kid: 'two' })]

  test('asks for its address and nothing else, once', async () => {
    source.say(json(one.jwks))
    const opened = await open()
    expect(published).toEqual([['one']])
    expect(opened.state()).toMatchObject({ loaded: true, error: undefined })
    expect(source.asked()).toHaveLength(1)
    expect(source.asked()[0]).toMatchObject({ method: 'GET', url: '/.well-known/pomerium/jwks.json' })
    expect(Object.keys(source.asked()[0]!.headers).sort()).toEqual([
      'accept',
      'accept-encoding',
      'connection',
      'host',
    ])
  })

  const bad: [row: string, answer: Answer][] = [
    ['an error', (_request, response) => void response.writeHead(500).end(one.jwks)],
    ['404', (_request, response) => void response.writeHead(404).end('{"keys":[]}')],
    ['204', (_request, response) => void response.writeHead(204).end()],
    ['no JSON', json('<html>sign in</html>')],
    ['nothing', json('')],
    ['another document', json('{"issuer":"https://mcp.example.com/"}')],
    ['an empty set', json('{"keys":[]}')],
    ['a set without a usable key', json(jwksOf({ kty: 'oct', kid: 'one', k: 'AAAA' }))],
    ['two keys of one kid', json(jwksOf(one.jwk, createIssuer({ kid: 'one' }).jwk))],
    ['a member twice', json(`{"keys":[],"keys":${JSON.stringify([one.jwk])}}`)],
    ['C9 300 KB', json(jwksOf(one.jwk, { pad: 'x'.repeat(300 << 10) }))],
    [
      'C9 300 KB that say they are less',
      (_request, response) => {
        response.writeHead(200)
        response.write(one.jwks)
        response.end('x'.repeat(300 << 10))
      },
    ],
    [
      'C9 no end',
      (_request, response) => {
        const more = setInterval(() => response.write(' '.repeat(64 << 10)), 1)
        response.on('close', () => clearInterval(more))
      },
    ],
    ['C9 a hang before the head', () => undefined],
    ['C9 a hang within the body', (_request, response) => void response.write(one.jwks.slice(0, 20))],
    ['a connection that is cut', (request) => void request.socket.destroy()],
    [
      'a body that is cut',
      (_request, response) => {
        response.writeHead(200, { 'content-length': '10000' })
        response.write(one.jwks)
        setTimeout(() => response.destroy(), 20)
      },
    ],
  ]
  test.each(bad)('C12 %s: nothing is published, and it says why', async (_row, answer) => {
    source.say(answer)
    const began = performance.now()
    const opened = await open()
    expect(performance.now() - began).toBeLessThan(2_000)
    expect(published).toEqual([])
    expect(opened.state().loaded).toBe(false)
    expect(opened.state().error).toMatch(/.{5,}/)
  })
  const revoking = new Set(['an empty set', 'a set without a usable key'])
  test('C13 a set that can be read and has no usable key takes back those that were believed', async () => {
    for (const [row, answer] of bad.filter(([name]) => revoking.has(name))) {
      published = []
      source.say(json(one.jwks))
      const opened = await open({ cooldown: 0 })
      source.say(answer)
      expect(await opened.refresh(), row).toBe(true)
      expect(published).toEqual([['one'], []])
      expect(opened.state()).toMatchObject({ loaded: false, error: expect.stringMatching(/taken back/) })
      source.say(json(two.jwks))
      expect(await opened.refresh()).toBe(true)
      expect(opened.state()).toMatchObject({ loaded: true, error: undefined })
      await opened.close()
      store = undefined
    }
  })
  test.each(bad.filter(([row]) => !revoking.has(row)))(
    'C12 %s, later: the last good keys stay',
    async (_row, answer) => {
      source.say(json(one.jwks))
      const opened = await open({ cooldown: 0 })
      source.say(answer)
      expect(await opened.refresh()).toBe(false)
      expect(published).toEqual([['one']])
      expect(opened.state().loaded).toBe(true)
      expect(opened.state().error).toMatch(/.{5,}/)
      source.say(json(jwksOf(one.jwk, two.jwk)))
      expect(await opened.refresh()).toBe(true)
      expect(published.at(-1)).toEqual(['one', 'two'])
      expect(opened.state().error).toBe(undefined)
    },
  )

  test('C9 a redirect is not followed', async () => {
    const other = await startSource()
    other.say(json(one.jwks))
    for (const status of [301, 302, 303, 307, 308]) {
      source.say((_request, response) => void response.writeHead(status, { location: other.url }).end())
      const opened = await open()
      expect(opened.state()).toMatchObject({ loaded: false, error: `the key source answered ${status}` })
      await opened.close()
      store = undefined
    }
    expect(other.asked()).toEqual([])
    expect(published).toEqual([])
    await other.close()
  })

  test('C11, C13 rotation: what is published is what is in the document, and only when it changed', async () => {
    source.say(json(one.jwks))
    const opened = await open({ cooldown: 0 })
    expect(await opened.refresh()).toBe(false)
    source.say(json(jwksOf(one.jwk, two.jwk)))
    expect(await opened.refresh()).toBe(true)
    source.say(json(two.jwks))
    expect(await opened.refresh()).toBe(true)
    expect(await opened.refresh()).toBe(false)
    expect(published).toEqual([['one'], ['one', 'two'], ['two']])
  })
  test('C10 one fetch a cool-down, whoever asks and how often', async () => {
    source.say(json(one.jwks))
    const opened = await open({ cooldown: 200 })
    source.reset()
    await Promise.all(Array.from({ length: 50 }, () => opened.refresh()))
    expect(source.asked()).toHaveLength(0)
    await wait(220)
    await Promise.all(Array.from({ length: 50 }, () => opened.refresh()))
    for (let i = 0; i < 50; i++) await opened.refresh()
    expect(source.asked()).toHaveLength(1)
  })
  test('C10 all who ask while a fetch is under way wait for that one', async () => {
    source.say(json(one.jwks))
    const opened = await open({ cooldown: 0 })
    source.reset()
    source.say((request, response) => void setTimeout(() => json(two.jwks)(request, response), 50))
    expect(await Promise.all(Array.from({ length: 20 }, () => opened.refresh()))).toEqual(
      Array(20).fill(true),
    )
    expect(source.asked()).toHaveLength(1)
  })
  test('in the background, it asks again', async () => {
    source.say(json(one.jwks))
    await open({ every: 30 })
    source.say(json(two.jwks))
    await expect.poll(() => published).toEqual([['one'], ['two']])
  })
  test('C12 a source that is away at the start is asked again until it is there', async () => {
    source.say((request) => void request.socket.destroy())
    const opened = await open({ cooldown: 30 })
    expect(opened.state().loaded).toBe(false)
    source.say(json(one.jwks))
    await expect.poll(() => published).toEqual([['one']])
    expect(opened.state()).toMatchObject({ loaded: true, error: undefined })
  })
  test('C12 last good keys that are too old are keys no more', async () => {
    source.say(json(one.jwks))
    const opened = await open({ every: 20, maxStale: 100 })
    source.say((request) => void request.socket.destroy())
    await expect.poll(() => published).toEqual([['one'], []])
    expect(opened.state().loaded).toBe(false)
    source.say(json(one.jwks))
    await expect.poll(() => published).toEqual([['one'], [], ['one']])
  })
  test('the times that are in force', () =>
    expect(KEY_TIMES).toEqual({ every: 300_000, cooldown: 5_000, timeout: 5_000, maxStale: 86_400_000 }))

  test('a file is read again; keys in the configuration are not', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'keys-'))
    const path = join(folder, 'jwks.json')
    writeFileSync(path, one.jwks)
    const opened = await open({ cooldown: 0 }, { kind: 'file', path })
    writeFileSync(path, two.jwks)
    expect(await opened.refresh()).toBe(true)
    rmSync(path)
    expect(await opened.refresh()).toBe(false)
    expect(published).toEqual([['one'], ['two']])
    await opened.close()
    store = undefined
    rmSync(folder, { recursive: true })

    const inline = await open({ cooldown: 0 }, { kind: 'inline', jwks: one.jwks })
    expect(await inline.refresh()).toBe(false)
    expect(published.at(-1)).toEqual(['one'])
  })
})

const openssl = (() => {
  try {
    return execFileSync('openssl', ['version'], { encoding: 'utf8' })
  } catch {
    console.warn(
      'SKIPPED: there is no openssl on this machine to make certificates with; key sources over TLS are untested',
    )
    return undefined
  }
})()

describe.skipIf(!openssl)('over TLS', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ca-'))
  const path = (name: string) => join(folder, name)
  const run = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' })
  const issuer = createIssuer({ kid: 'tls' })
  let source: Source
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']

  beforeAll(async () => {
    const ca = ['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign']
    for (const name of ['ca', 'other'])
      run(
        'req',
        '-x509',
        ...key,
        '-keyout',
        `${name}.key`,
        '-out',
        `${name}.pem`,
        '-subj',
        `/CN=test ${name}`,
        ...ca,
      )
    run('req', ...key.slice(0, -2), '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=pomerium')
    writeFileSync(path('server.ext'), 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n')
    run(
      'x509',
      '-req',
      '-in',
      'server.csr',
      '-CA',
      'ca.pem',
      '-CAkey',
      'ca.key',
      '-CAcreateserial',
      '-days',
      '2',
      '-extfile',
      'server.ext',
      '-out',
      'server.pem',
    )
    source = await startSource((listener) =>
      createTlsServer(
        { key: readFileSync(path('server.key')), cert: readFileSync(path('server.pem')) },
        listener,
      ),
    )
    source.say(json(issuer.jwks))
  })
  afterAll(async () => {
    await source.close()
    rmSync(folder, { recursive: true })
  })

  const load = async (ca: string | undefined, host = '127.0.0.1') => {
    source.reset()
    const from: KeySource = {
      kind: 'url',
      url: `https://${host}:${source.port}/jwks`,
      ...(ca && { ca: readFileSync(path(ca), 'utf8') }),
    }
    const store = await createKeyStore(from, () => undefined, TIMES)
    const state = store.state()
    await store.close()
    return { ...state, asked: source.asked().length }
  }
  test('the CA of the configuration is believed', async () =>
    expect(await load('ca.pem')).toMatchObject({ loaded: true, asked: 1 }))
  test('C9 no other is, and nothing is asked of it', async () => {
    expect(await load('other.pem')).toMatchObject({ loaded: false, asked: 0 })
    expect(await load(undefined)).toMatchObject({ loaded: false, asked: 0 })
  })
  test('C9 nor a certificate for another name', async () =>
    expect(await load('ca.pem', 'localhost')).toMatchObject({ loaded: false, asked: 0 }))
  test('through the program: ca_file', async () => {
    const upstream = await startRecorder()
    const sidecar = await startSidecar({
      upstream: upstream.url,
      config: {
        plugins: {
          mcp: { identity: { jwks_url: `https://127.0.0.1:${source.port}/jwks`, ca_file: path('ca.pem') } },
        },
      },
    })
    const call = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'get_me' } }
    expect((await sendRaw(sidecar.port, postBytes(issuer.mint(), call))).answers[0]!.status).toBe(200)
    expect(await sidecar.stop()).toBe(0)
    await upstream.close()
  })
})

describe('through the program', () => {
  const CALL = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'get_me', arguments: {} } }
  let source: Source
  let upstream: Recorder
  let sidecar: Sidecar | undefined

  beforeEach(async () => {
    source = await startSource()
    upstream = await startRecorder()
  })
  afterEach(async () => {
    expect(await sidecar?.stop()).toBe(0)
    await source.close()
    await upstream.close()
  })
  const start = async () => {
    sidecar = await startSidecar({
      upstream: upstream.url,
      config: { plugins: { mcp: { identity: { jwks_url: source.url } } } },
    })
  }
  const call = async (assertion: string) => {
    const { answers } = await sendRaw(sidecar!.port, postBytes(assertion, CALL))
    const { status } = answers[0]!
    return status === 200 ? '200' : `${status} ${answers[0]!.json().error.data.reason}`
  }
  const cooldown = () => wait(KEY_TIMES.cooldown + 100)

  test('C11, C13, C10, C12 rotation without a restart, a stampede, a source that goes away', async () => {
    const [old, next] = [createIssuer(), createIssuer()]
    source.say(json(old.jwks))
    await start()
    expect(await call(old.mint())).toBe('200')
    // Both keys are published before the new one signs.
    source.say(json(jwksOf(old.jwk, next.jwk)))
    await cooldown()
    expect(await call(old.mint())).toBe('200')
    expect(await call(next.mint())).toBe('200')
    expect(source.asked()).toHaveLength(2)

    // The old one is gone from the document: an unknown kid brings the new set in, and the old key with it out.
    source.say(json(next.jwks))
    await cooldown()
    source.reset()
    const strangers = await Promise.all(
      Array.from({ length: 50 }, (_, i) => call(createIssuer({ kid: `stranger-${i}` }).mint())),
    )
    expect(new Set(strangers)).toEqual(new Set(['403 assertion_unknown_key']))
    expect(source.asked()).toHaveLength(1)
    expect(await call(old.mint())).toBe('403 assertion_unknown_key')
    expect(await call(next.mint())).toBe('200')
    expect(source.asked()).toHaveLength(1)

    // Away, or talking nonsense: what is known goes on working.
    for (const answer of [json('garbage'), (request: IncomingMessage) => void request.socket.destroy()]) {
      source.say(answer)
      await cooldown()
      expect(await call(createIssuer().mint())).toBe('403 assertion_unknown_key')
      expect(await call(next.mint())).toBe('200')
    }
    expect(upstream.requests().length).toBe(6)
  }, 60_000)

  test('C12 no key at the start: 503 until there is one', async () => {
    const issuer = createIssuer()
    source.say((request) => void request.socket.destroy())
    await start()
    const { answers } = await sendRaw(sidecar!.port, postBytes(issuer.mint(), CALL))
    expect(answers[0]!.status).toBe(503)
    expect(answers[0]!.header('retry-after')).toBe('1')
    const { error } = answers[0]!.json()
    expect(error).toMatchObject({ code: 503, data: { reason: 'keys_unavailable' } })
    const [record] = await sidecar!.recordsOf(error.data.decision_id)
    expect(record!.custom).toMatchObject({
      event: 'reject',
      cause: { code: 'keys_unavailable', status: 503 },
    })
    expect((await fetch(`${sidecar!.admin}/health?plugins`)).status).toBe(500)
    expect(upstream.bytes()).toBe(0)

    source.say(json(issuer.jwks))
    await expect.poll(() => call(issuer.mint()), { timeout: 10_000, interval: 500 }).toBe('200')
    expect((await fetch(`${sidecar!.admin}/health?plugins`)).status).toBe(200)
  }, 30_000)
})
