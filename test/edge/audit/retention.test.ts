import { expect, test } from 'vitest'
import { createRetention, dueToDelete } from '../../../src/edge/audit/retention.ts'

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

test.each([
  ['the one before it and itself are passed', 30, [1, 11, 21, 31], [true, false, true, true], [1, 11, 21]],
  ['a reader is in it', 19, [1, 11, 21, 31], [true, false, true, true], []],
  [
    'there are two of them, and a reader is in the second',
    29,
    [1, 11, 21, 31],
    [true, false, false, true],
    [],
  ],
  ['there are two of them', 30, [1, 11, 21, 31], [true, false, false, true], [1, 11, 21]],
  ['it is the one that is written', 30, [1, 11, 21, 31], [true, true, true, false], [1, 11]],
  ['it will say so once it is on disk', 30, [1, 11, 21, 31], [true, true, true, true], [1, 11], 0],
])(
  'a file that does not say what was before it, when %s',
  (_name, passed, firsts, heads, deleted, offset = 10) => {
    const files = firsts.map((first, i) => ({
      first,
      path: '',
      bytes: 10,
      since: 0,
      head: heads[i] === true,
    }))
    const current = { ...(files.pop() as (typeof files)[number]), opened: 0 }
    const gone: number[] = []
    const { begin, prune } = createRetention(
      {
        closed: () => files,
        current: () => current,
        bytes: () => 10 * (files.length + 1),
        synced: () => ({ segment: 31, offset, seq: passed }),
        hasHead: ({ head }) => head === true,
        dropOldest: () => void gone.push(files.shift()?.first as number),
      },
      [],
      { limit: 100, maxAge: 1_000, whenFull: 'refuse' },
      () => 5_000,
      { failed: () => undefined, notice: () => undefined },
    )
    prune()
    expect(gone).toEqual([])
    begin()
    prune()
    expect(gone).toEqual(deleted)
  },
)
