// What joins the record with the logs and traces of others, on every path out.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createIssuer } from '../support/assertions.ts'
import { postBytes, sendRaw } from '../support/raw.ts'
import { type Recorder, startRecorder } from '../support/recorder.ts'
import { type EventLine, type Sidecar, startSidecar } from '../support/sidecar.ts'

const issuer = createIssuer()
let upstream: Recorder
let sidecar: Sidecar
beforeAll(async () => {
  upstream = await startRecorder()
  sidecar = await startSidecar({ upstream: upstream.url, jwks: issuer.jwks })
})
afterAll(async () => {
  expect(await sidecar.stop()).toBe(0)
  await upstream.close()
})

const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const trace = (digit: string) => ({ trace_id: digit.repeat(32), span_id: digit.repeat(16) })
const parent = (digit: string) => `00-${digit.repeat(32)}-${digit.repeat(16)}-01`
/** The records of one call. */
const of = async (
  name: string,
  headers: Record<string, string>,
  meta?: object,
  assertion = issuer.mint(),
) => {
  const before = sidecar.records().length
  const params = { name, arguments: {}, ...(meta && { _meta: meta }) }
  await sendRaw(
    sidecar.port,
    postBytes(assertion, { jsonrpc: '2.0', id: 7, method: 'tools/call', params }, headers),
  )
  const added = () => sidecar.records().slice(before)
  const last = name === 'get_me' && assertion !== 'none' ? 'outcome' : undefined
  await expect
    .poll(() => added().some(({ custom }) => last === undefined || custom.event === last) && added().length)
    .toBeGreaterThan(0)
  return added().filter(({ custom }) => !['lifecycle', 'checkpoint'].includes(custom.event))
}
const traceIn = ({ trace_id, span_id }: EventLine) => ({ trace_id, span_id })
const none = { trace_id: undefined, span_id: undefined }

describe('the trace is that of _meta, else of the header', () => {
  test.each([
    ['both', { traceparent: parent('1') }, { traceparent: parent('2') }, trace('2')],
    ['the header alone', { traceparent: parent('1') }, undefined, trace('1')],
    ['_meta alone', {}, { traceparent: parent('2') }, trace('2')],
    ['_meta that is none', { traceparent: parent('1') }, { traceparent: 'x' }, trace('1')],
    ['a header that is none', { traceparent: '00-zz' }, undefined, none],
    ['zeros, which name no trace', { traceparent: parent('0') }, undefined, none],
    ['neither', {}, undefined, none],
  ])('%s', async (_name, headers, meta, expected) => {
    const events = await of('get_me', headers, meta)
    expect(events.map(({ custom }) => custom.event)).toEqual(['decision', 'outcome'])
    for (const event of events) expect(traceIn(event)).toEqual(expected)
    for (const event of await of('delete_repository', headers, meta)) expect(traceIn(event)).toEqual(expected)
  })

  test('a refusal before identity has that of the header', async () => {
    const [reject] = await of('get_me', { traceparent: parent('3') }, undefined, 'none')
    expect(reject?.custom.event).toBe('reject')
    expect(traceIn(reject as EventLine)).toEqual(trace('3'))
  })
})

test('Pomerium’s request id is in decision and refusal, so that both logs join', async () => {
  const [decision] = await of('delete_repository', { 'x-request-id': 'pomerium-1' })
  expect(decision?.input.http.request_id).toBe('pomerium-1')
  const [reject] = await of('get_me', { 'x-request-id': 'pomerium-2' }, undefined, 'none')
  expect(reject?.custom.request_id).toBe('pomerium-2')
})

test('a decision and its outcome have one decision id, and each event its own id and number', async () => {
  const [decision, outcome] = await of('get_me', {})
  expect(outcome?.decision_id).toBe(decision?.decision_id)
  const all = sidecar.records()
  expect(all.map(({ custom }) => custom.seq)).toEqual(all.map((_event, at) => at + 1))
  const ids = all.map(({ custom }) => custom.event_id as string)
  expect(new Set(ids).size).toBe(ids.length)
  for (const id of [...ids, ...all.map(({ decision_id }) => decision_id)]) expect(id).toMatch(UUID7)
})
