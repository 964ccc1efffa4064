import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { createIssuer, people } from '../../../support/assertions.ts'
import { CLIENTS } from '../../../support/clients.ts'
import {
  type Answers,
  answer,
  type Received,
  type Receiver,
  startReceiver,
} from '../../../support/receiver.ts'
import { type Recorder, startRecorder } from '../../../support/recorder.ts'
import { type Sidecar, type SidecarOptions, startSidecar } from '../../../support/sidecar.ts'

/**
 * The real program with three outputs while what receives them fails in every way, time scaled: its shortest wait is a
 * millisecond instead of half a second. An hour of real outage is some sixty attempts; here are hundreds.
 */
const issuer = createIssuer()
let upstream: Recorder
beforeAll(async () => {
  upstream = await startRecorder()
})
afterAll(() => upstream.close())
const started: Sidecar[] = []
// One that a failed test leaves goes on sending, to whoever has the port next.
afterEach(async () => {
  for (const sidecar of started.splice(0)) await sidecar.stop('SIGKILL')
})
const start = async (options: SidecarOptions): Promise<Sidecar> => {
  const sidecar = await startSidecar(options)
  started.push(sidecar)
  return sidecar
}

/** A real client of a person whose merges are allowed, and whose deletions are not. */
const connect = async (url: string) => {
  const { text, close } = await (CLIENTS[0] as (typeof CLIENTS)[number])[1](url, () =>
    issuer.mint(people.mona),
  )
  return {
    allowed: async () => expect(await text('get_me', {})).toContain('called get_me'),
    denied: async () =>
      expect(await text('delete_repository', { owner: 'acme', repo: 'app' })).toContain('Denied by policy'),
    close,
  }
}

/** A receiver that can be told how to fail, and knows what it took. */
const patient = async (ids: (request: Received) => string[], accept: Answers, port = 0) => {
  let fault: Answers | undefined
  const taken: string[] = []
  const receiver: Receiver = await startReceiver(
    async (request, response, socket) => {
      if (fault) return fault(request, response, socket)
      taken.push(...ids(request))
      return accept(request, response, socket)
    },
    undefined,
    port,
  )
  return {
    ...receiver,
    taken,
    fail: (next?: Answers) => {
      fault = next
    },
  }
}
const idsOfArray = ({ text }: Received) =>
  (JSON.parse(text) as { custom: { event_id: string } }[]).map(({ custom }) => custom.event_id)
const idsOfHec = ({ text }: Received) =>
  text.split('\n').map((line) => JSON.parse(line).fields.event_id as string)
const idsOfBulk = ({ text }: Received) =>
  text
    .split('\n')
    .flatMap((line, at) => (line !== '' && at % 2 === 0 ? [JSON.parse(line).create._id as string] : []))
const created: Answers = (request, response) =>
  answer(response, 200, { errors: false, items: idsOfBulk(request).map(() => ({ create: { status: 201 } })) })

