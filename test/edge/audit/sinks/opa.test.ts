import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterEach, expect, test } from 'vitest'
import { createOpaSink } from '../../../../src/edge/audit/sinks/opa.ts'
import { createClient, type HttpTo, retryAfter } from '../../../../src/edge/audit/sinks/request.ts'
import { createServiceClient } from '../../../../src/edge/audit/sinks/service.ts'
import type { Sink } from '../../../../src/edge/audit/sinks/sink.ts'
import { readServices } from '../../../../src/edge/services/settings.ts'
import { readSection } from '../../../../src/edge/settings.ts'
import { type Answers, answer, type Receiver, startReceiver } from '../../../support/receiver.ts'
import { linesOf, recordLine } from '../../../support/source.ts'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})
const receiver = async (...args: Parameters<typeof startReceiver>): Promise<Receiver> => {
  const started = await startReceiver(...args)
  ends.push(started.close)
  return started
}
const sinkTo = (url: string, more: Partial<HttpTo> = {}, limit = 32_768): Sink => {
  const to = { url: new URL(url), headers: {}, tls: {}, timeout: 2_000, compress: true, ...more }
  const client = createClient({ ...to, compress: false })
  const sink = createOpaSink(
    { name: 'opa', type: 'http', to: url },
    client,
    { limit, compress: true },
    ({ text }) => text,
  )
  ends.push(sink.close)
  return sink
}
const never = new AbortController().signal
const batch = linesOf([recordLine(1), recordLine(2)])
const send = (sink: Sink) => sink.send(batch, never)
const ok: Answers = (_request, response) => answer(response, 200)

test('a batch is what OPA sends: one gzip JSON array of events, the lines byte for byte', async () => {
  const { url, requests } = await receiver(ok)
  const sink = sinkTo(`${url}/logs`, {
    headers: { 'x-a': 'b' },
    credential: { header: 'authorization', prefix: 'Bearer ', secret: { value: 'tok' } },
  })
  expect(await send(sink)).toEqual({ kind: 'accepted', said: 'HTTP 200' })
  const [request] = requests
  expect(request).toMatchObject({
    method: 'POST',
    url: '/logs',
    headers: {
      'content-type': 'application/json',
      'content-encoding': 'gzip',
      authorization: 'Bearer tok',
      'x-a': 'b',
    },
  })
  expect(gunzipSync(request?.raw ?? Buffer.alloc(0)).toString()).toBe(
    `[${batch.map(({ text }) => text).join(',')}]`,
  )
  expect(Number(request?.headers['content-length'])).toBe(request?.raw.length)
})

test('a service of OPA’s file gets the same, with its own credentials', async () => {
  const { url, requests } = await receiver(ok)
  const service = readServices(
    readSection(
      { services: { dl: { url: `${url}/a/`, credentials: { bearer: { token: 'tok' } } } } },
      '',
      [],
    ),
  ).dl
  const client = createServiceClient(service as NonNullable<typeof service>, 'logs', '0.1.0', 2_000)
  const options = { limit: 32_768, compress: true }
  const sink = createOpaSink({ name: 'dl', type: 'service', to: url }, client, options, ({ text }) => text)
  ends.push(sink.close)
  expect(await send(sink)).toEqual({ kind: 'accepted', said: 'HTTP 200' })
  expect(requests[0]).toMatchObject({
    url: '/a/logs',
    headers: { authorization: 'Bearer tok', 'content-encoding': 'gzip', 'content-type': 'application/json' },
    text: `[${batch.map(({ text }) => text).join(',')}]`,
  })
})

test('no body is larger than upload_size_limit_bytes, but that of one event', async () => {
  const { url, requests } = await receiver(ok)
  const long = linesOf([1, 2].map((seq) => recordLine(seq, { input: { x: randomText(300) } })))
  const sink = sinkTo(url, {}, 400)
  expect((await sink.send(long, never)).kind).toBe('too_large')
  expect(requests).toHaveLength(0)
  expect((await sink.send(long.slice(0, 1), never)).kind).toBe('accepted')
})

test.each([
  [200, 'accepted', false],
  [204, 'accepted', false],
  [201, 'accepted', false],
  [400, 'refused', false],
  [422, 'refused', false],
  [413, 'too_large', false],
  [408, 'retry', false],
  [429, 'retry', false],
  [500, 'retry', false],
  [503, 'retry', false],
  // Somebody must mend a setting: tried rarely, never given up, and never read as "the event is bad".
  [401, 'retry', true],
  [403, 'retry', true],
  [404, 'retry', true],
  [405, 'retry', true],
])('HTTP %d is %s', async (status, kind, slow) => {
  const { url } = await receiver((_request, response) => answer(response, status, 'why'))
  const got = await send(sinkTo(url))
  expect(got.kind).toBe(kind)
  expect('slow' in got && got.slow === true).toBe(slow)
  expect(got.said).toBe(`HTTP ${status}`)
  expect(got.detail).toBe(status === 204 ? undefined : 'why')
})

