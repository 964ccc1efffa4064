// Every client before every server: what it sees directly it sees with the sidecar between where the policy allows it,
// and reads why where it does not. docs/transports.md has the table.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createIssuer, people } from '../support/assertions.ts'
import { look, MATRIX_CLIENTS, type Target } from '../support/matrix.ts'
import { buildBundle, mainPolicy, noOpa } from '../support/policy.ts'
import { type Sidecar, startSidecar } from '../support/sidecar.ts'
import { startV1Server, startV1SseServer, type TestServer } from '../support/v1-server.ts'
import { startV2Server } from '../support/v2-server.ts'

const SERVERS: [name: string, kind: Target['kind'], start: (() => Promise<TestServer>) | undefined][] = [
  ['v1 with sessions', 'http', startV1Server],
  ['v2 stateless', 'http', () => startV2Server(false)],
  ['v2 with sessions', 'http', () => startV2Server(true)],
  ['v1 HTTP with SSE', 'sse', startV1SseServer],
  ['v1 stdio', 'stdio', undefined],
  ['v2 stdio', 'stdio', undefined],
]
/** One of 2026-07-28 only does not speak to a server that knows no such revision, with or without a sidecar. */
const IMPOSSIBLE = ['v2 pinned, v1 with sessions', 'v2 pinned, v1 HTTP with SSE', 'v2 pinned, v1 stdio']
const POLICY = `answer := {"allow": false, "reasons": [{"code": "no_deleting", "title": "Nothing is deleted here"}]} if {
	input.tool.name == "delete_all"
	input.identity.subject == "${people.bot.sub}"
} else := {"allow": true}`
const STDIO_SERVER = 'test/support/stdio-server.ts'

describe.skipIf(noOpa).each(SERVERS)('before %s', (server, kind, startServer) => {
  const issuer = createIssuer()
  let upstream: TestServer | undefined
  let sidecar: Sidecar | undefined
  let bundle: Awaited<ReturnType<typeof buildBundle>>
  let folder: string
  const env = { PATH: process.env.PATH ?? '' }
  const program = [STDIO_SERVER, server === 'v1 stdio' ? 'v1' : 'dual']

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'mcp-matrix-'))
    bundle = await buildBundle({ 'main.rego': mainPolicy(POLICY) })
    upstream = await startServer?.()
    const command = [process.execPath, ...program]
    sidecar = await startSidecar({
      upstream: upstream?.url,
      jwks: issuer.jwks,
      config: {
        bundles: { mcp: { resource: bundle.path } },
        plugins: {
          mcp: {
            upstream: {
              ...(kind === 'stdio' && { command }),
              ...(kind === 'sse' && { transport: 'sse' }),
              timeout: '30s',
            },
          },
        },
      },
    })
  }, 60_000)
  afterAll(async () => {
    await sidecar?.stop()
    await upstream?.close()
    await bundle?.dispose()
    rmSync(folder, { recursive: true, force: true })
  })

  const direct = (): Target =>
    kind === 'stdio' ? { kind, args: program, env } : { kind, url: upstream?.url ?? '' }
  const overHttp = (who: 'alice' | 'bot'): Target => ({
    kind: kind === 'sse' ? 'sse' : 'http',
    url: sidecar?.url ?? '',
    mint: () => issuer.mint(people[who]),
  })
  const overStdio = (who: 'alice' | 'bot'): Target => {
    const ours = ['src/main.ts', 'stdio', '-b', bundle.path, '--server', 'test', '--subject', people[who].sub]
    const spool = [
      '--spool',
      join(folder, `${who}-${Math.random()}`),
      '--set',
      'plugins.mcp.evaluation.deadline=5s',
    ]
    const to = kind === 'stdio' ? ['--', process.execPath, ...program] : ['--upstream', upstream?.url ?? '']
    return { kind: 'stdio', args: [...ours, ...spool, ...to], env }
  }
  /** HTTP with SSE goes to HTTP with SSE only. */
  const ways: [string, (who: 'alice' | 'bot') => Target][] = [
    ['HTTP', overHttp],
    ...(kind === 'sse' ? [] : [['stdio', overStdio] as [string, typeof overStdio]]),
  ]

  test.each(MATRIX_CLIENTS)('a %s client', { timeout: 120_000 }, async (client, connect) => {
    // Where each request stands for itself, nothing brings the answer of a legacy client back to who asked.
    const asks = !(server === 'v2 stateless' && ['v1', 'v2 legacy'].includes(client))
    const plain = await look(connect, direct(), asks)
    const impossible = IMPOSSIBLE.includes(`${client}, ${server}`)
    expect('connect' in plain, JSON.stringify(plain)).toBe(impossible)
    if (!impossible) expect(JSON.stringify(plain.delete)).toContain('all is gone')
    for (const [way, target] of ways) {
      const allowed = await look(connect, target('alice'), asks)
      if (impossible) expect(Object.keys(allowed), way).toEqual(['connect'])
      else expect(allowed, way).toEqual(plain)
      const denied = await look(connect, target('bot'), asks)
      if (impossible) continue
      expect(denied, way).toEqual({ ...plain, delete: expect.objectContaining({ isError: true }) })
      expect(JSON.stringify(denied.delete), way).toContain('Nothing is deleted here [no_deleting]')
    }
  })
})
