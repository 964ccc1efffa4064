import { expect, test } from 'vitest'
import { createProgress } from '../../../src/edge/judge/progress.ts'

test('both sides see one step, and how long it has run', async () => {
  const main = createProgress()
  const thread = createProgress(main.shared)
  expect(main.step()).toEqual({ seq: 0, phase: 'idle', ms: 0 })
  expect(thread.begin(7)).toBe(true)
  expect(main.step()).toMatchObject({ seq: 7, phase: 'verifying' })
  thread.evaluating(7)
  await new Promise((resolve) => setTimeout(resolve, 20))
  const step = main.step()
  expect(step).toMatchObject({ seq: 7, phase: 'evaluating' })
  expect(step.ms).toBeGreaterThanOrEqual(19)
  thread.idle()
  expect(main.step()).toEqual({ seq: 0, phase: 'idle', ms: 0 })
})

test('what was handed over is not taken up; what is under way goes on', () => {
  const main = createProgress()
  const thread = createProgress(main.shared)
  thread.begin(1)
  expect(main.handOver(main.step())).toBe(true)
  // It is noticed at the end of the step, whatever happens within it.
  thread.evaluating(1)
  expect(main.step()).toMatchObject({ seq: 1, phase: 'evaluating' })
  expect(thread.begin(2)).toBe(false)
  thread.idle()
  expect(thread.begin(3)).toBe(true)
})

test('a thread that has gone on meanwhile keeps what it has', () => {
  const main = createProgress()
  const thread = createProgress(main.shared)
  thread.begin(1)
  const step = main.step()
  thread.evaluating(1)
  expect(main.handOver(step)).toBe(false)
  expect(thread.begin(2)).toBe(true)
  const later = main.step()
  thread.idle()
  expect(main.handOver(later)).toBe(false)
  expect(thread.begin(3)).toBe(true)
})
