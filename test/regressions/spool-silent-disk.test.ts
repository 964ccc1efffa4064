// A disk that does not answer while a file is closed, or at the end, left what came then without an answer: neither was it
// recorded nor refused, and the calls that waited for it hung.

import { execFileSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { codesOf, lineOf, spoolAt } from '../support/spool.ts'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mcp-silent-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

/** A disk that can be made silent. What it was asked meanwhile it answers when it is no longer. */
const disk = () => {
  const held: (() => void)[] = []
  let silent = false
  return {
    fdatasync: (_fd: number, done: (failure: null) => void) =>
      void (silent ? held.push(() => done(null)) : setImmediate(() => done(null))),
    asked: () => held.length,
    silence() {
      silent = true
    },
    speak() {
      silent = false
      for (const answer of held.splice(0)) answer()
    },
  }
}
const long = (n: number) => lineOf(`${n} ${'x'.repeat(900)}`)

test('while a file is closed: refused when it takes too long, denials recorded, and all goes on when it answers', async () => {
  const { fdatasync, asked, silence, speak } = disk()
  let time = 0
  const spool = spoolAt(folder, { segmentBytes: 5_000 }, { fdatasync, elapsed: () => time })
  silence()
  let n = 0
  while (spool.state().bytes < 5_000) expect(await spool.record(long(n++), 'required')).toBe(true)
  // The next begins a file, for which the last is brought to the disk first.
  const [required, denied] = [
    spool.record(lineOf('waits'), 'required'),
    spool.record(lineOf('denied'), 'reserve'),
  ]
  await expect.poll(asked).toBe(1)
  time = 3_000
  expect([await required, await denied]).toEqual([false, true])
  expect(spool.state().error).toBe('the disk does not answer')
  speak()
  await expect.poll(() => spool.record(lineOf('after'), 'required')).toBe(true)
  await spool.close()
  expect(codesOf(folder)).toEqual(expect.arrayContaining(['denied', 'records_lost', 'after']))
  expect(codesOf(folder)).not.toContain('waits')
})

test('at the end: what waits for the disk is refused', async () => {
  const { fdatasync, asked, silence } = disk()
  const spool = spoolAt(folder, { durability: 'disk' }, { fdatasync })
  silence()
  const waiting = spool.record(lineOf('waits'), 'required')
  await expect.poll(asked).toBe(1)
  // Younger than what it waits for by the time that the end gives up.
  const [, ...others] = [spool.close(), spool.record(lineOf('late'), 'required'), waiting]
  expect(await Promise.all(others)).toEqual([false, false])
})

test('at the end: a file beside the log that cannot be written does not keep the process', async () => {
  const spool = spoolAt(folder, {}, { sign: () => 'note' })
  // Whoever opens a pipe that nobody reads waits, as on a disk that does not answer.
  const pipe = join(folder, 'checkpoint.new')
  execFileSync('mkfifo', [pipe])
  await spool.record(lineOf('a'), 'required')
  await spool.close()
  expect(codesOf(folder)).toEqual(['a', 'checkpoint'])
  expect(await spool.record(lineOf('late'), 'required')).toBe(false)
  // Lets go of the thread that waits.
  closeSync(openSync(pipe, 'r+'))
})
