import { spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { afterAll, describe, expect, test } from 'vitest'
import { createOtlpSink } from '../../src/edge/audit/sinks/otlp.ts'
import { toOtel } from '../../src/log/projections/otel.ts'
import { findRotel } from '../../tools/receivers/receivers.ts'
import { EVENTS } from '../support/events.ts'
import { linesOf } from '../support/source.ts'

const rotel = findRotel()
if (!rotel.ok) console.warn(`SKIPPED: OTLP against a real receiver. ${rotel.why}`)
const ends: (() => unknown)[] = []
afterAll(async () => {
  for (const end of ends.splice(0)) await end()
})

const freePort = () =>
  new Promise<number>((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })

/** A receiver that prints every record that it got. */
const start = async (path: string) => {
  const [http, grpc] = [await freePort(), await freePort()]
  const child = spawn(
    path,
    [
      ...['start', '--otlp-http-endpoint', `127.0.0.1:${http}`, '--otlp-grpc-endpoint', `127.0.0.1:${grpc}`],
      ...['--exporter', 'blackhole', '--debug-log', 'logs', '--debug-log-verbosity', 'detailed'],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  ends.push(() => child.kill('SIGKILL'))
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (part: string) => {
      text += part
    })
  return { url: `http://127.0.0.1:${http}/v1/logs`, said: () => text }
}

describe.skipIf(!rotel.ok)('a real OTLP receiver', () => {
  test.each([true, false])(
    'takes every kind of record and reads its attributes (gzip: %j)',
    async (compress) => {
      const { url, said } = await start(rotel.ok ? rotel.path : '')
      const to = { url: new URL(url), headers: {}, tls: {}, timeout: 5_000, compress }
      const sink = createOtlpSink('otlp', to, '0.1.0', ({ event, text }) => toOtel(event, text))
      ends.push(sink.close)
      const batch = linesOf(EVENTS.map(([, line]) => line))
      await expect
        .poll(() => sink.send(batch, new AbortController().signal), { timeout: 15_000, interval: 200 })
        .toMatchObject({
          kind: 'accepted',
        })
      await expect.poll(said, { timeout: 10_000 }).toContain('mcp.audit.checkpoint')
      for (const [, line] of EVENTS) expect(said()).toContain(JSON.parse(line).custom.event_id)
      for (const has of [
        'gen_ai.tool.name',
        'merge_pull_request',
        'mcp.method.name',
        'execute_tool',
        '0af7651916cd43dd8448eb211c80319c',
        'service.instance.id',
        'mcp.policy.reasons',
      ])
        expect(said()).toContain(has)
    },
  )
})
