import { afterEach, expect, test } from 'vitest'
import { createSplunkSink, type SplunkSettings } from '../../../../src/edge/audit/sinks/splunk.ts'
import { concatenated, startHec } from '../../../support/hec.ts'
import { answer, startReceiver } from '../../../support/receiver.ts'
import { linesOf, recordLine } from '../../../support/source.ts'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})
const hec = async (more: Partial<Parameters<typeof startHec>[0]> = {}) => {
  const started = await startHec({ token: 'tok', ...more })
  ends.push(started.close)
  return started
}
const sinkTo = (url: string, more: Partial<SplunkSettings> = {}, token = 'tok') => {
  const sink = createSplunkSink(
    'splunk',
    {
      to: {
        url: new URL(`${url}/services/collector/event`),
        headers: {},
        credential: { header: 'authorization', prefix: 'Splunk ', secret: { value: token } },
        tls: {},
        timeout: 2_000,
        compress: true,
      },
      meta: { sourcetype: 'mcp_opa_sidecar' },
      ...more,
    },
    ({ text }) => text,
  )
  ends.push(sink.close)
  return sink
}
const never = new AbortController().signal
const batch = linesOf([recordLine(1), recordLine(2), recordLine(3)])

test('each event is in an envelope with its time and the ids as indexed fields; the record byte for byte', async () => {
  const { url, requests, indexed } = await hec({ indexes: ['mcp'] })
  const sink = sinkTo(url, { meta: { index: 'mcp', sourcetype: 'mcp_opa_sidecar', host: 'pod-1' } })
  expect(await sink.send(batch, never)).toEqual({
    kind: 'accepted',
    said: 'HTTP 200, code 0',
    detail: 'Success',
  })
  expect(indexed).toEqual(['e-1', 'e-2', 'e-3'])
  const [first = ''] = concatenated(requests[0]?.text ?? '')
  expect(first).toContain(`"event":${batch[0]?.text}`)
  expect(JSON.parse(first)).toMatchObject({
    time: 1_795_379_174.009,
    host: 'pod-1',
    index: 'mcp',
    sourcetype: 'mcp_opa_sidecar',
    fields: { event_id: 'e-1', decision_id: 'd-1' },
  })
})

test.each([
  ['a wrong token', 'no', {}, 'code 4'],
  ['an index that the token may not write', 'tok', { meta: { index: 'other', sourcetype: 'x' } }, 'code 7'],
])('%s is a setting: tried rarely, no record is given up for it', async (_name, token, more, code) => {
  const { url } = await hec({ indexes: ['mcp'] })
  expect(await sinkTo(url, more, token).send(batch, never)).toMatchObject({
    kind: 'retry',
    slow: true,
    said: expect.stringContaining(code),
  })
})

test.each([
  [503, 9, 'Server is busy', 'retry'],
  [500, 8, 'Internal server error', 'retry'],
  [503, 23, 'Server is shutting down', 'retry'],
  [429, 26, 'Queue is full', 'retry'],
  [413, 27, 'Request entity too large', 'too_large'],
  [400, 6, 'Invalid data format', 'refused'],
  [403, 1, 'Token disabled', 'retry'],
])('HTTP %d with code %d (%s) is %s', async (status, code, text, kind) => {
  const { url, refuse } = await hec()
  refuse({ status, code, text })
  expect(await sinkTo(url).send(batch, never)).toMatchObject({
    kind,
    said: `HTTP ${status}, code ${code}`,
    detail: text,
  })
})

test('where Splunk says which event is bad, that one is kept and the others are sent again', async () => {
  const { url } = await startReceiver((_request, response) =>
    answer(response, 400, { text: 'Invalid data format', code: 6, 'invalid-event-number': 1 }),
  )
  const got = await sinkTo(url).send(batch, never)
  expect(got).toMatchObject({ kind: 'partly', again: [0, 2] })
  expect(got.kind === 'partly' && [...got.refused.keys()]).toEqual([1])
})

test.each([1.5, -1, 3, '1', null, {}])(
  'an event number that is none (%j) is not believed',
  async (number) => {
    const { url, close } = await startReceiver((_request, response) =>
      answer(response, 400, { text: 'Invalid data format', code: 6, 'invalid-event-number': number }),
    )
    ends.push(close)
    expect((await sinkTo(url).send(batch, never)).kind).toBe('refused')
  },
)

test.each([
  ['a page of a proxy', '<html>ok</html>'],
  ['nothing', ''],
  ['JSON of somebody else', '{"ok":true}'],
])('200 with %s is no acceptance', async (_name, body) => {
  const { url, close } = await startReceiver((_request, response) => answer(response, 200, body))
  ends.push(close)
  expect(await sinkTo(url).send(batch, never)).toMatchObject({ kind: 'retry' })
})

const ACK = { channel: '5d1f1c0e-0000-4000-8000-000000000001', every: 1, within: 500 }

test('with acknowledgement a batch is taken when Splunk says that it is indexed', async () => {
  const { url, requests } = await hec({ ack: true })
  expect(await sinkTo(url, { ack: ACK }).send(batch, never)).toEqual({
    kind: 'accepted',
    said: 'indexed, acknowledgement 0',
  })
  expect(requests.map((request) => request.url)).toEqual([
    '/services/collector/event',
    '/services/collector/ack',
    '/services/collector/ack',
  ])
  expect(new Set(requests.map(({ headers }) => headers['x-splunk-request-channel']))).toEqual(
    new Set([ACK.channel]),
  )
})

test('an acknowledgement that does not come is a retry', async () => {
  const { url } = await hec({ ack: true, lose: () => true })
  expect(await sinkTo(url, { ack: { ...ACK, within: 30 } }).send(batch, never)).toMatchObject({
    kind: 'retry',
    said: 'acknowledgement 0 did not come within 30 ms',
  })
})

test('a token without acknowledgement where one is asked for is a setting', async () => {
  const { url } = await hec()
  expect(await sinkTo(url, { ack: ACK }).send(batch, never)).toMatchObject({ kind: 'retry', slow: true })
})

test('a token with acknowledgement where none is asked for is a setting', async () => {
  const { url } = await hec({ ack: true })
  expect(await sinkTo(url).send(batch, never)).toMatchObject({ kind: 'retry', slow: true })
})
