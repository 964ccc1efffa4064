// A file was deleted when the next had its head with the kernel only, or was still empty: after a power cut there was no
// file that said what was before it, and the next start took the log for damaged and began another.

import { cpSync, mkdtempSync, rmSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { listSegments } from '../../src/edge/audit/segments.ts'
import { codesOf, lineOf, spoolAt } from '../support/spool.ts'

const folders: string[] = []
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
})
const fresh = () => {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-cut-'))
  folders.push(folder)
  return folder
}

test('a file is kept until the head of the next is on disk', async () => {
  const folder = fresh()
  const held: (() => void)[] = []
  let time = Date.now()
  let looks = 0
  const spool = spoolAt(
    folder,
    { segmentBytes: 20_000, maxAge: 10_000 },
    {
      now: () => time,
      elapsed: () => ++looks / 1_000,
      fdatasync: (_fd, done) => {
        if (listSegments(folder).length > 1) held.push(() => done(null))
        else setImmediate(() => done(null))
      },
    },
  )
  while (listSegments(folder).length === 1) await spool.record(lineOf(`some ${'x'.repeat(900)}`), 'required')
  await expect.poll(() => held.length).toBe(1)
  spool.retain()
  time += 60_000
  // Each of the spool's looks at itself asks for the time.
  const until = looks + 20
  await expect.poll(() => looks, { timeout: 20_000 }).toBeGreaterThan(until)
  const [first, second] = listSegments(folder).map(({ first }) => first)
  expect([first, second]).toEqual([1, expect.any(Number)])

  const cut = fresh()
  cpSync(folder, cut, { recursive: true })
  truncateSync(listSegments(cut).at(-1)?.path as string, 0)
  rmSync(join(cut, 'decisions.lock'))
  const again = spoolAt(cut)
  await again.record(lineOf('next'), 'required')
  await again.close()
  expect(again.id).toBe(spool.id)
  expect(codesOf(cut)).not.toContain('previous_log_damaged')

  for (const done of held) done()
  await expect.poll(() => spool.state().oldest).toBe(second)
  await spool.close()
})
