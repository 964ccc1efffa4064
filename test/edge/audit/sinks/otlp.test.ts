import { afterEach, expect, test } from 'vitest'
import { createOtlpSink } from '../../../../src/edge/audit/sinks/otlp.ts'
import { toOtel } from '../../../../src/log/projections/otel.ts'
import { type Answers, answer, startReceiver } from '../../../support/receiver.ts'
import { linesOf, recordLine } from '../../../support/source.ts'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})
const never = new AbortController().signal
const batch = linesOf([recordLine(1), recordLine(2), recordLine(3, { labels: { id: 'another' } })])
const sendTo = async (answers: Answers) => {
  const { url, close, requests } = await startReceiver(answers)
  const to = { url: new URL(`${url}/v1/logs`), headers: {}, tls: {}, timeout: 2_000, compress: true }
  const sink = createOtlpSink('otlp', to, '0.1.0', ({ event, text }) => toOtel(event, text))
  ends.push(sink.close, close)
  return { got: await sink.send(batch, never), requests }
}

test('records are in the JSON encoding, grouped by what made them', async () => {
  const { got, requests } = await sendTo((_request, response) => answer(response, 200, '{}'))
  expect(got.kind).toBe('accepted')
  expect(requests[0]).toMatchObject({
    url: '/v1/logs',
    headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' },
  })
  const { resourceLogs } = JSON.parse(requests[0]?.text ?? '')
  expect(resourceLogs).toHaveLength(2)
  const [first] = resourceLogs
  expect(first.scopeLogs[0].scope).toEqual({ name: 'mcp-opa-sidecar', version: '0.1.0' })
  expect(first.resource.attributes).toContainEqual({
    key: 'service.instance.id',
    value: { stringValue: 'sidecar-1' },
  })
  expect(first.scopeLogs[0].logRecords[0]).toMatchObject({
    timeUnixNano: '1795379174009000000',
    body: { stringValue: batch[0]?.text },
  })
})

test.each([
  '',
  '{}',
  '{"partialSuccess":null}',
  '{"partialSuccess":{}}',
  '{"partialSuccess":{"errorMessage":"slow down"}}',
])('200 with %j is acceptance', async (body) => {
  expect((await sendTo((_request, response) => answer(response, 200, body))).got.kind).toBe('accepted')
})

test.each(['2', 2])(
  'rejected records (%j) are kept and not sent again, as the protocol asks',
  async (count) => {
    const body = { partialSuccess: { rejectedLogRecords: count, errorMessage: 'too old' } }
    const { got } = await sendTo((_request, response) => answer(response, 200, body))
    expect(got).toMatchObject({
      kind: 'partly',
      again: [],
      said: '2 of 3 records rejected, which ones is not said',
    })
    expect(got.kind === 'partly' && [...got.refused.values()]).toEqual(
      Array(3).fill(expect.stringContaining('too old')),
    )
  },
)

test.each(['ok', '[]', '{"partialSuccess":{"rejectedLogRecords":"many"}}'])(
  '200 with %j is no acceptance',
  async (body) => {
    expect((await sendTo((_request, response) => answer(response, 200, body))).got.kind).toBe('retry')
  },
)

test.each([
  [429, 'retry'],
  [502, 'retry'],
  [503, 'retry'],
  [504, 'retry'],
  [400, 'refused'],
  [413, 'too_large'],
])('HTTP %d is %s', async (status, kind) => {
  expect((await sendTo((_request, response) => answer(response, status, ''))).got.kind).toBe(kind)
})
