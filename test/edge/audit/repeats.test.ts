import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, expect, test } from 'vitest'
import { openCounts } from '../../../src/edge/audit/counts.ts'
import { type Counting, countRepeats } from '../../../src/edge/audit/repeats.ts'
import { finishLine, type OpenLine, ownEvent } from '../../../src/log/event.ts'
import type { Tally } from '../../../src/pep/ports.ts'
import type { Parsed } from '../../support/raw.ts'

const open: Counting[] = []
afterEach(async () => {
  for (const counting of open.splice(0)) await counting.close()
})
const facts = { decision_id: 'd', event_id: 'e', time_ms: 0 }
const HOUR = 3_600_000
const BUDGET = { burst: 1000, aSecond: 100, every: HOUR, keptWithin: HOUR }
const folder = mkdtempSync(join(tmpdir(), 'mcp-counts-'))
afterAll(() => rmSync(folder, { recursive: true }))
afterEach(() => rmSync(path, { force: true }))
const path = join(folder, 'counts.json')
const inWorld = (budget = BUDGET) => {
  const lines: Parsed[] = []
  const world = { time: 0 }
  const counting = countRepeats(
    async (line) => lines.push(JSON.parse(finishLine(line, lines.length + 1)).custom) > 0,
    (more) => ownEvent({ labels: {}, bundles: {} }, facts, 'repeat', more),
    () => world.time,
    openCounts(path),
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
  const { lines, counting, send, line } = inWorld({ ...BUDGET, burst: 0, aSecond: 0 })
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

test('what a process that was killed had counted is recorded by the next, once', async () => {
  const killed = inWorld({ ...BUDGET, burst: 0, aSecond: 0, keptWithin: 1 })
  await killed.send(3, { code: 'bad_path', few: true })
  await killed.send(2, { code: 'protocol', few: false, method: 'ping', subject: 'a' })
  killed.world.time = 700
  await killed.send(2, { code: 'bad_path', few: true })
  await expect.poll(() => existsSync(path) && readFileSync(path, 'utf8')).toContain('"until":700')
  expect(statSync(path).mode & 0o077).toBe(0)
  const left = readFileSync(path, 'utf8')
  await killed.counting.close()
  writeFileSync(path, left)

  const next = inWorld()
  await expect.poll(() => next.lines.length).toBe(2)
  expect(next.lines).toMatchObject([
    {
      event: 'repeat',
      disposition: 'rejected',
      cause: { code: 'bad_path' },
      count: 5,
      since: '1970-01-01T00:00:00.000Z',
      until: '1970-01-01T00:00:00.700Z',
    },
    { cause: { code: 'protocol' }, count: 2, method: 'ping', subject: 'a', disposition: 'allowed' },
  ])
  await expect.poll(() => existsSync(path)).toBe(false)
  await next.counting.close()
  const third = inWorld()
  await third.counting.close()
  expect(third.lines).toEqual([])
})

test('what was recorded is not kept, and what is counted meanwhile is', async () => {
  const { send, lines } = inWorld({ ...BUDGET, burst: 0, aSecond: 0, every: 5, keptWithin: 1 })
  let sent = 0
  while (lines.length < 5) {
    await send(10, { code: 'bad_path', few: true })
    sent += 10
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  const recorded = () => lines.reduce((sum, { count }) => sum + count, 0)
  await expect.poll(recorded).toBe(sent)
  await expect.poll(() => existsSync(path)).toBe(false)
})

test.each(['', '{', '{"since":1}', '{"since":1,"until":2,"counts":[{"count":1}]}', '[]', 'null'])(
  'a file of counts that is %j is passed over',
  async (text) => {
    writeFileSync(path, text)
    const { lines, counting } = inWorld()
    await counting.close()
    expect(lines).toEqual([])
  },
)
