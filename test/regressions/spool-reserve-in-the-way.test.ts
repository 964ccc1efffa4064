// A reserve that could not be given back, as on a disk that the kernel made read-only, broke off the write of the record:
// what was to be recorded was not answered, and the process ended on an error that nobody expected.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { smallDisk } from '../support/small-disk.ts'
import { codesOf, lineOf, spoolAt } from '../support/spool.ts'

const { folder, missing } = await smallDisk('128k')
test.skipIf(missing)('a reserve that cannot be given back: what is recorded then is refused', async () => {
  const spool = spoolAt(folder, { reserveBytes: 8_192 })
  expect(await spool.record(lineOf('first'), 'required')).toBe(true)
  const reserve = join(folder, 'reserve')
  const other = join(folder, 'other')
  // What is no file is not deleted as one.
  rmSync(reserve)
  mkdirSync(reserve)
  expect(() => writeFileSync(other, Buffer.alloc(1 << 20))).toThrow('ENOSPC')
  const long = lineOf(`long ${'x'.repeat(8_000)}`)
  expect(await spool.record(long, 'required')).toBe(false)
  expect(await spool.record(long, 'reserve')).toBe(false)
  expect(spool.state().error).toBeDefined()
  rmSync(other)
  rmSync(reserve, { recursive: true })
  await expect.poll(() => spool.record(lineOf('room'), 'required')).toBe(true)
  rmSync(reserve)
  mkdirSync(reserve)
  await spool.close()
  expect(codesOf(folder)).toEqual(expect.arrayContaining(['first', 'room', 'records_lost']))
  // Its lock is given back.
  const again = spoolAt(folder, { reserveBytes: 0 })
  await again.close()
})
