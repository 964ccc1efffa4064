import { expect, test } from 'vitest'
import { besideCandidate, type CandidatePorts, type Flip } from '../../../src/edge/bundles/candidate.ts'
import { decisionEvent, finishLine, type OpenLine } from '../../../src/log/event.ts'
import type { Judgement } from '../../../src/pep/ports.ts'
import { alice, questionOf } from '../../support/judging.ts'
import type { Parsed } from '../../support/raw.ts'

const origin = { labels: {}, bundles: { mcp: { revision: 'now' } } }
const question = questionOf({ tool: { name: 'merge', declared: 'listed' } })
const decided = (allow: boolean, code = 'x', revision = 'now'): Extract<Judgement, { kind: 'decided' }> => {
  const decision = { allow, reasons: [{ code, title: code, details: { of: 'values' } }] }
  const line = decisionEvent(
    origin,
    { decision_id: 'd-1', event_id: 'e', time_ms: 0 },
    'mcp/main/decision',
    { ...question.draft, identity: alice },
    decision,
    { eval_ns: 1, digest: (text) => text, digests: {} },
  )
  return { kind: 'decided', identity: alice, decision, line, revision }
}
const read = (line: OpenLine | undefined): Parsed =>
  line === undefined ? undefined : JSON.parse(finishLine(line, 1))

function beside(trial: Promise<Judgement>, enforced: Judgement | Promise<Judgement> = decided(true)) {
  const records: Parsed[] = []
  const flips: (Flip | undefined)[] = []
  const failures: string[] = []
  const ports: CandidatePorts = {
    ask: () => trial,
    record: (line) => void records.push(read(line)),
    origin: () => origin,
    compared: (_of, flip) => void flips.push(flip),
    failed: (why) => void failures.push(why),
    newId: () => 'id',
    now: () => 0,
  }
  const judge = besideCandidate(async () => enforced, ports)
  return { judge, records, flips, failures }
}
const settled = () => new Promise((resolve) => setImmediate(resolve))

test('an answer that is there goes into the record of the decision, with codes and titles only', async () => {
  const { judge, records, flips } = beside(
    Promise.resolve(decided(false, 'later', 'next')),
    settled().then(() => decided(true)),
  )
  const judged = await judge(question)
  expect(judged).toMatchObject({ kind: 'decided', decision: { allow: true } })
  expect(read(judged.kind === 'decided' ? judged.line : undefined)).toMatchObject({
    result: { allow: true },
    custom: {
      event: 'decision',
      seq: 1,
      candidate: { allow: false, reasons: [{ code: 'later', title: 'later' }], revision: 'next' },
    },
  })
  expect(records).toEqual([])
  expect(flips).toEqual(['allow_to_deny'])
})

test('nobody waits for one that does not come; when it comes it has a record of its own, with both answers', async () => {
  let come = (_judged: Judgement): void => undefined
  const enforced = decided(false)
  const { judge, records, flips } = beside(
    new Promise((resolve) => {
      come = resolve
    }),
    enforced,
  )
  expect(await judge(question)).toBe(enforced)
  expect(records).toEqual([])
  come(decided(true, 'later', 'next'))
  await settled()
  expect(flips).toEqual(['deny_to_allow'])
  expect(records).toMatchObject([
    {
      decision_id: 'd-1',
      custom: {
        event: 'candidate',
        candidate: { allow: true, revision: 'next' },
        enforced: { allow: false, reasons: [{ code: 'x', title: 'x' }] },
      },
    },
  ])
  expect(records[0]).not.toHaveProperty('path')
})

test.each([
  ['unavailable', { kind: 'unavailable', fault: 'suspended' }, 'suspended'],
  ['an error of its policy', decided(false, 'policy_error'), 'policy_error'],
  ['a throw', new Error('x'), 'queue_full'],
] as [string, Judgement | Error, string][])(
  '%s is counted, and is neither a flip nor recorded',
  async (_name, answer, why) => {
    const trial = answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer)
    const { judge, records, flips, failures } = beside(
      trial,
      settled().then(() => decided(true)),
    )
    const judged = await judge(question)
    await settled()
    expect(judged).toMatchObject({ kind: 'decided', decision: { allow: true } })
    expect(read(judged.kind === 'decided' ? judged.line : undefined).custom.candidate).toBeUndefined()
    expect({ records, flips, failures }).toEqual({ records: [], flips: [], failures: [why] })
  },
)

test('what is not decided asks it nothing that counts, and a record that is dropped stays so', async () => {
  const none = beside(Promise.resolve(decided(true)), { kind: 'unavailable', fault: 'no_bundle' })
  expect(await none.judge(question)).toEqual({ kind: 'unavailable', fault: 'no_bundle' })
  await settled()
  expect(none.flips).toEqual([])
  const dropped = beside(Promise.resolve(decided(false)), { ...decided(true), line: undefined })
  expect(await dropped.judge(question)).toMatchObject({ line: undefined })
  await settled()
  expect(dropped.records).toEqual([])
  expect(dropped.flips).toEqual(['allow_to_deny'])
})
