import { expect, test } from 'vitest'
import { dueToDelete } from '../../../src/edge/audit/retention.ts'

const oldest = { last: 10, since: 1_000 }
test.each([
  // passed, needed, now
  ['it is young and there is room', 10, 100, 1_500, 'refuse', undefined],
  ['it is old', 10, 100, 2_000, 'refuse', 'max_age'],
  ['there is no room', 10, 101, 1_500, 'refuse', 'max_bytes'],
  ['it is old and there is no room', 10, 101, 2_000, 'refuse', 'max_bytes'],
  ['it is old, and a reader is one line short', 9, 100, 9_000, 'refuse', undefined],
  ['it is old, and a reader is one line short', 9, 100, 9_000, 'drop_oldest', undefined],
  ['there is no room, and a reader is one line short', 9, 101, 9_000, 'refuse', undefined],
  ['there is no room, and a reader is one line short', 9, 101, 1_500, 'drop_oldest', 'max_bytes'],
  ['the clock was set back', 10, 100, 0, 'refuse', undefined],
] as const)('the oldest file when %s: %d, %d, %d, %s', (_name, passed, needed, now, whenFull, why) => {
  expect(dueToDelete(oldest, passed, needed, now, { limit: 100, maxAge: 1_000, whenFull })).toBe(why)
})
