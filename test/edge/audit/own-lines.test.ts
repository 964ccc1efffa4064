// What the spool says on its own account: once, and again if it could not be written.
import { expect, test } from 'vitest'
import { countLosses } from '../../../src/edge/audit/losses.ts'
import { createOwnLines } from '../../../src/edge/audit/own-lines.ts'
import { createSigning } from '../../../src/edge/audit/signing.ts'
import { createChain } from '../../../src/log/chain.ts'
import { lifecycleEvent, ownEvent } from '../../../src/log/event.ts'
import type { JsonObject } from '../../../src/mcp/strict-json.ts'

const origin = { labels: {}, bundles: {} }
const facts = { decision_id: 'd', event_id: 'e', time_ms: 0 }
const start = () => {
  const clock = { time: 0 }
  const now = () => clock.time
  const told: JsonObject[] = []
  const chain = createChain({ size: 0, parts: [], last: undefined })
  const signing = createSigning(chain, (size) => `note of ${size}`, 1_000, now, undefined)
  const losses = countLosses(now, (cause) => told.push(cause))
  const own = createOwnLines(
    (event, more) => ownEvent(origin, facts, event, more),
    (cause) => told.push(cause),
    signing,
    losses,
  )
  const write = (count: number) =>
    chain.link(Array.from({ length: count }, () => lifecycleEvent(origin, facts, { code: 'x' }))).taken()
  const said = (sound = true, atTheEnd = false) => {
    const next = own.next(false, sound, atTheEnd)
    const customs =
      next.lines.length === 0
        ? []
        : chain
            .link(next.lines)
            .bytes.toString('utf8')
            .trimEnd()
            .split('\n')
            .map((text) => JSON.parse(text).custom)
    return { ...next, customs, codes: customs.map(({ event, cause }) => cause?.code ?? event) }
  }
  return { clock, told, chain, signing, losses, own, write, said }
}

test('a notice is told once and said until it is written', () => {
  const { own, told, said } = start()
  own.notice('lifecycle', { code: 'a' })
  own.remark({ code: 'b' })
  expect(said().codes).toEqual(['a', 'b'])
  const { codes, written } = said()
  own.notice('gap', { code: 'later' })
  written()
  expect(codes).toEqual(['a', 'b'])
  expect(said().codes).toEqual(['later'])
  expect(told).toEqual([{ code: 'a' }, { code: 'later' }])
})

test('what was lost is said when lines are kept again, with how many, of which kind, since when and why', () => {
  const { clock, losses, told, said } = start()
  losses.lose('required', 'the disk is full')
  clock.time = 5_000
  losses.lose('best_effort', 'something else')
  losses.lose('required', 'something else')
  expect(said(false).codes).toEqual([])
  said()
  expect([losses.count(), losses.ever()]).toEqual([3, 3])
  const { customs, written } = said()
  expect(customs[0].cause).toEqual({
    code: 'records_lost',
    lost: 3,
    required: 2,
    since: '1970-01-01T00:00:00.000Z',
    until: '1970-01-01T00:00:05.000Z',
    why: 'the disk is full',
  })
  written()
  losses.taken()
  losses.taken()
  expect([losses.count(), losses.ever(), said().codes]).toEqual([0, 3, []])
  expect(told.map(({ code }) => code)).toEqual(['records_refused', 'records_lost', 'records_taken_again'])
})

test('a checkpoint comes first, when lines came and it is time or the end, and not where lines are not kept', () => {
  const { clock, chain, own, write, said } = start()
  clock.time = 1_000
  expect(said().codes).toEqual([])
  write(3)
  own.remark({ code: 'a' })
  expect(said(false).codes).toEqual(['a'])
  clock.time = 999
  expect([said().codes, said(true, true).codes]).toEqual([['a'], ['checkpoint', 'a']])
  clock.time = 1_000
  const { customs, lines, written } = said()
  expect(customs[0]).toMatchObject({
    note: 'note of 3',
    tree: { size: 3, root: chain.root().toString('base64') },
  })
  chain.link(lines).taken()
  written()
  clock.time = 9_000
  // The notice after the checkpoint is a line that is not signed.
  expect(said().customs[0]).toMatchObject({ note: 'note of 5' })
})

test('a note is kept beside the log when its line is on disk, the newest of them, once', () => {
  const { signing, write } = start()
  for (const count of [2, 1]) {
    write(count)
    signing.next(false).written()
    write(1)
  }
  write(1)
  signing.next(false)
  expect(signing.newest()?.size).toBe(4)
  expect([2, 3, 4, 5, 9].map(signing.ready)).toEqual([
    undefined,
    'note of 2',
    undefined,
    'note of 4',
    undefined,
  ])
})

test('a clock that was set back does not put off the next checkpoint by as much', () => {
  const { clock, write, said } = start()
  clock.time = 3_600_000
  write(1)
  said().written()
  write(2)
  clock.time = 10_000
  expect(said().codes).toEqual(['checkpoint'])
})