test('a redirect is not followed: records and credential stay where they were sent', async () => {
  const other = await receiver(ok)
  const { url } = await receiver((_request, response) => answer(response, 307, '', { location: other.url }))
  const sink = sinkTo(url, { credential: { header: 'authorization', prefix: '', secret: { value: 'x' } } })
  expect(await send(sink)).toMatchObject({ kind: 'retry', slow: true })
  expect(other.requests).toHaveLength(0)
})

test('Retry-After is read as seconds and as a date', async () => {
  const { url } = await receiver((_request, response) => answer(response, 429, '', { 'retry-after': '7' }))
  expect(await send(sinkTo(url))).toMatchObject({ kind: 'retry', after: 7_000 })
  expect(retryAfter('Wed, 25 Nov 2026 23:00:10 GMT', Date.UTC(2026, 10, 25, 23, 0, 0))).toBe(10_000)
  expect(retryAfter('Wed, 25 Nov 2020 23:00:10 GMT', Date.UTC(2026, 10, 25))).toBe(0)
  expect(retryAfter('soon', 0)).toBeUndefined()
})

test.each<[string, Answers]>([
  ['closed before the answer', (_request, _response, socket) => socket.destroy()],
  [
    'cut in the middle of the answer',
    (_request, response, socket) => {
      response.writeHead(200, { 'content-length': '100' })
      response.write('{"half":', () => socket.destroy())
    },
  ],
  ['never answered', () => undefined],
  [
    'answered drop by drop',
    async (_request, response) => {
      response.writeHead(200)
      for (let i = 0; i < 100 && !response.destroyed; i++) {
        response.write(' ')
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    },
  ],
  ['answered with no HTTP', (_request, _response, socket) => void socket.end('nonsense\r\n\r\n')],
])('a connection that is %s is a retry', async (_name, answers) => {
  const { url } = await receiver(answers)
  expect(await send(sinkTo(url, { timeout: 300 }))).toMatchObject({ kind: 'retry' })
})

test('a port where nobody listens is a retry that says so', async () => {
  const { url, close } = await receiver(ok)
  await close()
  ends.pop()
  expect(await send(sinkTo(url))).toMatchObject({
    kind: 'retry',
    said: expect.stringContaining('ECONNREFUSED'),
  })
})

test('a token file is read for each request, and its token is in no answer', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-token-'))
  ends.push(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'token')
  writeFileSync(file, 'first\n')
  const { url, requests } = await receiver(ok)
  const sink = sinkTo(url, { credential: { header: 'authorization', prefix: 'Bearer ', secret: { file } } })
  await send(sink)
  writeFileSync(file, 'second\n')
  await send(sink)
  expect(requests.map(({ headers }) => headers.authorization)).toEqual(['Bearer first', 'Bearer second'])
  rmSync(file)
  expect(await send(sink)).toMatchObject({ kind: 'retry', said: expect.stringContaining('ENOENT') })
})

test('TLS: a certificate of an authority that was not named is refused, one that was named is believed', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-tls-'))
  ends.push(() => rmSync(folder, { recursive: true }))
  const make = (name: string, san: string) => {
    const at = (end: string) => join(folder, `${name}.${end}`)
    execFileSync(
      'openssl',
      [
        ...[
          'req',
          '-x509',
          '-newkey',
          'ec',
          '-pkeyopt',
          'ec_paramgen_curve:prime256v1',
          '-nodes',
          '-days',
          '2',
        ],
        ...[
          '-subj',
          `/CN=${name}`,
          '-addext',
          `subjectAltName=${san}`,
          '-keyout',
          at('key'),
          '-out',
          at('crt'),
        ],
      ],
      { stdio: 'ignore' },
    )
    return { cert: readFileSync(at('crt'), 'utf8'), key: readFileSync(at('key'), 'utf8') }
  }
  const ours = make('receiver', 'IP:127.0.0.1')
  const { url, requests } = await receiver(ok, ours)
  expect(await send(sinkTo(url))).toMatchObject({
    kind: 'retry',
    said: expect.stringMatching(/self.signed/i),
  })
  const elsewhere = make('elsewhere', 'DNS:elsewhere.example')
  const wrong = await receiver(ok, elsewhere)
  expect(await send(sinkTo(wrong.url, { tls: { ca: elsewhere.cert } }))).toMatchObject({ kind: 'retry' })
  expect(requests).toHaveLength(0)
  expect(wrong.requests).toHaveLength(0)
  expect(await send(sinkTo(url, { tls: { ca: ours.cert } }))).toMatchObject({ kind: 'accepted' })
})

test('an end of the sidecar cuts a request short', async () => {
  const { url } = await receiver(() => undefined)
  const stop = new AbortController()
  const answered = sinkTo(url, { timeout: 60_000 }).send(batch, stop.signal)
  stop.abort()
  expect((await answered).kind).toBe('retry')
})

const randomText = (length: number): string =>
  Array.from({ length }, () =>
    String.fromCharCode(33 + Math.floor(Math.random() * 90)).replace(/["\\]/, 'x'),
  ).join('')
