// What is ready-made for Prometheus, asked of a real one that scrapes a real sidecar.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { findPrometheus } from '../../tools/receivers/receivers.ts'
import { createIssuer, people } from '../support/assertions.ts'
import { freePort } from '../support/free-port.ts'
import { type Parsed, postBytes, sendRaw } from '../support/raw.ts'
import { answer, startReceiver } from '../support/receiver.ts'
import { startRecorder } from '../support/recorder.ts'
import { startSidecar } from '../support/sidecar.ts'

const prometheus = findPrometheus()
if (!prometheus.ok) console.warn(`SKIPPED: dashboards and alerts by a real Prometheus. ${prometheus.why}`)
const read = (name: string) => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8')
const panels = (JSON.parse(read('deploy/siem/grafana/dashboard.json')) as Parsed).panels.flatMap(
  ({ title, targets }: Parsed) =>
    targets.map(({ expr, legendFormat }: Parsed) => [title, expr, legendFormat]),
) as [title: string, expr: string, legend: string | undefined][]
/** Of the table of alerts; the last row has none. */
const alerts = [...read('docs/operate.md').matchAll(/^\| `([^`]+)` .*\|$/gm)].map(([, expr = '']) => expr)

describe.skipIf(!prometheus.ok)('a real Prometheus', () => {
  const ends: (() => unknown)[] = []
  let url = ''
  let metrics = ''
  const query = async (expr: string): Promise<Parsed[]> => {
    const answered = await fetch(`${url}/api/v1/query?query=${encodeURIComponent(expr)}`)
    const { status, data, error } = (await answered.json()) as Parsed
    expect(error).toBeUndefined()
    expect(status).toBe('success')
    return data.result
  }
  beforeAll(async () => {
    const issuer = createIssuer()
    const upstream = await startRecorder()
    const takes = await startReceiver((_request, response) => answer(response, 200))
    const away = await startReceiver((_request, response) => answer(response, 503))
    ends.push(upstream.close, takes.close, away.close)
    const output = (name: string, to: string) => ({
      type: 'http',
      name,
      url: `${to}/logs`,
      batching: { at_period: '0s' },
      retry: { period: '10ms', max_backoff: '100ms' },
    })
    const sidecar = await startSidecar({
      upstream: upstream.url,
      jwks: issuer.jwks,
      config: { plugins: { mcp_audit: { output: [output('takes', takes.url), output('away', away.url)] } } },
    })
    ends.push(() => sidecar.stop('SIGKILL'))
    const folder = mkdtempSync(join(tmpdir(), 'mcp-prometheus-'))
    ends.push(() => rmSync(folder, { recursive: true, force: true }))
    const config = {
      global: { scrape_interval: '1s' },
      scrape_configs: [{ job_name: 'mcp', static_configs: [{ targets: [new URL(sidecar.admin).host] }] }],
    }
    writeFileSync(join(folder, 'prometheus.yml'), JSON.stringify(config))
    const port = await freePort()
    const child = spawn(
      prometheus.ok ? prometheus.path : '',
      [
        `--config.file=${join(folder, 'prometheus.yml')}`,
        `--storage.tsdb.path=${join(folder, 'data')}`,
        `--web.listen-address=127.0.0.1:${port}`,
      ],
      { stdio: 'ignore' },
    )
    ends.push(async () => {
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
    })
    url = `http://127.0.0.1:${port}`
    metrics = await (await fetch(`${sidecar.admin}/metrics`)).text()
    const call = async (name: string, assertion = issuer.mint(people.mona)) => {
      const body = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: {} } }
      await sendRaw(sidecar.port, postBytes(assertion, body))
    }
    const work = async () => {
      await call('get_me')
      await call('delete_repository')
      await call('get_me', 'no assertion')
    }
    // The first of a series has no rate: what is counted must be seen to rise.
    const rises = async () => {
      await work()
      const found = await fetch(`${url}/api/v1/query?query=rate(mcp_refusals_total[5m])>0`).catch(
        () => undefined,
      )
      return found?.ok ? ((await found.json()) as Parsed).data.result.length : 0
    }
    await vi.waitUntil(async () => (await rises()) > 0, { timeout: 50_000, interval: 500 })
  })
  afterAll(async () => {
    for (const end of ends.splice(0).reverse()) await end()
  })

  test.each(panels)('Grafana, %s: %s has data, and what the legend names', async (_title, expr, legend) => {
    await expect.poll(async () => (await query(expr)).length, { timeout: 15_000 }).toBeGreaterThan(0)
    for (const { metric, value } of await query(expr)) {
      expect(Number.isFinite(Number(value[1]))).toBe(true)
      for (const [, label = ''] of (legend ?? '').matchAll(/\{\{\s*(\w+)\s*\}\}/g))
        expect(metric).toHaveProperty(label)
    }
  })

  test('the panels tell who takes records and who does not', async () => {
    const up = await query('min by (sink) (mcp_sink_up)')
    expect(Object.fromEntries(up.map(({ metric, value }) => [metric.sink, value[1]]))).toEqual({
      takes: '1',
      away: '0',
    })
    expect(
      Number((await query('max by (sink) (mcp_sink_lag_seconds{sink="away"})'))[0].value[1]),
    ).toBeGreaterThan(0)
    const outcomes = await query('sum by (outcome) (mcp_messages_total)')
    expect(outcomes.map(({ metric }) => metric.outcome)).toEqual(
      expect.arrayContaining(['allowed', 'denied', 'rejected']),
    )
  })

  test.each(alerts)(
    'the alert %s is a query of metrics that there are, and silent while all is well',
    async (expr) => {
      expect(await query(expr)).toEqual([])
      const names = [...expr.matchAll(/\b(?:mcp|plugin|bundle)_[a-z_]+/g)].map(([name]) => name)
      expect(names.length).toBeGreaterThan(0)
      for (const name of names) expect(metrics).toMatch(new RegExp(`^# TYPE ${name} `, 'm'))
    },
  )
})
