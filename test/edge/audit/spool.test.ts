import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { promisify } from 'node:util'
import { afterAll, afterEach, expect, test } from 'vitest'
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
// Not in the test, which may be left out of a run.
afterAll(async () => {
  if (!noMount) await mount('umount', ['-l', small])
  rmSync(small, { recursive: true })
})
test.skipIf(noMount)(
  'a full disk refuses records whole, and recovers by itself with a gap record',
  async () => {
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
  },
)

test.skipIf(noMount)('a write that fails cuts what it left, and nothing that another wrote', async () => {
  const folder = fresh()
  await mount('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder])
  try {
    const spool = openSpool(folder, gap)
    appendFileSync(spool.path, '{"custom":{"cause":{"code":"of another"}}}\n')
    for (let kept = 0; await spool.record(line('x'.repeat(3000))); kept++)
      if (kept > 100) throw new Error('the disk does not fill')
    const codes = read(spool.path).map((custom) => custom.cause.code.slice(0, 10))
    expect(codes[0]).toBe('of another')
    expect(new Set(codes.slice(1))).toEqual(new Set(['xxxxxxxxxx']))
    expect(readFileSync(spool.path, 'utf8')).toMatch(/\}\n$/)
    await spool.close()
  } finally {
    await mount('umount', ['-l', folder])
  }
})

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

test('a follower has copied everything when it is idle, also what came while it finished', async () => {
  const path = join(fresh(), 'appended')
  writeFileSync(path, '')
  const fd = openSync(path, 'a')
  let copied = 0
  const to = new Writable({
    write(chunk, _encoding, done) {
      copied += chunk.length
      done()
    },
  })
  const copy = follow(path, 0, to, (error) => {
    throw error
  })
  let appended = 0
  const append = () => {
    appended += writeSync(fd, 'x\n')
    copy.wake()
  }
  for (let round = 0; round < 1500; round++) {
    append()
    while (copied < appended) await new Promise((resolve) => setImmediate(resolve))
    for (let turns = round % 15; turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve))
    append()
    await copy.idle()
    expect(copied).toBe(appended)
  }
})

test.each(['error', 'close'])('a sink that ends with %s while it is full ends the copy', async (how) => {
  const path = join(fresh(), 'appended')
  writeFileSync(path, 'x\n'.repeat(100_000))
  const to = new Writable({ highWaterMark: 1, write() {} })
  const errors: string[] = []
  const copy = follow(path, 0, to, (error) => void errors.push(error.message))
  copy.wake()
  await expect.poll(() => to.writableLength).toBeGreaterThan(0)
  to.destroy(how === 'error' ? new Error('EPIPE') : undefined)
  await copy.idle()
  copy.wake()
  await copy.idle()
  expect(errors).toEqual(how === 'error' ? ['EPIPE'] : [])
})

test('a second writer of a folder is refused, with the process that holds it', async () => {
  const folder = fresh()
  const first = openSpool(folder, gap)
  expect(() => openSpool(folder, gap)).toThrow(new RegExp(`written by process ${process.pid}\\b`))
  await first.close()
  const next = openSpool(folder, gap)
  await next.close()
  expect(readdirSync(folder)).toEqual(['decisions.jsonl'])
})

test('a writer in another process is refused while it lives, and its lock is taken over when it was killed', async () => {
  const folder = fresh()
  const source = new URL('../../../src/edge/audit/spool.ts', import.meta.url).href
  const code = `
    const { openSpool } = await import(${JSON.stringify(source)})
    openSpool(${JSON.stringify(folder)}, () => '')
    console.log('open')
    setInterval(() => {}, 1000)`
  const other = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(other.stdout, 'data')
  expect(() => openSpool(folder, gap)).toThrow(new RegExp(`written by process ${other.pid}\\b`))
  other.kill('SIGKILL')
  await once(other, 'exit')
  const spool = openSpool(folder, gap)
  expect(await spool.record(line('after'))).toBe(true)
  await spool.close()
})

test.each([
  ['our own pid, of a container that was restarted', `${process.pid} 00000000 1`],
  ['a pid that another process has now', `${process.ppid} 00000000 1`],
  ['nothing, after a power cut', ''],
])('a lock of %s is stale', async (_name, text) => {
  const folder = fresh()
  writeFileSync(join(folder, 'decisions.lock'), text)
  const spool = openSpool(folder, gap)
  await spool.close()
  expect(existsSync(join(folder, 'decisions.lock'))).toBe(false)
})