/** How many records a request of any of the three has. */
const ids = (text: string): number => new Set(text.match(/"(?:event_id|_id)":"[^"]+"/g)).size

const FAULTS: [name: string, fault: Answers][] = [
  ['503', (_request, response) => answer(response, 503)],
  ['429', (_request, response) => answer(response, 429, '', { 'retry-after': '0' })],
  [
    '413 for all that is more than one',
    (request, response) => answer(response, ids(request.text) > 1 ? 413 : 503),
  ],
  ['cut before the answer', (_request, _response, socket) => socket.destroy()],
  [
    'cut in the answer',
    (_request, response, socket) => {
      response.writeHead(200, { 'content-length': '1000' })
      response.write('{"it', () => socket.destroy())
    },
  ],
  ['slower than the timeout', () => undefined],
  ['401', (_request, response) => answer(response, 401)],
]

const RETRY = {
  retry: { period: '1ms', max_backoff: '20ms' },
  timeout: '200ms',
  batching: { at_period: '5ms', at_count: 20 },
}

test('whatever a receiver does: nothing lost, nothing out of order, decisions as ever', async () => {
  const [opa, hec, bulk] = await Promise.all([
    patient(idsOfArray, (_request, response) => answer(response, 200)),
    patient(idsOfHec, (_request, response) => answer(response, 200, { text: 'Success', code: 0 })),
    patient(idsOfBulk, created),
  ])
  const receivers = [opa, hec, bulk]
  const sidecar = await start({
    upstream: upstream.url,
    jwks: issuer.jwks,
    config: {
      plugins: {
        mcp: { limits: { identity_per_second: 10_000 } },
        mcp_audit: {
          shutdown_grace_period: '20s',
          output: [
            { type: 'http', url: `${opa.url}/logs`, ...RETRY },
            { type: 'splunk', url: `${hec.url}/services/collector/event`, token: 't', ...RETRY },
            { type: 'elasticsearch', url: bulk.url, ...RETRY },
          ],
        },
      },
    },
  })
  const client = await connect(sidecar.url)
  const attempts = () => receivers.map(({ requests }) => requests.length)
  for (const [name, fault] of FAULTS) {
    for (const receiver of receivers) receiver.fail(fault)
    const before = attempts()
    for (let i = 0; i < 10; i++) {
      // A decision is what it always is, while all three are away.
      await client.allowed()
      await client.denied()
    }
    await expect
      .poll(() => attempts().every((count, at) => count > (before[at] ?? 0) + 2), {
        timeout: 15_000,
        message: name,
      })
      .toBe(true)
    for (const receiver of receivers) receiver.fail()
    for (let i = 0; i < 3; i++) await client.allowed()
  }
  // None was taken for a record that is never taken.
  const dead = await (await fetch(`${sidecar.admin}/metrics`)).text()
  expect([...dead.matchAll(/^mcp_sink_dead_letters_total\{.*\} (\d+)$/gm)].map(([, count]) => count)).toEqual(
    ['0', '0', '0'],
  )
  const written = sidecar.records().length
  expect(written).toBeGreaterThan(FAULTS.length * 30)
  expect(await sidecar.stop()).toBe(0)

  const wanted = sidecar.records().map(({ custom }) => custom.event_id as string)
  for (const { taken, close } of receivers) {
    // What is twice is there with the same id, and the first of each in the order of the record.
    expect([...new Set(taken)]).toEqual(wanted)
    await close()
  }
})

test('item errors and one record that is never taken do not hold up the rest', async () => {
  const poison = new Set<string>()
  const items: Answers = (request, response) => {
    const ids = idsOfBulk(request)
    const documents = request.text.split('\n').filter((_line, at) => at % 2 === 1)
    answer(response, 200, {
      errors: true,
      items: ids.map((id, at) => {
        if (documents[at]?.includes('"delete_repository"')) {
          poison.add(id)
          return { create: { status: 400, error: { type: 'document_parsing_exception', reason: 'no' } } }
        }
        // Half of the others are refused for now.
        if (at % 2 === 1)
          return { create: { status: 429, error: { type: 'es_rejected_execution_exception', reason: 'q' } } }
        created_ids.push(id)
        return { create: { status: 201 } }
      }),
    })
  }
  const created_ids: string[] = []
  const bulk = await startReceiver(items)
  const folder = mkdtempSync(join(tmpdir(), 'mcp-outage-'))
  const sidecar: Sidecar = await start({
    upstream: upstream.url,
    jwks: issuer.jwks,
    config: {
      plugins: {
        mcp_audit: {
          shutdown_grace_period: '20s',
          buffer: { path: join(folder, 'spool') },
          output: [{ type: 'opensearch', url: bulk.url, ...RETRY }],
        },
      },
    },
  })
  const client = await connect(sidecar.url)
  for (let i = 0; i < 5; i++) {
    await client.allowed()
    await client.denied()
  }
  expect(await sidecar.stop()).toBe(0)
  const wanted = sidecar.records().map(({ custom }) => custom.event_id as string)
  expect(new Set([...created_ids, ...poison])).toEqual(new Set(wanted))
  const letters = readFileSync(join(folder, 'spool/dead-letters/opensearch.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
  expect(letters.map((text) => JSON.parse(text).event_id)).toEqual([...poison])
  expect(poison.size).toBe(5)
  await bulk.close()
  rmSync(folder, { recursive: true })
})

test('a sidecar that is killed in an outage goes on where it was', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-killed-'))
  const opa = await patient(idsOfArray, (_request, response) => answer(response, 200))
  const config = {
    plugins: {
      mcp_audit: {
        shutdown_grace_period: '20s',
        buffer: { path: join(folder, 'spool') },
        output: [{ type: 'http', url: `${opa.url}/logs`, ...RETRY }],
      },
    },
  }
  const options = { upstream: upstream.url, jwks: issuer.jwks, config }
  const first = await start(options)
  const client = await connect(first.url)
  await client.allowed()
  opa.fail((_request, response) => answer(response, 503))
  for (let i = 0; i < 20; i++) await client.allowed()
  // On disk within 100 ms; what is only with the kernel is there after a kill too.
  expect(await first.stop('SIGKILL')).toBe('SIGKILL')
  opa.fail()
  const second = await start(options)
  await (await connect(second.url)).allowed()
  expect(await second.stop()).toBe(0)
  expect([...new Set(opa.taken)]).toEqual(second.records().map(({ custom }) => custom.event_id as string))
  await opa.close()
  rmSync(folder, { recursive: true })
})

test('memory is flat while a receiver is away and the spool grows', async () => {
  const root = fileURLToPath(new URL('../../../../', import.meta.url))
  // In a process of its own, where garbage can be collected before it is measured.
  const code = `
    import { mkdtempSync, rmSync } from 'node:fs'
    import { tmpdir } from 'node:os'
    import { setTimeout as sleep } from 'node:timers/promises'
    import { openSpool } from './src/edge/audit/spool.ts'
    import { startSinks } from './src/edge/audit/sinks/open.ts'
    import { lifecycleEvent } from './src/log/event.ts'
    const folder = mkdtempSync(tmpdir() + '/mcp-flat-')
    const line = (code) => lifecycleEvent({ labels: {}, bundles: {} }, { decision_id: 'd', event_id: 'e', time_ms: 0 }, { code })
    const spool = openSpool({ folder, durability: 'process', maxBytes: 2 ** 30, segmentBytes: 8 << 20, segmentAge: 1e9,
      maxAge: 1e9, reserveBytes: 0, whenFull: 'refuse' }, { say: line, now: Date.now, newId: () => 'id' })
    const to = { url: new URL('http://127.0.0.1:1/logs'), headers: {}, tls: {}, timeout: 1000, compress: true }
    const runner = { batching: { count: 1000, bytes: 256 << 10, period: 0 }, backoff: { least: 1, most: 2, slow: 2 } }
    const sinks = startSinks([{ name: 'away', type: 'http', schema: 'native', to, limit: 32768, runner }], folder,
      spool.reader, { stdout: process.stdout, version: '1' }, () => {})
    const measure = async () => { gc(); await sleep(20); gc(); return process.memoryUsage().heapUsed + process.memoryUsage().external }
    const text = 'x'.repeat(2000)
    const write = async (count) => { for (let i = 0; i < count; i += 100) await Promise.all(Array.from({ length: 100 }, () => spool.record(line(text), 'required'))) }
    await write(2000)
    while (sinks.state()[0].retries < 200) await sleep(5)
    const before = await measure()
    await write(20000)
    const until = sinks.state()[0].retries + 200
    while (sinks.state()[0].retries < until) await sleep(5)
    const after = await measure()
    const { behind } = sinks.state()[0]
    await spool.close()
    await sinks.stop(0)
    rmSync(folder, { recursive: true })
    console.log(JSON.stringify({ before, after, waiting: behind.bytes }))`
  const child = spawn(process.execPath, ['--expose-gc', '--input-type=module', '-e', code], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let out = ''
  for await (const part of child.stdout.setEncoding('utf8')) out += part
  const { before, after, waiting } = JSON.parse(out)
  expect(waiting).toBeGreaterThan(40_000_000)
  // A tenth of what waits would be a queue in memory.
  expect(after - before).toBeLessThan(waiting / 10)
}, 60_000)
