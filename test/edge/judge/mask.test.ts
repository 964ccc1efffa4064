// The policy's own mask and drop, in the real program: what they say is done, and what they cannot say hides the input.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Evaluator } from '../../../src/edge/judge/evaluator.ts'
import { createJudge } from '../../../src/edge/judge/judge.ts'
import { TooLate } from '../../../src/edge/judge/progress.ts'
import { startDemoServer } from '../../../tools/demo/server.ts'
import { createIssuer, people } from '../../support/assertions.ts'
import { questionOf, settingsOf } from '../../support/judging.ts'
import { buildBundle, ENDLESS, mainPolicy, noOpa } from '../../support/policy.ts'
import { type Sidecar, startSidecar } from '../../support/sidecar.ts'

const LOG = `package system.log

# METADATA
# entrypoint: true
mask contains rule if {
	not input.input.arguments.sheet
	some rule in ["/input/arguments/body", {"op": "upsert", "path": "/input/identity/email", "value": "hidden"}]
}

mask contains "no pointer" if input.input.arguments.sheet == "invalid"

mask contains "/input/arguments" if {
	input.input.arguments.sheet == "endless"
	count(${ENDLESS}) > 0
}

# METADATA
# entrypoint: true
drop if input.input.tool.name == "get_file_contents"
`
const MAIN = `
answer := {"allow": true, "audit": "best_effort"} if input.tool.name == "get_file_contents"
else := {"allow": true} if not input.arguments.deny
`

describe.skipIf(noOpa)('mask and drop', () => {
  let sidecar: Sidecar
  let bundle: Awaited<ReturnType<typeof buildBundle>>
  let server: Awaited<ReturnType<typeof startDemoServer>>
  const issuer = createIssuer()
  beforeAll(async () => {
    bundle = await buildBundle({ 'main.rego': mainPolicy(MAIN), 'log.rego': LOG })
    server = await startDemoServer()
    sidecar = await startSidecar({
      upstream: server.url,
      jwks: issuer.jwks,
      config: {
        bundles: { mcp: { resource: bundle.path } },
        plugins: { mcp: { evaluation: { deadline: '300ms' } } },
      },
    })
  }, 60_000)
  afterAll(async () => {
    await sidecar?.stop()
    await server?.close()
    await bundle?.dispose()
  })

  const call = async (name: string, args: object) => {
    const version = '2026-07-28'
    const meta = {
      'io.modelcontextprotocol/protocolVersion': version,
      'io.modelcontextprotocol/clientCapabilities': {},
    }
    const params = { name, arguments: args, _meta: meta }
    const response = await fetch(sidecar.url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        'x-pomerium-jwt-assertion': issuer.mint(people.alice),
        'mcp-protocol-version': version,
        'mcp-method': 'tools/call',
        'mcp-name': name,
        traceparent: '00-11111111111111111111111111111111-2222222222222222-01',
      },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params }),
    })
    await response.text()
    return response.status
  }
  /** The records of what was called with this mark in its arguments or after the mark before. */
  const added = async (work: () => Promise<unknown>, count: number) => {
    const before = sidecar.records().length
    await work()
    for (let tries = 0; sidecar.records().length < before + count && tries < 100; tries++)
      await new Promise((resolve) => setTimeout(resolve, 20))
    return sidecar.records().slice(before)
  }

  test('what the mask names is gone from the record, and the record says so', async () => {
    const [decision] = await added(
      () => call('create_issue', { owner: 'acme', repo: 'app', title: 'T', body: 'CANARY' }),
      2,
    )
    expect(decision).toMatchObject({
      input: { arguments: { owner: 'acme', title: 'T' }, identity: { email: 'hidden' } },
      erased: ['/input/arguments/body'],
      masked: ['/input/identity/email'],
    })
    expect(sidecar.spool()).not.toContain('CANARY')
    expect(Object.keys(decision ?? {}).at(-1)).toBe('custom')
  })

  test.each([
    ['an invalid rule', 'invalid', 'the mask has an invalid rule', true],
    ['a mask that does not end', 'endless', 'the mask was not evaluated', false],
  ])('%s: the event stays, its input does not', async (_, sheet, mask_error, allowed) => {
    const [decision] = await added(
      () => call('create_issue', { owner: 'acme', repo: 'app', title: 'CANARY', sheet }),
      1,
    )
    expect(decision).not.toHaveProperty('input')
    expect(decision).toMatchObject({
      result: { allow: allowed },
      custom: {
        mask_error,
        stripped: { method: 'tools/call', tool: 'create_issue', subject: expect.stringMatching(/^hmac:/) },
      },
    })
    expect(sidecar.spool()).not.toContain('CANARY')
  })

  test.each(['system/log/mask', 'system/log/drop'])(
    '%s that passes the deadline: what was allowed is denied',
    (slow) => {
      const evaluator: Evaluator = {
        evaluate(entrypoint) {
          if (entrypoint === slow) throw new TooLate(300)
          const decision = { allow: true, reasons: [], audit: 'best_effort' }
          return entrypoint === 'mcp/main/decision' ? [{ result: decision }] : [{ result: [] }]
        },
        spoiled: () => false,
        restore: () => undefined,
        entrypoints: ['mcp/main/decision', 'system/log/mask', 'system/log/drop'],
      }
      const ports = { keys: () => undefined, evaluator, now: Date.now, newId: () => 'id', evaluating() {} }
      const judge = createJudge({ ...settingsOf(), masks: true }, ports)
      const judged = judge(questionOf({ arguments: { title: 'CANARY' } }))
      expect(judged).toMatchObject({
        kind: 'decided',
        decision: { allow: false, reasons: [{ code: 'policy_error' }] },
      })
      const text = JSON.stringify(judged)
      expect(text).toContain('in time for the deadline of 300 ms')
      expect(text).not.toContain('CANARY')
    },
  )

  test('drop: a best-effort allow only', async () => {
    const [first, ...rest] = await added(
      () => call('get_file_contents', { owner: 'acme', repo: 'app', path: 'README.md' }),
      1,
    )
    expect(first?.custom.event).toBe('outcome')
    expect(rest).toEqual([])
    const denied = await added(() => call('create_issue', { deny: true }), 1)
    expect(denied[0]).toMatchObject({ result: { allow: false }, custom: { event: 'decision' } })
  })
})
