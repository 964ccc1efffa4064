import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { opaPath } from '../../tools/opa.ts'
import { createIssuer, people } from '../support/assertions.ts'
import { CLIENTS } from '../support/clients.ts'
import { buildBundle, mainPolicy, noOpa } from '../support/policy.ts'
import type { Parsed } from '../support/raw.ts'
import { answer, type Received, type Receiver, startReceiver } from '../support/receiver.ts'
import { startRecorder } from '../support/recorder.ts'
import { startSidecar } from '../support/sidecar.ts'

const MAIN = `
answer := {"allow": true} if input.method != "tools/call"
else := {"allow": false, "reasons": [{"code": "no", "title": "No"}]}
`
const LOG = `package system.log

# METADATA
# entrypoint: true
mask contains rule if {
	some rule in [
		"/input/arguments/body",
		"/input/arguments/none",
		{"op": "upsert", "path": "/input/identity/email", "value": "hidden"},
		{"op": "upsert", "path": "/input/arguments/made~1up", "value": [1, {"a": null}]},
		{"op": "upsert", "path": "/result/reasons/0/title", "value": "masked"},
	]
}
`
const ARGUMENTS = { body: 'private', title: 'public', n: 1.5, list: [1, 'two', null] }

type Sent = { request: Received; events: Parsed[] }

/** Events of one emitter, as they came over the wire. */
const sentTo = ({ requests }: Receiver): Sent[] =>
  requests
    .filter(({ url }) => url === '/logs')
    .map((request) => ({ request, events: JSON.parse(request.text) as Parsed[] }))

/** OPA's EventV1 (v1/plugins/logs): names and JSON types, and nothing else. */
const EVENT_V1: Record<string, string> = {
  ...{
    labels: 'object',
    decision_id: 'string',
    batch_decision_id: 'string',
    trace_id: 'string',
    span_id: 'string',
  },
  ...{ revision: 'string', bundles: 'object', path: 'string', query: 'string', input: 'any', result: 'any' },
  ...{
    mapped_result: 'any',
    nd_builtin_cache: 'any',
    intermediate_results: 'object',
    erased: 'array',
    masked: 'array',
  },
  ...{ error: 'any', requested_by: 'string', timestamp: 'string', metrics: 'object', req_id: 'number' },
  ...{ request_context: 'object', rule_labels: 'array', custom: 'object' },
}
const faultsOf = (event: Record<string, unknown>): string[] =>
  Object.entries(event).flatMap(([name, value]) => {
    const type = EVENT_V1[name]
    if (type === undefined) return [`${name} is no name of EventV1`]
    const is = Array.isArray(value) ? 'array' : typeof value
    return type === 'any' || type === is ? [] : [`${name} is a ${is}`]
  })

