// How full the record is, and who is told of it when.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { isFilling, percentOf, roomOf } from '../../../src/edge/audit/room.ts'
import { openSpool, type Spool } from '../../../src/edge/audit/spool.ts'
import { newId } from '../../../src/edge/id.ts'
import { lifecycleEvent, ownEvent } from '../../../src/log/event.ts'
import { createIssuer } from '../../support/assertions.ts'
import { postBytes, sendRaw } from '../../support/raw.ts'
import { answer, startReceiver } from '../../support/receiver.ts'
import { startRecorder } from '../../support/recorder.ts'
import { startSidecar } from '../../support/sidecar.ts'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

const files = [
  { first: 1, bytes: 100 },
  { first: 11, bytes: 100 },
  { first: 21, bytes: 50 },
]
test.each([
  ['nothing is passed', 0, 1000, 1e9, { held: 250, left: 750 }],
  ['part of the first is', 9, 1000, 1e9, { held: 250, left: 750 }],
  ['the first is', 10, 1000, 1e9, { held: 150, left: 850 }],
  ['all is: the file that is written stays', 30, 1000, 1e9, { held: 50, left: 950 }],
  ['the limit is reached by what may be deleted', 30, 250, 1e9, { held: 50, left: 200 }],
  ['the limit is reached', 0, 250, 1e9, { held: 250, left: 0 }],
  ['it is beyond the limit', 0, 200, 1e9, { held: 250, left: 0 }],
  ['the disk is less than the limit', 10, 1000, 40, { held: 150, left: 40 }],
  ['the disk is full', 30, 1000, 0, { held: 50, left: 0 }],
])('room when %s', (_name, passed, limit, free, room) => {
  expect(roomOf(files, passed, limit, free)).toEqual(room)
})

test('it fills from 80 % on, until it is below 70 %', () => {
  const at = (percent: number) => ({ held: percent, left: 100 - percent })
  expect([79, 80, 100].map((percent) => isFilling(at(percent), false))).toEqual([false, true, true])
  expect([69, 70, 79].map((percent) => isFilling(at(percent), true))).toEqual([false, true, true])
  expect(percentOf({ held: 0, left: 0 })).toBe(100)
})

const open = () => {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-room-'))
  const told: string[] = []
  const origin = { labels: {}, bundles: {} }
  const facts = { decision_id: 'd', event_id: 'e', time_ms: 0 }
  const spool = openSpool(
    {
      folder,
      durability: 'process',
      maxBytes: 200_000,
      segmentBytes: 20_000,
      segmentAge: 3_600_000,
      maxAge: 3_600_000,
      reserveBytes: 0,
      whenFull: 'refuse',
      checkpointEvery: 10_000,
    },
    {
      say: (event, more) => ownEvent(origin, facts, event, more),
      now: Date.now,
      newId,
      told: ({ code }) => told.push(code),
    },
  )
  ends.push(() => rmSync(folder, { recursive: true }), spool.close)
  const write = async (lines: number) => {
    let kept = 0
    for (let i = 0; i < lines; i++)
      kept += Number(await spool.record(lifecycleEvent(origin, facts, { code: 'x'.repeat(900) }), 'required'))
    return kept
  }
  return { spool, told, write }
}
const allOf = async (spool: Spool, sink: ReturnType<Spool['reader']>) => {
  while (sink.position().seq < spool.state().seq) {
    await sink.wait()
    await sink.commit((await sink.read({ lines: 1000, bytes: 1 << 20 })).next)
  }
}

test('what every sink has passed fills nothing, however much of it is kept', async () => {
  const { spool, told, write } = open()
  spool.retain()
  expect(await write(400)).toBe(400)
  await expect.poll(() => spool.state().bytes - spool.state().room.held).toBeGreaterThan(100_000)
  await expect.poll(() => told).toContain('segment_deleted')
  expect(told).not.toContain('spool_filling')
  expect(spool.state()).toMatchObject({ warning: undefined, error: undefined })
})

