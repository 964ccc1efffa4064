import { expect, test } from 'vitest'
import { createProgress, now } from '../../../src/edge/judge/progress.ts'

/** milliseconds */
const DEADLINE = 1_000
const ago = (ms: number) => now() - BigInt(ms) * 1_000_000n

test('both sides see one step, and how long it has run', async () => {
  const main = createProgress(DEADLINE)
  const thread = createProgress(DEADLINE, main.shared)
  expect(main.step()).toEqual({ seq: 0, phase: 'idle', ms: 0, over: 0 })
  expect(thread.begin(7, now())).toBe(true)
  expect(main.step()).toMatchObject({ seq: 7, phase: 'verifying' })
  thread.evaluating(7, now())
  await new Promise((resolve) => setTimeout(resolve, 20))
  const step = main.step()
  expect(step).toMatchObject({ seq: 7, phase: 'evaluating' })
  expect(step.ms).toBeGreaterThanOrEqual(19)
  thread.idle()
  expect(main.step()).toEqual({ seq: 0, phase: 'idle', ms: 0, over: 0 })
})

test('what was handed over is not taken up; what is under way goes on', () => {
  const main = createProgress(DEADLINE)
  const thread = createProgress(DEADLINE, main.shared)
  thread.begin(1, now())
  expect(main.handOver(main.step())).toBe(true)
  // It is noticed at the end of the step, whatever happens within it.
  thread.evaluating(1, now())
  expect(main.step()).toMatchObject({ seq: 1, phase: 'evaluating' })
  expect(thread.begin(2, now())).toBe(false)
  thread.idle()
  expect(thread.begin(3, now())).toBe(true)
})

test('a thread that has gone on meanwhile keeps what it has', () => {
  const main = createProgress(DEADLINE)
  const thread = createProgress(DEADLINE, main.shared)
  thread.begin(1, now())
  const step = main.step()
  thread.evaluating(1, now())
  expect(main.handOver(step)).toBe(false)
  expect(thread.begin(2, now())).toBe(true)
  const later = main.step()
  thread.idle()
  expect(main.handOver(later)).toBe(false)
  expect(thread.begin(3, now())).toBe(true)
})

test.each([
  ['what a question waited counts against its deadline', 400, -500],
  ['half is left to one that waited for longer', 5_000, -450],
])('%s', (_, waited, over) => {
  const main = createProgress(DEADLINE)
  const thread = createProgress(DEADLINE, main.shared)
  for (const take of [thread.begin, thread.evaluating]) {
    take(1, ago(waited))
    expect(main.step().over).toBeGreaterThanOrEqual(over)
    expect(main.step().over).toBeLessThan(over + 100)
    expect(thread.late()).toBe(false)
  }
})

test('both sides see that a step has passed its deadline', async () => {
  const main = createProgress(2)
  const thread = createProgress(2, main.shared)
  thread.begin(1, now())
  await new Promise((resolve) => setTimeout(resolve, 5))
  expect(thread.late()).toBe(true)
  expect(main.step().over).toBeGreaterThanOrEqual(2)
})
