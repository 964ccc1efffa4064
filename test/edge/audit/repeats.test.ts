import { afterEach, expect, test } from 'vitest'
import { type Counting, countRepeats } from '../../../src/edge/audit/repeats.ts'
import { finishLine, type OpenLine, ownEvent } from '../../../src/log/event.ts'
import type { Tally } from '../../../src/pep/ports.ts'
import type { Parsed } from '../../support/raw.ts'

const open: Counting[] = []
afterEach(async () => {
  for (const counting of open.splice(0)) await counting.close()
})
const facts = { decision_id: 'd', event_id: 'e', time_ms: 0 }
const inWorld = (budget = { burst: 1000, aSecond: 100, every: 3_600_000 }) => {
  const lines: Parsed[] = []
  const world = { time: 0 }
  const counting = countRepeats(
    async (line) => lines.push(JSON.parse(finishLine(line, lines.length + 1)).custom) > 0,
    (more) => ownEvent({ labels: {}, bundles: {} }, facts, 'repeat', more),
    () => world.time,
    budget,
  )
  open.push(counting)
  const line = `{"custom":{"event":"reject","x":"${'x'.repeat(170)}"` as OpenLine
  const send = async (times: number, tally: Tally) => {
    for (let i = 0; i < times; i++) expect(await counting.record(line, 'reserve', tally)).toBe(true)
  }
  return { lines, world, counting, send, line }
}

test('refusals are recorded within their budget, and beyond it counted by reason', async () => {
  const { lines, world, counting, send, line } = inWorld()
  await send(100, { code: 'bad_path', few: true })
  await send(50, { code: 'too_large', few: true })
  const whole = Math.floor(1000 / line.length)
  expect(lines).toHaveLength(whole)
  world.time = 5_000
  await send(10, { code: 'bad_path', few: true })
  const later = Math.floor((500 + 1000 - whole * line.length) / line.length)
  expect(lines).toHaveLength(whole + later)
  await counting.close()
  expect(lines.slice(whole + later)).toMatchObject([
    { event: 'repeat', disposition: 'rejected', cause: { code: 'bad_path' }, count: 110 - whole - later },
    {
      cause: { code: 'too_large' },
      count: 50,
      since: '1970-01-01T00:00:00.000Z',
      until: '1970-01-01T00:00:05.000Z',
    },
  ])
})

test('what is always counted is counted by method and person, and what has no tally is always recorded', async () => {
  const { lines, counting, send, line } = inWorld({ burst: 0, aSecond: 0, every: 3_600_000 })
  await send(3, { code: 'protocol', few: false, method: 'ping', subject: 'a' })
  await send(2, { code: 'protocol', few: false, method: 'ping', subject: 'b' })
  expect(lines).toHaveLength(0)
  await counting.record(line, 'required')
  expect(lines).toHaveLength(1)
  await counting.close()
  expect(lines.slice(1)).toMatchObject([
    { count: 3, method: 'ping', subject: 'a', disposition: 'allowed' },
    { count: 2, method: 'ping', subject: 'b' },
  ])
})

test('however many persons there are, the records of counts are bounded', async () => {
  const { lines, counting, send } = inWorld()
  for (let i = 0; i < 5_000; i++)
    await send(1, { code: 'protocol', few: false, method: 'ping', subject: String(i) })
  await counting.close()
  expect(lines.length).toBeLessThanOrEqual(1_001)
  expect(lines.reduce((sum, { count }) => sum + count, 0)).toBe(5_000)
})