test('a sink that is away fills it: told at 80 %, again when required records are refused, and when it is over', async () => {
  const { spool, told, write } = open()
  const sink = spool.reader('away')
  spool.retain()
  await write(170)
  await expect.poll(() => told).toEqual(['spool_filling'])
  expect(spool.state().warning).toMatch(/^the spool is [89]\d % full$/)
  expect(await write(60)).toBeLessThan(60)
  expect(told.slice(0, 2)).toEqual(['spool_filling', 'records_refused'])
  expect(spool.state().room.left).toBeLessThan(3_000)
  expect(spool.state().lostEver).toBeGreaterThan(0)
  await allOf(spool, sink)
  await expect.poll(() => write(1)).toBe(1)
  await expect.poll(() => told).toEqual(expect.arrayContaining(['spool_draining', 'records_taken_again']))
  expect(told).toContain('records_lost')
  expect(spool.state()).toMatchObject({ warning: undefined, error: undefined, lost: 0 })
  // Once each, however many records it was about.
  for (const code of ['spool_filling', 'records_refused', 'records_taken_again', 'spool_draining'])
    expect(told.filter((other) => other === code)).toEqual([code])
})

test('an operator sees it in the status, the metrics and the log of the process', async () => {
  const issuer = createIssuer()
  const upstream = await startRecorder()
  let away = true
  const receiver = await startReceiver((_request, response) => answer(response, away ? 503 : 200))
  ends.push(upstream.close, receiver.close)
  const sidecar = await startSidecar({
    upstream: upstream.url,
    jwks: issuer.jwks,
    config: {
      plugins: {
        mcp: { limits: { identity_per_second: 10_000 } },
        mcp_audit: {
          buffer: { max_bytes: 1 << 20, segment_bytes: 65_536, reserve_bytes: 0 },
          output: [
            {
              type: 'http',
              name: 'siem',
              url: `${receiver.url}/logs`,
              batching: { at_period: '0s' },
              retry: { period: '1ms', max_backoff: '20ms' },
            },
          ],
        },
      },
    },
  })
  ends.push(() => sidecar.stop('SIGKILL'))
  const status = async () => (await (await fetch(`${sidecar.admin}/v1/status`)).json()).result
  const metric = async (name: string) =>
    Number(
      new RegExp(`^${name}(?:\\{.*\\})? (.+)$`, 'm').exec(
        await (await fetch(`${sidecar.admin}/metrics`)).text(),
      )?.[1],
    )
  const args = Object.fromEntries(Array.from({ length: 5 }, (_, i) => [`part${i}`, 'x'.repeat(3_000)]))
  const call = async () => {
    const body = {
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: { name: 'delete_repository', arguments: args },
    }
    return (await sendRaw(sidecar.port, postBytes(issuer.mint(), body))).answers[0]?.status
  }
  expect((await status()).plugins.mcp_audit).toEqual({ state: 'OK' })
  while ((await metric('mcp_spool_left_bytes')) > 160_000) expect(await call()).toBe(200)
  await expect.poll(async () => (await status()).plugins.mcp_audit.state).toBe('WARN')
  const full = await status()
  expect(full.plugins.mcp_audit.message).toMatch(/^the spool is \d+ % full$/)
  expect(full.decision_logs).toMatchObject({
    code: 'decision_log_error',
    message: 'siem: HTTP 503',
    http_code: '503',
    spool: { max_bytes: 1 << 20, lost: 0, warning: full.plugins.mcp_audit.message },
    sinks: { siem: { type: 'http', up: false, error: 'HTTP 503', dead_letters: 0, events: 0 } },
  })
  expect(full.decision_logs.sinks.siem.waiting_bytes).toBeGreaterThan(700_000)
  expect(full.decision_logs.sinks.siem.retries).toBeGreaterThan(0)
  expect(await metric('mcp_spool_held_bytes')).toBeGreaterThan(700_000)
  expect(await metric('mcp_spool_lost_total')).toBe(0)
  const logs = () => sidecar.logs().map(({ msg }) => msg)
  expect(logs()).toContain('the record: spool_filling')
  away = false
  await expect.poll(async () => (await status()).plugins.mcp_audit.state, { timeout: 15_000 }).toBe('OK')
  expect((await status()).decision_logs.sinks.siem).toMatchObject({ up: true })
  expect(logs()).toContain('the record: spool_draining')
})
