// Each trap of the protocol has a test, and each test that the table names is where it says.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const root = new URL('../../', import.meta.url)
const rows = readFileSync(fileURLToPath(new URL('README.md', import.meta.url)), 'utf8')
  .split('\n')
  .flatMap((line) => {
    const found = /^\| (\d+) \| (.*) \| (.*) \|$/.exec(line)
    return found ? [{ trap: `${found[1]} ${found[2]}`, tests: found[3] ?? '' }] : []
  })

test('there are thirty-four', () => {
  expect(rows.map(({ trap }) => Number.parseInt(trap, 10))).toEqual(
    Array.from({ length: 34 }, (_, i) => i + 1),
  )
})

test.each(rows)('trap $trap', ({ tests }) => {
  let file = ''
  let named = 0
  for (const [, path, title] of tests.matchAll(/`([^`]+)`|"([^"]+)"/g)) {
    if (path !== undefined) file = readFileSync(fileURLToPath(new URL(path, root)), 'utf8')
    else {
      named++
      expect(file).toContain(title)
    }
  }
  expect(named).toBeGreaterThan(0)
})
