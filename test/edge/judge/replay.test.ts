import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createReplayGuard } from '../../../src/edge/judge/replay.ts'
import { finishLine, type OpenLine } from '../../../src/log/event.ts'
import type { Identity } from '../../../src/pdp/identity.ts'
import type { Judgement } from '../../../src/pep/ports.ts'
import { createIssuer } from '../../support/assertions.ts'
import { postBytes, sendRaw } from '../../support/raw.ts'
import { type Recorder, startRecorder } from '../../support/recorder.ts'
import { type Sidecar, startSidecar } from '../../support/sidecar.ts'

const identity: Identity = { source: 'pomerium', subject: 'a', groups: [], claims: {} }
const line = JSON.stringify({ custom: { event: 'decision' } }).slice(0, -2) as OpenLine
const decided = (jti: string, expires = 300): Judgement => ({
  kind: 'decided',
  identity,
  decision: { allow: true, reasons: [] },
  line,
  assertion: { jti, expires },
})
const guard = (mode: 'record' | 'refuse', entries = 1000) => {
  const at = { now: 0, counted: 0 }
  const check = createReplayGuard(
    { mode, entries },
    30,
    () => at.now,
    () => void at.counted++,
  )
  return { check, at }
}
const marked = (judged: Judgement) =>
  judged.kind === 'decided' && judged.line !== undefined && JSON.parse(finishLine(judged.line, 1)).custom

describe('the guard', () => {
  test('record: the second use is marked in its record, the first is not', () => {
    const { check, at } = guard('record')
    expect(marked(check(decided('x')))).toEqual({ event: 'decision', seq: 1 })
    expect(marked(check(decided('x')))).toEqual({ event: 'decision', assertion_replayed: true, seq: 1 })
    expect(marked(check(decided('y')))).toEqual({ event: 'decision', seq: 1 })
    expect(at.counted).toBe(1)
  })
  test('refuse: the second use is nobody’s', () => {
    const { check } = guard('refuse')
    expect(check(decided('x')).kind).toBe('decided')
    expect(check(decided('x'))).toEqual({ kind: 'unidentified', fault: 'assertion_replayed' })
    const protocol: Judgement = { kind: 'identified', identity, assertion: { jti: 'x', expires: 300 } }
    expect(check(protocol)).toEqual({ kind: 'unidentified', fault: 'assertion_replayed' })
  })
  test('what was not verified is not remembered', () => {
    const { check } = guard('refuse')
    const none: Judgement = { kind: 'unidentified', fault: 'assertion_signature' }
    expect(check(none)).toBe(none)
    expect(check(decided('x')).kind).toBe('decided')
  })
  test('full: refuse refuses what it could not tell again, record forgets; what has expired makes room', () => {
    const strict = guard('refuse', 10)
    for (let i = 0; i < 10; i++) expect(strict.check(decided(`${i}`)).kind).toBe('decided')
    expect(strict.check(decided('more'))).toEqual({ kind: 'unavailable', fault: 'replay_table_full' })
    strict.at.now = 329
    expect(strict.check(decided('more', 700))).toEqual({ kind: 'unavailable', fault: 'replay_table_full' })
    strict.at.now = 331
    expect(strict.check(decided('more', 700)).kind).toBe('decided')
    const lax = guard('record', 10)
    for (let i = 0; i < 1000; i++) expect(lax.check(decided(`${i}`)).kind).toBe('decided')
  })
})

describe('C6 through the program', () => {
  const issuer = createIssuer()
  let recorder: Recorder
  let [recording, refusing]: Sidecar[] = []
  beforeAll(async () => {
    recorder = await startRecorder()
    const start = (identity: object) =>
      startSidecar({
        upstream: recorder.url,
        jwks: issuer.jwks,
        config: { plugins: { mcp: { identity } } },
      })
    recording = await start({})
    refusing = await start({ replay: 'refuse' })
  })
  afterAll(async () => {
    await recording?.stop()
    await refusing?.stop()
    await recorder.close()
  })
  const call = (name: string) => ({
    jsonrpc: '2.0',
    id: 1,
    method: 'tools/call',
    params: { name, arguments: {} },
  })

  test('recorded, where that is all', async () => {
    const assertion = issuer.mint()
    for (const name of ['get_me', 'delete_repository'])
      await sendRaw(recording!.port, postBytes(assertion, call(name)))
    const decisions = recording!.records().filter(({ custom }) => custom.event === 'decision')
    expect(decisions.map(({ custom }) => custom.assertion_replayed)).toEqual([undefined, true])
    expect(await (await fetch(`${recording!.admin}/metrics`)).text()).toContain(
      'mcp_assertion_replays_total 1',
    )
  })

  test('refused, where that is configured: also at once, and in the other spelling of the signature', async () => {
    recorder.reset()
    const assertion = issuer.mint()
    const bytes = postBytes(assertion, call('get_me'))
    const answers = await Promise.all([1, 2, 3, 4, 5].map(() => sendRaw(refusing!.port, bytes)))
    const statuses = answers.map((one) => one.answers[0]?.status).sort()
    expect(statuses).toEqual([200, 403, 403, 403, 403])
    const twin = twinOf(assertion)
    expect(twin).not.toBe(assertion)
    const again = await sendRaw(refusing!.port, postBytes(twin, call('get_me')))
    expect(again.answers[0]?.json().error.data.reason).toBe('assertion_replayed')
    expect(recorder.requests()).toHaveLength(1)
  })
})

/** The other signature that holds: (r, n−s). */
function twinOf(assertion: string): string {
  const [header, payload, signature = ''] = assertion.split('.')
  const raw = Buffer.from(signature, 'base64url')
  const n = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
  const s = n - BigInt(`0x${raw.subarray(32).toString('hex')}`)
  const other = Buffer.concat([raw.subarray(0, 32), Buffer.from(s.toString(16).padStart(64, '0'), 'hex')])
  return `${header}.${payload}.${other.toString('base64url')}`
}
