// A file that the disk failed to keep, of which nothing was on disk yet, could not be replaced while the disk had no room
// for another: it was deleted first, and every attempt after that failed on that it was not there.

import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { smallDisk } from '../support/small-disk.ts'
import { codesOf, lineOf, spoolAt } from '../support/spool.ts'

const { folder, missing } = await smallDisk('256k,nr_inodes=24')
test.skipIf(missing)('a file that cannot be replaced now is when there is room for another', async () => {
  const fillers: string[] = []
  let fails = false
  const spool = spoolAt(
    folder,
    { durability: 'disk' },
    { fdatasync: (_fd, done) => setImmediate(() => done(fails ? new Error('EIO: i/o error') : null)) },
  )
  for (let full = false; !full; ) {
    const path = join(folder, `filler-${fillers.length}`)
    try {
      writeFileSync(path, '')
      fillers.push(path)
    } catch (error) {
      full = (error as NodeJS.ErrnoException).code === 'ENOSPC'
    }
  }
  fails = true
  expect(await spool.record(lineOf('first'), 'required')).toBe(false)
  fails = false
  await expect.poll(() => spool.state().error).toContain('ENOSPC')
  for (const path of fillers) rmSync(path)
  await expect.poll(() => spool.record(lineOf('again'), 'required'), { timeout: 5_000 }).toBe(true)
  await spool.close()
  expect(codesOf(folder)).toEqual(expect.arrayContaining(['first', 'segment_replaced', 'again']))
})
