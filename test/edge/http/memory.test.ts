// Of what memory is short: the heap, or what the kernel holds the container to.
import { expect, test } from 'vitest'
import { readMemory } from '../../../src/edge/http/memory.ts'

const NONE = 2 ** 64

test('a limit that is set, moved or taken away while the process runs is the one that holds', () => {
  let limit = NONE
  const read = readMemory(
    () => limit,
    () => 700,
  )
  const most = () => read().map((state) => state.most)
  expect(most()).toEqual([expect.any(Number)])
  limit = 2_000
  expect(most()).toEqual([expect.any(Number), 2_000])
  limit = 1_000
  expect(most()).toEqual([expect.any(Number), 1_000])
  limit = 0
  expect(most()).toEqual([expect.any(Number)])
})

test('a group that takes more than its limit is short of memory, however little this process takes', () => {
  const [, group] = readMemory(
    () => 1_000,
    () => 1_500,
  )()
  expect(group).toEqual({ used: 1_500, most: 1_000 })
})

test('where the group cannot be read, it is what this process takes', () => {
  const [, group] = readMemory(
    () => 1_000,
    () => undefined,
  )()
  expect(group?.used).toBeGreaterThan(1 << 20)
})
