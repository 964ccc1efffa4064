// A file that could not be closed without an error (close(2): EIO, and on NFS ENOSPC and EDQUOT) stayed the one that is
// written: nothing could be recorded until a restart, and once it was old it was deleted.

import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { listSegments } from '../../src/edge/audit/segments.ts'
import { verifyLog } from '../../src/edge/audit/verify.ts'
import { lineOf, spoolAt } from '../support/spool.ts'

test('a file that is closed with an error is closed all the same, and the next is written', async () => {
  const folder = fs.mkdtempSync(join(tmpdir(), 'mcp-close-'))
  const spool = spoolAt(folder, { segmentBytes: 20_000 })
  expect(await spool.record(lineOf('first'), 'required')).toBe(true)
  const { closeSync } = fs
  let failed = 0
  // No disk of a test does that; the descriptor is gone whatever close answers.
  fs.closeSync = (fd) => {
    const of = fs.readlinkSync(`/proc/self/fd/${fd}`)
    closeSync(fd)
    if (!of.endsWith('.jsonl')) return
    failed++
    throw Object.assign(new Error('EIO: i/o error, close'), { code: 'EIO' })
  }
  syncBuiltinESMExports()
  try {
    while (listSegments(folder).length === 1)
      await spool.record(lineOf(`some ${'x'.repeat(900)}`), 'required')
    await expect.poll(() => spool.record(lineOf('next'), 'required')).toBe(true)
    const { bytes } = spool.state()
    expect(bytes).toBe(listSegments(folder).reduce((sum, { path }) => sum + fs.statSync(path).size, 0))
    expect(failed).toBe(1)
    await spool.close()
    expect(failed).toBe(2)
  } finally {
    fs.closeSync = closeSync
    syncBuiltinESMExports()
  }
  expect(fs.readdirSync(folder)).not.toContain('decisions.lock')
  expect(verifyLog(folder, {}).fault).toBe(undefined)
  fs.rmSync(folder, { recursive: true })
})
