import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { parse } from 'yaml'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'mcp-siem-'))
const ends: (() => unknown)[] = []
afterAll(async () => {
  for (const end of ends.reverse()) await end()
  rmSync(folder, { recursive: true })
})
const template = join(root, 'deploy/siem/opensearch/index-template.json')
const dashboard = join(root, 'deploy/siem/opensearch/dashboard.ndjson')

/** OpenSearch and its interface, by the letter of their documentation; each is away at its first request. */
async function serve() {
  const asked: string[] = []
  const there = new Set<string>()
  const server = createServer(async (request, answer) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const body = Buffer.concat(parts).toString('utf8')
    const { method, url = '' } = request
    const what = `${method} ${url}`
    const first = !asked.includes(what)
    asked.push(what)
    const end = (status: number, text: object) =>
      answer.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(text))
    if (what === 'PUT /_index_template/mcp-audit') {
      expect(JSON.parse(body)).toEqual(JSON.parse(readFileSync(template, 'utf8')))
      there.add('template')
      return end(200, { acknowledged: true })
    }
    if (what === 'PUT /_data_stream/logs-mcp.audit-default') {
      if (!there.has('template')) return end(400, { error: { type: 'illegal_argument_exception' } })
      if (there.has('stream')) return end(400, { error: { type: 'resource_already_exists_exception' } })
      there.add('stream')
      return end(200, { acknowledged: true })
    }
    if (what === 'POST /api/saved_objects/_import?overwrite=true') {
      if (first) return end(503, { message: 'OpenSearch Dashboards server is not ready yet' })
      expect(request.headers['osd-xsrf']).toBe('true')
      expect(body).toMatch(/name="file"; filename="dashboard\.ndjson"/)
      expect(body).toContain(readFileSync(dashboard, 'utf8').trim())
      there.add('dashboard')
      return end(200, { success: true })
    }
    return end(404, {})
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  ends.push(() => server.close())
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
}

const setup = (url: string, ready: string) => {
  const script = join(root, 'deploy/compose/siem-setup.mjs')
  const child = spawn(process.execPath, [script, url, url, template, dashboard, ready], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  ends.push(() => child.kill('SIGKILL'))
  return child
}

test('template, data stream and dashboard, in this order and again; then it is ready, and ends by SIGTERM', async () => {
  const { url, asked } = await serve()
  for (const name of ['first', 'again']) {
    asked.length = 0
    const ready = join(folder, name)
    const child = setup(url, ready)
    let said = ''
    for await (const text of child.stdout) {
      said += text
      if (said.includes('dashboard: ready')) break
    }
    expect(said).toContain('dashboard: 503')
    expect(asked).toEqual([
      'PUT /_index_template/mcp-audit',
      'PUT /_data_stream/logs-mcp.audit-default',
      'POST /api/saved_objects/_import?overwrite=true',
      'POST /api/saved_objects/_import?overwrite=true',
    ])
    await expect.poll(() => existsSync(ready)).toBe(true)
    child.kill('SIGTERM')
    expect(await once(child, 'exit')).toEqual([0, null])
  }
})

test('compose.yaml gives it what it reads, and records go to the stream that it makes', () => {
  const { services } = parse(readFileSync(join(root, 'compose.yaml'), 'utf8'), { merge: true }) as {
    services: Record<string, { command: string[]; environment: Record<string, string> }>
  }
  expect(services['siem-setup']?.command).toHaveLength(5)
  expect(services.siem?.environment['action.auto_create_index']).toBe('-logs-mcp.*,+*')
  // The output's own default is the same stream.
  expect(readFileSync(join(root, 'deploy/compose/siem-setup.mjs'), 'utf8')).toContain(
    "'logs-mcp.audit-default'",
  )
  expect(readFileSync(join(root, 'docs/configuration.md'), 'utf8')).toContain('`logs-mcp.audit-default`')
})
