import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openSink } from '../../src/edge/audit/sinks/open.ts'
import { readOutputs } from '../../src/edge/audit/sinks/settings.ts'
import type { Sink } from '../../src/edge/audit/sinks/sink.ts'
import { readSection } from '../../src/edge/settings.ts'
import { findOpenSearch } from '../../tools/receivers/receivers.ts'
import { EVENTS } from '../support/events.ts'
import type { Parsed } from '../support/raw.ts'
import { linesOf, recordLine } from '../support/source.ts'

const found = await findOpenSearch()
const why = found.ok
  ? process.env.SINKS_REAL
    ? undefined
    : 'it takes a minute: npm run sinks:real'
  : found.why
if (why !== undefined) console.warn(`SKIPPED: bulk requests against a real OpenSearch. ${why}`)

describe.skipIf(why !== undefined)('a real OpenSearch', () => {
  const ends: (() => unknown)[] = []
  let url = ''
  let sink: Sink
  const ask = async (path: string, body?: object, method = body ? 'POST' : 'GET') => {
    const answered = await fetch(`${url}${path}`, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(body && { body: JSON.stringify(body) }),
    })
    return (await answered.json()) as Record<string, never>
  }
  beforeAll(async () => {
    const folder = mkdtempSync(join(tmpdir(), 'mcp-opensearch-'))
    const base = 9_200 + Math.floor(Math.random() * 80)
    const path = found.ok ? found.path : ''
    const child = spawn(
      'java',
      ['-Xmx1g', '-cp', `${path}/lib/*`, join(path, 'OpenSearch.java'), folder, String(base)],
      {
        cwd: folder,
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    )
    ends.push(async () => {
      child.removeAllListeners('exit')
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
      rmSync(folder, { recursive: true, force: true })
    })
    await new Promise<void>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`OpenSearch ended with ${code}`)))
      child.stdout.setEncoding('utf8').on('data', (text: string) => text.includes('READY') && resolve())
    })
    url = `http://127.0.0.1:${base + 1}`
    const template = JSON.parse(
      readFileSync(new URL('../../deploy/siem/opensearch/index-template.json', import.meta.url), 'utf8'),
    )
    expect(await ask('/_index_template/mcp-audit', template, 'PUT')).toEqual({ acknowledged: true })
    const faults: string[] = []
    const [output] = readOutputs(
      readSection({ output: [{ type: 'opensearch', url, timeout: '1m' }] }, '', faults),
      readSection({}, '', faults),
      {},
    )
    expect(faults).toEqual([])
    if (output) sink = openSink(output, { stdout: process.stdout, version: '0.1.0' })
    ends.push(() => sink.close())
  }, 240_000)
  afterAll(async () => {
    for (const end of ends.splice(0).reverse()) await end()
  })
  const send = (texts: string[]) => sink.send(linesOf(texts), new AbortController().signal)
  const all = async (query: object = { match_all: {} }) => {
    await ask('/logs-mcp.audit-default/_refresh', {}, 'POST')
    const { hits } = (await ask('/logs-mcp.audit-default/_search', { size: 100, query })) as unknown as {
      hits: { hits: { _id: string; _source: object }[] }
    }
    return hits.hits
  }

  test('every kind of record is in the data stream, once, whatever is sent again', async () => {
    const lines = EVENTS.map(([, line]) => line)
    expect(await send(lines)).toMatchObject({ kind: 'accepted' })
    expect(await send(lines)).toMatchObject({ kind: 'accepted' })
    expect(new Set((await all()).map(({ _id }) => _id))).toEqual(
      new Set(lines.map((line) => JSON.parse(line).custom.event_id)),
    )
  })

  test('what a security team searches is found', async () => {
    const denied = await all({
      bool: { filter: [{ term: { 'event.type': 'denied' } }, { term: { 'mcp.event': 'decision' } }] },
    })
    expect(denied).toHaveLength(1)
    expect(await all({ term: { 'user.id': 'auth0|mona' } })).toHaveLength(3)
    expect(await all({ term: { 'mcp.arguments.repo': 'app' } })).toHaveLength(3)
  })

  /** The search that a visualization makes of its state: its aggregations, one within the other. */
  const searchOf = (attributes: Parsed) => {
    const { query } = JSON.parse(attributes.kibanaSavedObjectMeta.searchSourceJSON).query
    const { aggs } = JSON.parse(attributes.visState)
    const metrics = aggs
      .filter(({ schema, type }: Parsed) => schema === 'metric' && type !== 'count')
      .map(({ id, type, params }: Parsed) => [id, { [type]: { field: params.field } }])
    const inner = aggs
      .filter(({ schema }: Parsed) => schema !== 'metric')
      .reduceRight(
        (below: object | undefined, { id, type, params }: Parsed) => ({
          [`by ${id}`]: {
            ...(type === 'date_histogram'
              ? { auto_date_histogram: { field: params.field, buckets: 50 } }
              : {
                  terms: {
                    field: params.field,
                    size: params.size,
                    ...(params.missingBucket && { missing: params.missingBucketLabel }),
                  },
                }),
            aggs: Object.assign(Object.fromEntries(metrics), below),
          },
        }),
        undefined,
      )
    // The part of the language that is used says the same to both.
    const lucene = query.replaceAll(' : ', ':').replaceAll(' and ', ' AND ').replaceAll(' or ', ' OR ')
    return { size: 0, query: { query_string: { query: lucene } }, aggs: inner }
  }
  /** Rows of the table: the keys from the outside in, how many records, and the other numbers. */
  const rowsOf = (aggregations: Parsed, keys: unknown[] = []): unknown[][] => {
    const [, found] = Object.entries(aggregations).find(([name]) => name.startsWith('by ')) ?? []
    if (found === undefined) return []
    return (found as Parsed).buckets.flatMap(({ key, key_as_string, doc_count, ...rest }: Parsed) => {
      const below = rowsOf(rest, [...keys, key])
      const numbers = Object.values(rest as Record<string, Parsed>)
        .filter((value) => value && typeof value === 'object' && 'value' in value)
        .map(({ value }) => value)
      const isLeaf = !Object.keys(rest).some((name) => name.startsWith('by '))
      if (isLeaf) return doc_count > 0 ? [[...keys, key, doc_count, ...numbers]] : []
      return below
    })
  }
  const NODE = '0b7d1f6e-6a0e-4f3e-9d43-3f6b6f1d2c10'
  const ROWS: Record<string, unknown[][]> = {
    'mcp-decisions': [
      [expect.any(Number), 'allowed', 1],
      [expect.any(Number), 'allowed_dry_run', 1],
      [expect.any(Number), 'denied', 1],
    ],
    'mcp-denied': [
      ['auth0|mona', 'merge_pull_request', 'merge_not_granted', 1],
      ['auth0|mona', 'no tool', 'not_granted', 1],
    ],
    'mcp-tools': [['create_pull_request', 'auth0|mona', 1]],
    'mcp-rejects': [
      ['assertion_expired', 'reject', 1, 0, 1],
      ['assertion_missing', 'repeat', 1, 17, 0],
    ],
    'mcp-destructive': [['auth0|mona', 'create_pull_request', 1]],
    'mcp-gaps': [
      ['gap', 'records_lost', NODE, 1],
      ['lifecycle', 'bundle_activated', NODE, 1],
    ],
  }
  const objects = readFileSync(
    new URL('../../deploy/siem/opensearch/dashboard.ndjson', import.meta.url),
    'utf8',
  )
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Parsed)
    .filter(({ type }) => type === 'visualization')

  test('the dashboard has a panel for each', () =>
    expect(objects.map(({ id }) => id).sort()).toEqual(Object.keys(ROWS).sort()))

  test.each(objects.map(({ id, attributes }) => [id, attributes]))(
    'the panel %s shows what the records say',
    async (id, attributes) => {
      const resource = recordLine(
        30,
        {
          input: { method: 'resources/read', identity: { subject: 'auth0|mona' } },
          result: { allow: false, reasons: [{ code: 'not_granted', title: 'Nothing grants it' }] },
        },
        { event: 'decision', disposition: 'denied' },
      )
      if (id === 'mcp-denied') expect(await send([resource])).toMatchObject({ kind: 'accepted' })
      await ask('/logs-mcp.audit-default/_refresh', {}, 'POST')
      const { aggregations } = (await ask('/logs-mcp.audit-*/_search', searchOf(attributes))) as Parsed
      const sorted = (rows: unknown[][]) =>
        [...rows].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
      expect(sorted(rowsOf(aggregations))).toEqual(ROWS[id])
    },
  )

  test('arguments of one name and two types are no mapping error', async () => {
    const call = (seq: number, value: unknown) =>
      recordLine(seq, { input: { arguments: { value } } }, { event: 'decision' })
    expect(await send([call(1, 1), call(2, 'one'), call(3, { deep: [true] }), call(4, null)])).toMatchObject({
      kind: 'accepted',
    })
  })

  test('a document that does not fit is told from the rest', async () => {
    const bad = recordLine(21, { timestamp: 'yesterday' })
    const got = await send([recordLine(20), bad, recordLine(22)])
    expect(got).toMatchObject({ kind: 'partly', again: [] })
    expect(got.kind === 'partly' && [...got.refused.keys()]).toEqual([1])
  })
})
