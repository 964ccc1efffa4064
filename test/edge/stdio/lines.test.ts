import { expect, test } from 'vitest'
import { createLineSplitter } from '../../../src/edge/stdio/lines.ts'

const text = '{"a":1}\n\r\n{"é":"\u{1F600}"}\r\n\nlast'
test('lines are the same in every chunking, and a last one without an end is none', () => {
  const bytes = Buffer.from(text)
  for (let size = 1; size <= bytes.length; size++) {
    const split = createLineSplitter(100)
    const lines: string[] = []
    for (let at = 0; at < bytes.length; at += size) {
      const got = split(bytes.subarray(at, at + size))
      if (got === 'line_too_long') throw new Error('too long')
      lines.push(...got.map((line) => line.toString('utf8')))
    }
    expect(lines).toEqual(['{"a":1}', '', '{"é":"\u{1F600}"}', ''])
  }
})

test('a line beyond the bound is a fault, whole or in pieces', () => {
  expect(createLineSplitter(10)(Buffer.from(`${'x'.repeat(11)}\n`))).toBe('line_too_long')
  expect(createLineSplitter(10)(Buffer.from(`${'x'.repeat(10)}\n`))).toHaveLength(1)
  const split = createLineSplitter(10)
  expect(split(Buffer.from('x'.repeat(6)))).toEqual([])
  expect(split(Buffer.from('x'.repeat(6)))).toBe('line_too_long')
})
