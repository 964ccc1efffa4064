import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'
import { createIssuer } from '../support/assertions.ts'
import { startBulk } from '../support/bulk.ts'
import { startHec } from '../support/hec.ts'
import { answer, startReceiver } from '../support/receiver.ts'
import { sidecarConfig } from '../support/sidecar.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

/** `sinks test` of the real program with these outputs. */
const sinksTest = async (output: object[], args: string[] = ['test']) => {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-sinks-test-'))
  ends.push(() => rmSync(folder, { recursive: true }))
  const config = sidecarConfig(
    {
      upstream: 'http://127.0.0.1:1/mcp',
      jwks: createIssuer().jwks,
      config: { plugins: { mcp_audit: { output } } },
    },
    join(folder, 'spool'),
  )
  const file = join(folder, 'config.yaml')
  writeFileSync(file, JSON.stringify(config))
  return new Promise<{ code: number; stdout: string; stderr: string; folder: string }>((resolve) => {
    execFile(
      process.execPath,
      ['src/main.ts', 'sinks', ...args, '-c', file],
      { cwd: root, env: { PATH: process.env.PATH, HEC_TOKEN: 'tok-secret' } },
      (error, stdout, stderr) =>
        resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr, folder }),
    )
  })
}

test('each output gets one marked event; what came back is said, and no credential', async () => {
  const hec = await startHec({ token: 'tok-secret' })
  const bulk = await startBulk()
  const away = await startReceiver((_request, response) => answer(response, 401, '{"error":"no"}'))
  const otlp = await startReceiver((_request, response) => answer(response, 200, '{}'))
  ends.push(hec.close, bulk.close, away.close, otlp.close)
  const path = join(mkdtempSync(join(tmpdir(), 'mcp-file-')), 'events.jsonl')
  const { code, stdout, stderr, folder } = await sinksTest([
    { type: 'splunk', url: `${hec.url}/services/collector/event`, token: '${HEC_TOKEN}' },
    { type: 'opensearch', url: bulk.url },
    { type: 'http', url: `${away.url}/logs`, token: 'x-secret' },
    { type: 'otlp', url: `${otlp.url}/v1/logs` },
    { type: 'file', path, schema: 'ocsf' },
  ])
  expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
  const id = /^event_id (\S+)\n/.exec(stdout)?.[1] ?? ''
  expect(hec.indexed).toEqual([id])
  expect([...bulk.documents.keys()]).toEqual([id])
  expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({
    metadata: { uid: id },
    status_code: 'sink_test',
  })
  expect(otlp.requests[0]?.text).toContain('sink_test')
  expect(stdout).toMatch(
    /ok {3}splunk \(splunk, http:\/\/127\.0\.0\.1:\d+\/services\/collector\/event, native\): HTTP 200, code 0/,
  )
  expect(stdout).toMatch(/FAIL http \(http, .*\): HTTP 401: \{"error":"no"\}.*\n {5}look at url, credential/)
  expect(stdout).not.toContain('secret')
  // It is no part of the record.
  expect(existsSync(join(folder, 'spool'))).toBe(false)
})

test('one output by its name; all taken is exit code 0', async () => {
  const { code, stdout } = await sinksTest(
    [{ type: 'stdout' }, { type: 'http', url: 'http://127.0.0.1:1/logs' }],
    ['test', '--output', 'stdout'],
  )
  expect(code).toBe(0)
  expect(stdout).toMatch(/"code":"sink_test"[^\n]*\nok {3}stdout/)
  expect(stdout).not.toContain('127.0.0.1:1')
})

test.each([
  ['no word', [], [{ type: 'stdout' }], /say what to do with the sinks: sinks test/],
  ['no outputs', ['test'], [], /plugins\.mcp_audit\.output has no output/],
  [
    'an output that is not there',
    ['test', '--output', 'x'],
    [{ type: 'stdout' }],
    /there is no output x: stdout/,
  ],
])('wrong use, %s, is exit code 64', async (_name, args, output, says) => {
  const { code, stderr } = await sinksTest(output, args)
  expect(code).toBe(64)
  expect(stderr).toMatch(says)
})
