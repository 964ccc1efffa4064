// A file of the log that did not begin with the tree before it could not be checked without the file before it. When that
// one was deleted, the next start took the log for damaged and began another: what sinks had not read was not delivered.

import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { headOf } from '../../src/edge/audit/open.ts'
import { listSegments, type Segment, segmentName } from '../../src/edge/audit/segments.ts'
import type { Spool } from '../../src/edge/audit/spool.ts'
import { verifyLog } from '../../src/edge/audit/verify.ts'
import { smallDisk } from '../support/small-disk.ts'
import { codesOf, lineOf, spoolAt } from '../support/spool.ts'

const spools: Spool[] = []
const folders: string[] = []
afterEach(async () => {
  for (const spool of spools.splice(0)) await spool.close()
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
})
const fresh = () => {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-head-'))
  folders.push(folder)
  return folder
}
const opened = (...given: Parameters<typeof spoolAt>) => {
  const spool = spoolAt(...given)
  spools.push(spool)
  return spool
}
const fill = async (spool: Spool, lines: number) => {
  for (let i = 0; i < lines; i++) await spool.record(lineOf(`${i} ${'x'.repeat(900)}`), 'required')
}
/** As a start finds the log when `first` is its oldest file. */
const startsWithout = async (folder: string, first: number) => {
  for (const { first: other, path } of listSegments(folder)) if (other < first) rmSync(path)
  expect(verifyLog(folder, {}).fault).toBe(undefined)
  const again = opened(folder)
  await again.record(lineOf('next'), 'required')
  expect(codesOf(folder)).not.toContain('previous_log_damaged')
  return again
}

test('a file that replaces one that the disk failed to keep is deleted with the one before it, never after it', async () => {
  const folder = fresh()
  let fails = 0
  let time = Date.now()
  const spool = opened(
    folder,
    { segmentBytes: 20_000, maxAge: 10_000 },
    {
      now: () => time,
      fdatasync: (_fd, done) => setImmediate(() => done(fails-- > 0 ? new Error('EIO') : null)),
    },
  )
  await fill(spool, 10)
  await expect.poll(() => spool.state().synced).toBe(spool.state().seq)
  fails = 1
  await fill(spool, 3)
  await expect.poll(() => codesOf(folder)).toContain('segment_replaced')
  // The next is begun at once, with its head.
  await expect.poll(() => listSegments(folder).length).toBe(3)
  const segments = listSegments(folder)
  expect(segments.map((segment) => headOf(segment) !== undefined)).toEqual([true, false, true])
  const replaced = segments[1]?.first as number
  spool.retain()
  time += 60_000
  await expect.poll(() => spool.state().oldest).toBeGreaterThan(replaced)
  const { oldest, seq } = spool.state()
  await expect.poll(() => spool.state().synced).toBe(seq)
  await spool.close()
  expect(listSegments(folder)[0]?.first).toBe(oldest)
  expect((await startsWithout(folder, oldest)).id).toBe(spool.id)
})

test('an empty file that a power cut left is begun with its head', async () => {
  const folder = fresh()
  const first = opened(folder)
  await fill(first, 5)
  await first.close()
  const next = first.state().seq + 1
  writeFileSync(join(folder, segmentName(next)), '')
  const spool = opened(folder)
  await fill(spool, 5)
  await spool.close()
  expect(listSegments(folder).map((segment) => segment.first)).toEqual([1, next])
  expect((await startsWithout(folder, next)).id).toBe(first.id)
})

test('a file whose first lines were broken off anywhere is gone on with, and needs none before it', async () => {
  const folder = fresh()
  const first = opened(folder, { segmentBytes: 5_000 })
  while (listSegments(folder).length === 1) await fill(first, 1)
  await first.close()
  const { first: begun, path } = listSegments(folder)[1] as Segment
  const bytes = readFileSync(path)
  const head = bytes.indexOf('\n') + 1
  expect(bytes.length).toBeGreaterThan(head)
  for (const kept of [0, 1, head >> 1, head - 1, head, head + 1, bytes.length - 1]) {
    const cut = fresh()
    cpSync(folder, cut, { recursive: true })
    truncateSync(join(cut, segmentName(begun)), kept)
    const spool = opened(cut, { segmentBytes: 5_000 })
    await fill(spool, 1)
    await spool.close()
    expect(spool.id).toBe(first.id)
    expect((await startsWithout(cut, begun)).id).toBe(first.id)
  }
})

const { folder: small, missing } = await smallDisk('256k')
test.skipIf(missing)('a file that is begun on a full disk gets its head when there is room', async () => {
  const spool = opened(small, { segmentBytes: 20_000, reserveBytes: 8_192 })
  while (spool.state().bytes < 20_000) await fill(spool, 1)
  const other = join(small, 'other')
  expect(() => writeFileSync(other, Buffer.alloc(1 << 20))).toThrow('ENOSPC')
  expect(await spool.record(lineOf('refused'), 'required')).toBe(false)
  expect(await spool.record(lineOf('denied'), 'reserve')).toBe(true)
  rmSync(other)
  await expect.poll(() => spool.record(lineOf('room'), 'required')).toBe(true)
  await spool.close()
  const [, second] = listSegments(small)
  expect(codesOf(small)).toEqual(expect.arrayContaining(['denied', 'room', 'records_lost']))
  expect((await startsWithout(small, second?.first as number)).id).toBe(spool.id)
})
