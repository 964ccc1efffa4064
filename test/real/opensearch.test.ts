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
      readSection({ output: [{ type: 'opensearch', url }] }, '', faults),
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
