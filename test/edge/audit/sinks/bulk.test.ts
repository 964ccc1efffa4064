import { afterEach, expect, test } from 'vitest'
import { createBulkSink } from '../../../../src/edge/audit/sinks/bulk.ts'
import { startBulk } from '../../../support/bulk.ts'
import { answer, startReceiver } from '../../../support/receiver.ts'
import { linesOf, recordLine } from '../../../support/source.ts'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})
const started = async <T extends { close: () => Promise<void> }>(starting: Promise<T>): Promise<T> => {
  const receiver = await starting
  ends.push(receiver.close)
  return receiver
}
const sinkTo = (url: string) => {
  const to = {
    url: new URL(url),
    headers: {},
    tls: {},
    timeout: 2_000,
    compress: true,
    credential: { header: 'authorization', prefix: 'ApiKey ', secret: { value: 'key' } },
  }
  const sink = createBulkSink('es', 'elasticsearch', to, 'logs-mcp.audit-default', ({ event, text }) =>
    JSON.stringify({ '@timestamp': event.timestamp, text }),
  )
  ends.push(sink.close)
  return sink
}
const never = new AbortController().signal
const batch = linesOf([1, 2, 3, 4].map((seq) => recordLine(seq)))
const seqIn = (document: Record<string, unknown>) => JSON.parse(String(document.text)).custom.seq

test('each event is created under its event_id; what comes again is there once', async () => {
  const { url, documents, conflicts, requests } = await started(startBulk())
  const sink = sinkTo(`${url}/`)
  expect((await sink.send(batch.slice(0, 3), never)).kind).toBe('accepted')
  expect((await sink.send(batch, never)).kind).toBe('accepted')
  expect([...documents.keys()]).toEqual(['e-1', 'e-2', 'e-3', 'e-4'])
  expect(conflicts()).toBe(3)
  expect(requests[0]?.headers).toMatchObject({ authorization: 'ApiKey key', 'content-encoding': 'gzip' })
})

test('200 with item errors: a mapping error is for good, 429 and 503 come again, the rest is taken', async () => {
  const { url } = await started(
    startBulk((document) => {
      if (seqIn(document) === 2)
        return { status: 400, type: 'document_parsing_exception', reason: 'failed to parse' }
      if (seqIn(document) === 3)
        return { status: 429, type: 'es_rejected_execution_exception', reason: 'queue full' }
      return undefined
    }),
  )
  expect(await sinkTo(url).send(batch, never)).toEqual({
    kind: 'partly',
    said: 'item status 400: document_parsing_exception',
    refused: new Map([[1, 'item status 400: document_parsing_exception: failed to parse']]),
    again: [2],
  })
})

test.each([
  [403, 'cluster_block_exception'],
  [400, 'index_closed_exception'],
  [403, 'security_exception'],
  [404, 'index_not_found_exception'],
  [503, 'unavailable_shards_exception'],
])('an item with %d %s is not the fault of the document', async (status, type) => {
  const { url } = await started(startBulk(() => ({ status, type, reason: 'x' })))
  expect(await sinkTo(url).send(batch, never)).toMatchObject({ kind: 'partly', again: [0, 1, 2, 3] })
})

test.each([
  ['no JSON', 'no'],
  ['fewer items than were sent', JSON.stringify({ errors: false, items: [{ create: { status: 201 } }] })],
  ['items without a status', JSON.stringify({ errors: false, items: [{}, {}, {}, {}] })],
  ['an empty object', '{}'],
  ['items that are none', JSON.stringify({ items: [null, 1, 'x', []] })],
  ['a status that is none', JSON.stringify({ items: Array(4).fill({ create: { status: '201' } }) })],
])('200 with %s is no acceptance', async (_name, body) => {
  const { url } = await started(startReceiver((_request, response) => answer(response, 200, body)))
  expect((await sinkTo(url).send(batch, never)).kind).toBe('retry')
})

test.each([
  [413, 'too_large'],
  [429, 'retry'],
  [503, 'retry'],
  [401, 'retry'],
  [403, 'retry'],
  [404, 'retry'],
  [400, 'refused'],
])('HTTP %d for all of it is %s', async (status, kind) => {
  const { url } = await started(startReceiver((_request, response) => answer(response, status, '{}')))
  expect((await sinkTo(url).send(batch, never)).kind).toBe(kind)
})