describe.skipIf(noOpa)('beside a real opa run --server with the same policy and mask', () => {
  const ends: (() => unknown)[] = []
  let ours: Sent
  let theirs: Sent
  beforeAll(async () => {
    const accept = (_request: Received, response: Parameters<typeof answer>[0]) => answer(response, 200)
    const [left, right] = [await startReceiver(accept), await startReceiver(accept)]
    const upstream = await startRecorder()
    const bundle = await buildBundle({ 'main.rego': mainPolicy(MAIN), 'log.rego': LOG })
    const issuer = createIssuer()
    const sidecar = await startSidecar({
      upstream: upstream.url,
      jwks: issuer.jwks,
      config: {
        bundles: { mcp: { resource: bundle.path } },
        plugins: {
          mcp_audit: {
            output: [{ type: 'http', url: `${left.url}/logs`, token: 'tok', events: ['decision'] }],
          },
        },
      },
    })
    ends.push(left.close, right.close, upstream.close, bundle.dispose)
    const client = await (CLIENTS[0] as (typeof CLIENTS)[number])[1](sidecar.url, () =>
      issuer.mint(people.mona),
    )
    await client.text('issue_write', ARGUMENTS)
    expect(await sidecar.stop()).toBe(0)
    const mine = sentTo(left)
    const event = mine.flatMap(({ events }) => events).find(({ input }) => input.tool?.name === 'issue_write')
    ours = { request: mine.at(-1)?.request as Received, events: [event] }

    // The question as it was, before it was masked.
    const identity = { ...event.input.identity, email: people.mona.email }
    const input = { ...event.input, identity, arguments: ARGUMENTS }
    const folder = mkdtempSync(join(tmpdir(), 'mcp-opa-'))
    ends.push(() => rmSync(folder, { recursive: true }))
    const config = {
      labels: { env: 'test' },
      services: { logs: { url: right.url, credentials: { bearer: { token: 'tok' } } } },
      decision_logs: { service: 'logs', reporting: { min_delay_seconds: 1, max_delay_seconds: 1 } },
    }
    // The same text: this OPA has no engine for WebAssembly.
    writeFileSync(join(folder, 'main.rego'), mainPolicy(MAIN))
    writeFileSync(join(folder, 'log.rego'), LOG)
    writeFileSync(join(folder, 'config.yaml'), JSON.stringify(config))
    const opa = spawn(
      await opaPath(),
      [
        'run',
        '--server',
        '--addr',
        `unix://${join(folder, 'opa.sock')}`,
        '-c',
        join(folder, 'config.yaml'),
        '-l',
        'error',
        join(folder, 'main.rego'),
        join(folder, 'log.rego'),
      ],
      { stdio: ['ignore', 'inherit', 'inherit'] },
    )
    ends.push(() => opa.kill('SIGKILL'))
    const { Agent, request } = await import('undici')
    const dispatcher = new Agent({ connect: { socketPath: join(folder, 'opa.sock') } })
    ends.push(() => dispatcher.destroy())
    const ask = (path: string, body?: object) =>
      request(`http://opa${path}`, {
        dispatcher,
        ...(body && {
          method: 'POST',
          body: JSON.stringify(body),
          headers: { 'content-type': 'application/json' },
        }),
      }).then(
        async ({ statusCode, body: read }) => {
          await read.dump()
          return statusCode
        },
        () => 0,
      )
    while ((await ask('/health')) !== 200) await sleep(100)
    expect(await ask('/v1/data/mcp/main/decision', { input })).toBe(200)
    await right.until(() => sentTo(right).length > 0)
    theirs = sentTo(right)[0] as Sent
  }, 60_000)
  afterAll(async () => {
    for (const end of ends.splice(0).reverse()) await end()
  })

  test('the event says the same: what was asked, answered, erased and masked', () => {
    const [mine] = ours.events
    const [its] = theirs.events
    for (const part of ['path', 'input', 'result'] as const) expect(mine[part], part).toEqual(its[part])
    expect([...mine.erased].sort()).toEqual([...its.erased].sort())
    expect([...mine.masked].sort()).toEqual([...its.masked].sort())
    expect(mine.input.arguments.body).toBeUndefined()
  })

  test('both have only names and types of EventV1', () => {
    expect(faultsOf(theirs.events[0])).toEqual([])
    expect(faultsOf(ours.events[0])).toEqual([])
    // What identifies an event is of the same form.
    expect(Date.parse(ours.events[0].timestamp)).toBeGreaterThan(0)
    expect(ours.events[0].bundles).toEqual({ mcp: expect.any(Object) })
  })

  test('the request is the same but for who sends it', () => {
    const shape = ({ request }: Sent) => {
      const { host: _, 'content-length': __, 'user-agent': ___, ...headers } = request.headers
      return {
        method: request.method,
        url: request.url,
        headers,
        array: Array.isArray(JSON.parse(request.text)),
      }
    }
    const { 'accept-encoding': _accept, connection: _theirs, ...itsHeaders } = shape(theirs).headers
    const { connection: _ours, ...headers } = shape(ours).headers
    expect({ ...shape(ours), headers }).toEqual({ ...shape(theirs), headers: itsHeaders })
    expect(gunzipSync(ours.request.raw).toString()).toBe(ours.request.text)
  })
})
