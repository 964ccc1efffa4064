// The program itself, in front of an upstream that records: whatever bytes come, no request upstream without an allow
// that was on record before it.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createIssuer } from '../../test/support/assertions.ts'
import { createTail } from '../../test/support/log.ts'
import { postBytes, requestBytes, sendRaw } from '../../test/support/raw.ts'
import { defaultAnswer, startRecorder } from '../../test/support/recorder.ts'
import { startSidecar } from '../../test/support/sidecar.ts'
import { WORDS } from './parsers.ts'
import { hold, type Target } from './target.ts'

/** Methods that the table of methods lets through without asking the policy. */
const PROTOCOL = new Set([
  'ping',
  'notifications/initialized',
  'notifications/cancelled',
  'notifications/progress',
  'notifications/roots/list_changed',
])
/** What nobody of the assertion's groups may do. */
const DENIED = 'delete_repository'
/** Milliseconds within which everything must be answered or closed; a second, and a machine that is busy. */
const PATIENCE = 4_000

export async function http(): Promise<Target> {
  const issuer = createIssuer()
  const folder = await mkdtemp(join(tmpdir(), 'mcp-fuzz-http-'))
  const upstream = await startRecorder()
  const spool = join(folder, 'spool')
  const high = 1_000_000
  const sidecar = await startSidecar({
    upstream: upstream.url,
    jwks: issuer.jwks,
    config: {
      plugins: {
        mcp: { limits: { per_second: high, identity_per_second: high } },
        mcp_audit: { buffer: { path: spool } },
      },
    },
  })
  const added = createTail(spool)
  const faults: string[] = []
  const allowed = new Map<string, number>()
  /** Reads what the record has gained. */
  const follow = () => {
    for (const line of added()) {
      const event = JSON.parse(line)
      if (event.custom.event !== 'decision' || !event.result.allow) continue
      const key = `${event.input.method} ${event.input.tool?.name ?? ''}`
      allowed.set(key, (allowed.get(key) ?? 0) + 1)
    }
  }
  let seen = 0
  upstream.respond((request) => {
    seen++
    const { json } = request
    const method =
      request.method === 'POST' ? json?.method : request.method === 'GET' ? 'stream/open' : 'session/end'
    const name = method === 'tools/call' ? json?.params?.name : ''
    if (request.path !== '/mcp') faults.push(`another path: ${request.path}`)
    if (typeof method !== 'string') faults.push(`no message: ${request.body.slice(0, 100)}`)
    if (name === DENIED) faults.push('a denied tool was called')
    if (!PROTOCOL.has(method)) {
      follow()
      const key = `${method} ${name}`
      const left = (allowed.get(key) ?? 0) - 1
      if (left < 0) faults.push(`${key}: no allow was on record`)
      allowed.set(key, left)
    }
    return defaultAnswer(request)
  })

  const call = (name: string) => ({
    jsonrpc: '2.0',
    id: 1,
    method: 'tools/call',
    params: { name, arguments: { a: 1 } },
  })
  // As long a life as is believed: a run may be longer than Pomerium's five minutes.
  const assertion = issuer.mint({ exp: Math.floor(Date.now() / 1000) + 3500 })
  const chunked = (body: string) => `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`
  const seeds = [
    postBytes(assertion, call('get_me')),
    postBytes(assertion, call(DENIED)),
    Buffer.concat([postBytes(assertion, call('get_me')), postBytes(assertion, call(DENIED))]),
    postBytes(assertion, chunked(JSON.stringify(call(DENIED))), {
      'content-length': undefined,
      'transfer-encoding': 'chunked',
    }),
    postBytes(assertion, { jsonrpc: '2.0', id: 1, method: 'tools/list' }, { connection: 'close' }),
    postBytes(undefined, call('get_me')),
    requestBytes({
      method: 'GET',
      headers: [
        ['host', 'x'],
        ['x-pomerium-jwt-assertion', assertion],
        ['mcp-session-id', 'v1.AAAA'],
      ],
    }),
  ]
  return {
    name: 'http',
    seeds,
    words: [
      ...WORDS,
      '\r\n',
      '\n',
      '\r',
      '\r\n\r\n',
      'POST /mcp HTTP/1.1\r\n',
      'GET ',
      'HTTP/1.0',
      'HTTP/2.0',
      'Content-Length: 0\r\n',
      'Transfer-Encoding: chunked\r\n',
      'transfer-encoding: identity\r\n',
      'content-length: 5\r\n',
      'Expect: 100-continue\r\n',
      'Upgrade: h2c\r\n',
      'Connection: upgrade\r\n',
      '0\r\n\r\n',
      '1;x=y\r\na\r\n',
      'Content-Encoding: gzip\r\n',
      ' ',
      '\t',
      ':',
      'X_Pomerium_Jwt_Assertion: ',
      'x-pomerium-jwt-assertion: ',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      'http://evil/mcp',
      '/mcp?x',
      '//mcp',
      '%6dcp',
      `"${DENIED}"`,
      `,"Name":"${DENIED}"`,
      `,"name":"${DENIED}"`,
      'mcp-session-id: x\r\n',
      'last-event-id: 1\r\n',
      'Mcp-Method: tools/list\r\n',
    ],
    async check(input) {
      const { closed, answers } = await sendRaw(sidecar.port, input, {
        end: true,
        timeout: PATIENCE,
        answers: 99,
      })
      hold(closed, `neither answered nor closed after ${PATIENCE} ms (${answers.length} answers)`)
      hold(faults.length === 0, faults.join('; '))
    },
    async close() {
      // One that is in order, at the end: the process that took all of this still serves.
      const { answers } = await sendRaw(sidecar.port, postBytes(issuer.mint(), call('get_me')))
      const code = await sidecar.stop()
      await upstream.close()
      await rm(folder, { recursive: true, force: true })
      hold(answers[0]?.status === 200, 'it serves no more')
      hold(code === 0, `it ended with ${code}`)
      hold(seen > 0, 'nothing reached the upstream, so nothing was tested')
      hold(faults.length === 0, faults.join('; '))
    },
  }
}
