// The short form of each fault; `npm run faults` is the long one, and docs/faults.md has its figures.
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { ROWS } from '../../tools/faults/faults.ts'

test.each(ROWS)(
  '$id $fault',
  async (row) => {
    const { held, measured, skipped } = await row.run('short')
    if (skipped) console.warn(`${row.id}: ${measured}`)
    expect(held, measured).toBe(true)
  },
  90_000,
)

test('docs/faults.md has a row for each', () => {
  const docs = readFileSync(new URL('../../docs/faults.md', import.meta.url), 'utf8')
  for (const { id, fault } of ROWS) expect(docs).toContain(`| ${id} | ${fault} |`)
})
