// A disk that failed once while the record was closed was not asked again: what the kernel had of the last lines, and
// drops after it has told of the failure, was lost though it had been taken for recorded.

import { fstatSync, ftruncateSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { verifyLog } from '../../src/edge/audit/verify.ts'
import { codesOf, lineOf, spoolAt } from '../support/spool.ts'

const folder = mkdtempSync(join(tmpdir(), 'mcp-end-'))
afterEach(() => rmSync(folder, { recursive: true }))

test('a disk that fails once at the end is asked again, with a file of its own', async () => {
  let fails = 0
  let kept = 0
  const spool = spoolAt(
    folder,
    {},
    {
      fdatasync: (fd, done) =>
        setImmediate(() => {
          if (fails-- > 0) {
            // As Linux does: the pages that could not be written are clean afterwards, and may go.
            ftruncateSync(fd, kept)
            return done(new Error('EIO: i/o error'))
          }
          kept = fstatSync(fd).size
          done(null)
        }),
    },
  )
  expect(await spool.record(lineOf('first'), 'required')).toBe(true)
  await expect.poll(() => spool.state().synced).toBe(1)
  fails = 1
  const taken = spool.record(lineOf('last'), 'required')
  await spool.close()
  expect(await taken).toBe(true)
  expect(codesOf(folder)).toEqual(expect.arrayContaining(['first', 'last']))
  expect(verifyLog(folder, {}).fault).toBe(undefined)
})
