import { execFile } from 'node:child_process'
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { promisify } from 'node:util'
import { afterEach, expect, test } from 'vitest'
import { follow } from '../../../src/edge/audit/follow.ts'
import { openSpool } from '../../../src/edge/audit/spool.ts'
import { lifecycleEvent, type OpenLine } from '../../../src/log/event.ts'

const folders: string[] = []
const fresh = () => {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-spool-'))
  folders.push(folder)
  return folder
}
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})
const line = (code: string): OpenLine =>
  lifecycleEvent({ labels: {}, bundles: {} }, { decision_id: 'd', event_id: 'e', time_ms: 0 }, { code })
const gap = (lost: number) => line(`gap ${lost}`)
const read = (path: string) =>
  readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((text) => JSON.parse(text).custom)

test('lines are there when record says so, in order, numbered densely', async () => {
  const spool = openSpool(fresh(), gap)
  const results = await Promise.all(Array.from({ length: 100 }, (_, i) => spool.record(line(String(i)))))
  expect(results).toEqual(results.map(() => true))
  const lines = read(spool.path)
  expect(lines.map((custom) => custom.seq)).toEqual(lines.map((_custom, i) => i + 1))
  expect(lines.map((custom) => custom.cause.code)).toEqual(lines.map((_custom, i) => String(i)))
  expect(statSync(spool.path).mode & 0o077).toBe(0)
  await spool.close()
})

test('a torn last line is cut at the next start, and said', async () => {
  const folder = fresh()
  const first = openSpool(folder, gap)
  await first.record(line('whole'))
  await first.close()
  appendFileSync(first.path, '{"labels":{"torn')
  const second = openSpool(folder, gap)
  expect(second.torn).toBe(16)
  await second.record(line('next'))
  expect(read(second.path).map((custom) => custom.cause.code)).toEqual(['whole', 'next'])
  await second.close()
})

test('a folder that cannot be written is an error at once', () => {
  expect(() => openSpool(join(fresh(), 'missing', 'spool'), gap)).toThrow()
})

/** A filesystem of one page more than nothing, where this machine lets us mount one. */
const mount = promisify(execFile)
const small = mkdtempSync(join(tmpdir(), 'mcp-small-'))
const noMount = await mount('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', small]).then(
  () => undefined,
  (error: Error) => {
    console.warn(
      `SKIPPED: a full disk is made with a small tmpfs, and it cannot be mounted here: ${error.message}`,
    )
    return error.message
  },
)
test.skipIf(noMount)(
  'a full disk refuses records whole, and recovers by itself with a gap record',
  async () => {
    try {
      const spool = openSpool(small, gap)
      const text = line('x'.repeat(3000))
      let kept = 0
      while (await spool.record(text)) if (++kept > 100) throw new Error('the disk does not fill')
      expect(spool.state()).toMatchObject({ lost: 1, error: expect.stringContaining('ENOSPC') })
      expect(await spool.record(text)).toBe(false)
      expect(read(spool.path)).toHaveLength(kept)
      await mount('mount', ['-o', 'remount,size=256k', small])
      expect(await spool.record(line('after'))).toBe(true)
      const codes = read(spool.path).map((custom) => custom.cause.code)
      expect(codes.slice(-2)).toEqual(['gap 2', 'after'])
      const seqs = read(spool.path).map((custom) => custom.seq)
      expect(seqs).toEqual(seqs.map((_seq, i) => i + 1))
      await spool.close()
    } finally {
      await mount('umount', [small])
      rmSync(small, { recursive: true })
    }
  },
)

test('a follower copies what is appended, and a stuck reader delays nothing but itself', async () => {
  const spool = openSpool(fresh(), gap)
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const parts: Buffer[] = []
  const to = new Writable({
    highWaterMark: 1,
    write(chunk, _encoding, done) {
      parts.push(chunk)
      void held.then(() => done())
    },
  })
  const copy = follow(spool.path, 0, to, (error) => {
    throw error
  })
  spool.onAppend(copy.wake)
  for (let i = 0; i < 2000; i++) expect(await spool.record(line(`stuck ${i}`))).toBe(true)
  release()
  await expect.poll(() => Buffer.concat(parts).toString('utf8')).toBe(readFileSync(spool.path, 'utf8'))
  await copy.idle()
  await spool.close()
})
