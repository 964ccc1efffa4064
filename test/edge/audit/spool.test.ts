import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { listSegments } from '../../../src/edge/audit/segments.ts'
import type { Spool } from '../../../src/edge/audit/spool.ts'
import { logText } from '../../support/log.ts'
import { smallDisk } from '../../support/small-disk.ts'
import { codesOf, customsOf, lineOf, ROOMY, spoolAt } from '../../support/spool.ts'

const folders: string[] = []
const spools: Spool[] = []
const fresh = () => {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-spool-'))
  folders.push(folder)
  return folder
}
afterEach(async () => {
  for (const spool of spools.splice(0)) await spool.close()
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})
const open = (...given: Parameters<typeof spoolAt>) => {
  const spool = spoolAt(...given)
  spools.push(spool)
  return spool
}
const dense = (folder: string) =>
  expect(customsOf(folder).map(({ seq }) => seq)).toEqual(customsOf(folder).map((_custom, i) => i + 1))
const firstFile = (folder: string) => listSegments(folder)[0]?.path as string

test('lines are there when record says so, in order, numbered densely', async () => {
  const folder = fresh()
  const spool = open(folder)
  const results = await Promise.all(
    Array.from({ length: 100 }, (_, i) => spool.record(lineOf(String(i)), 'required')),
  )
  expect(results).toEqual(results.map(() => true))
  dense(folder)
  expect(codesOf(folder)).toEqual(results.map((_, i) => String(i)))
  expect(statSync(firstFile(folder)).mode & 0o077).toBe(0)
})

test('numbers and the id of the log go on across restarts', async () => {
  const folder = fresh()
  const first = open(folder)
  await first.record(lineOf('a'), 'required')
  await first.close()
  const second = open(folder)
  await second.record(lineOf('b'), 'required')
  expect(second.id).toBe(first.id)
  expect(second.state()).toMatchObject({ seq: 2, oldest: 1 })
  dense(folder)
})

test('a torn last line is cut at the next start, and said', async () => {
  const folder = fresh()
  const first = open(folder)
  await first.record(lineOf('whole'), 'required')
  await first.close()
  appendFileSync(firstFile(folder), '{"labels":{"torn')
  const second = open(folder)
  await second.record(lineOf('next'), 'required')
  expect(codesOf(folder)).toEqual(['whole', 'torn_tail_cut', 'next'])
  expect(customsOf(folder)[1].cause.bytes).toBe(16)
  dense(folder)
})

test('zeros that a power cut left in place of the last lines are cut', async () => {
  const folder = fresh()
  const first = open(folder)
  await first.record(lineOf('whole'), 'required')
  await first.close()
  const size = statSync(firstFile(folder)).size
  truncateSync(firstFile(folder), size + 5000)
  const second = open(folder)
  await second.record(lineOf('next'), 'required')
  expect(codesOf(folder)).toEqual(['whole', 'torn_tail_cut', 'next'])
})

test.each([
  ['a line taken out', (text: string) => text.replace(/.*"code":"2".*\n/, '')],
  ['a line twice', (text: string) => text.replace(/(.*"code":"2".*\n)/, '$1$1')],
  ['a line of something else', (text: string) => text.replace(/(.*"code":"2".*\n)/, 'hello\n$1')],
])('a log that is damaged is kept whole and not gone on with: %s', async (_name, damage) => {
  const folder = fresh()
  const first = open(folder)
  for (let i = 0; i < 5; i++) await first.record(lineOf(String(i)), 'required')
  await first.close()
  const damaged = damage(readFileSync(firstFile(folder), 'utf8'))
  writeFileSync(firstFile(folder), damaged)
  const second = open(folder)
  expect(second.id).not.toBe(first.id)
  await second.record(lineOf('next'), 'required')
  expect(codesOf(folder)).toEqual(['previous_log_damaged', 'next'])
  const { kept, log } = customsOf(folder)[0].cause
  expect(log).toBe(first.id)
  expect(logText(join(folder, kept))).toBe(damaged)
  dense(folder)
})

test('a folder that cannot be written is an error at once', () => {
  expect(() => open(join(fresh(), 'missing', 'spool'))).toThrow()
})

test('files are closed at their size, begin with the tree before them, and lose no line', async () => {
  const folder = fresh()
  const spool = open(folder, { segmentBytes: 20_000 })
  for (let i = 0; i < 300; i += 10)
    await Promise.all(
      Array.from({ length: 10 }, (_, k) => spool.record(lineOf(`${i + k} ${'x'.repeat(200)}`), 'required')),
    )
  await spool.close()
  const segments = listSegments(folder)
  expect(segments.length).toBeGreaterThan(3)
  dense(folder)
  const said = codesOf(folder)
  expect(said.filter((code) => code !== 'checkpoint')).toHaveLength(300)
  for (const { first, path } of segments.slice(1)) {
    expect(JSON.parse(readFileSync(path, 'utf8').split('\n')[0] as string).custom).toMatchObject({
      event: 'checkpoint',
      seq: first,
      tree: { size: first - 1 },
    })
  }
  const again = open(folder, { segmentBytes: 20_000 })
  expect(again.state().seq).toBe(said.length)
})

test('with disk a required line is answered once it is on disk; others do not wait', async () => {
  const held: (() => void)[] = []
  const sync = (_fd: number, done: (error: null) => void) => void held.push(() => done(null))
  const spool = open(fresh(), { durability: 'disk' }, { fdatasync: sync })
  let answered = 0
  const asked = Promise.all(
    [1, 2].map((n) => spool.record(lineOf(String(n)), 'required').then((kept) => (answered += Number(kept)))),
  )
  expect(await spool.record(lineOf('denied'), 'reserve')).toBe(true)
  expect(answered).toBe(0)
  const later = spool.record(lineOf('later'), 'required')
  await expect.poll(() => held.length).toBe(1)
  held.shift()?.()
  await asked
  expect(answered).toBe(2)
  await expect.poll(() => held.length).toBe(1)
  held.shift()?.()
  expect(await later).toBe(true)
  const end = setInterval(() => held.shift()?.(), 1)
  await spool.close()
  clearInterval(end)
})

test('a disk that does not answer refuses what is required, answers denials, and recovers', async () => {
  let hangs = true
  const held: (() => void)[] = []
  const sync = (_fd: number, done: (error: null) => void) => {
    if (hangs) held.push(() => done(null))
    else setImmediate(() => done(null))
  }
  const folder = fresh()
  let time = 0
  const spool = open(folder, { durability: 'disk' }, { fdatasync: sync, elapsed: () => time })
  const waiting = spool.record(lineOf('waits'), 'required')
  await expect.poll(() => held.length).toBe(1)
  time = 3_000
  expect(await waiting).toBe(false)
  expect(await spool.record(lineOf('refused'), 'required')).toBe(false)
  expect(await spool.record(lineOf('denied'), 'reserve')).toBe(true)
  expect(spool.state().error).toBe('the disk does not answer')
  hangs = false
  for (const go of held.splice(0)) go()
  await expect.poll(() => spool.record(lineOf('after'), 'required')).toBe(true)
  expect(spool.state().error).toBe(undefined)
  const gap = customsOf(folder).find(({ event }) => event === 'gap')
  expect(gap.cause).toMatchObject({ code: 'records_lost', why: 'the disk does not answer' })
  dense(folder)
})

test('a disk that fails to keep a file gets it anew in another, and nothing is acknowledged before', async () => {
  let fails = 3
  const sync = (_fd: number, done: (error: Error | null) => void) =>
    setImmediate(() => done(fails-- > 0 ? new Error('EIO: i/o error, fdatasync') : null))
  const folder = fresh()
  const spool = open(folder, { durability: 'disk' }, { fdatasync: sync })
  expect(await spool.record(lineOf('first'), 'required')).toBe(false)
  expect(spool.state().error).toContain('EIO')
  expect(await spool.record(lineOf('second'), 'required')).toBe(false)
  await expect.poll(() => spool.record(lineOf('third'), 'required'), { timeout: 5_000 }).toBe(true)
  expect(codesOf(folder)).toEqual(expect.arrayContaining(['first', 'segment_replaced', 'third']))
  dense(folder)
  await spool.close()
  const again = open(folder)
  expect(again.state().seq).toBe(customsOf(folder).length)
})

test('a process that writes our file from elsewhere is noticed: nothing passes on it any more', async () => {
  const folder = fresh()
  const spool = open(folder)
  await spool.record(lineOf('ours'), 'required')
  appendFileSync(firstFile(folder), '{"custom":{"cause":{"code":"of another"},"seq":2}}\n')
  expect(await spool.record(lineOf('next'), 'required')).toBe(false)
  expect(await spool.record(lineOf('denied'), 'reserve')).toBe(false)
  expect(spool.state().error).toContain('another process writes')
  expect(logText(folder)).toMatch(/of another.*\n$/)
})

const { folder: small, missing, resize } = await smallDisk('128k')
test.skipIf(missing)(
  'a full disk refuses what is required, records denials in the reserve, and recovers by itself with a gap record',
  async () => {
    const spool = open(small, { reserveBytes: 32_768 })
    const text = lineOf('x'.repeat(3000))
    let kept = 0
    while (await spool.record(text, 'required')) if (++kept > 100) throw new Error('the disk does not fill')
    expect(spool.state()).toMatchObject({ lost: 1, error: expect.stringContaining('ENOSPC') })
    expect(await spool.record(text, 'required')).toBe(false)
    expect(await spool.record(lineOf('best effort'), 'best_effort')).toBe(false)
    for (let i = 0; i < 5; i++)
      expect(await spool.record(lineOf(`denied ${'x'.repeat(1000)}`), 'reserve')).toBe(true)
    let more = 0
    while (await spool.record(text, 'reserve')) if (++more > 100) throw new Error('the reserve has no end')
    expect(codesOf(small).filter((code) => code.startsWith('denied'))).toHaveLength(5)
    expect(logText(small)).toMatch(/\}\n$/)
    await resize('512k')
    expect(await spool.record(lineOf('after'), 'required')).toBe(true)
    const said = customsOf(small)
    const gap = said.findLast(({ event }) => event === 'gap')
    expect(gap.cause).toMatchObject({
      code: 'records_lost',
      lost: 4,
      required: 2,
      why: expect.stringContaining('ENOSPC'),
    })
    expect(said.map(({ cause }) => cause.code)).toContain('records_refused')
    dense(small)
    await spool.close()
  },
)

const fill = async (spool: Spool, lines: number) => {
  const answers: boolean[] = []
  for (let i = 0; i < lines; i++)
    answers.push(await spool.record(lineOf(`${i} ${'x'.repeat(900)}`), 'required'))
  return answers
}
const full = { maxBytes: 200_000, segmentBytes: 20_000, reserveBytes: 20_000 }

test('what a sink has not passed is not deleted: at the limit what is required is refused, denials are not', async () => {
  const folder = fresh()
  const spool = open(folder, full)
  const sink = spool.reader('slow')
  spool.retain()
  const answers = await fill(spool, 250)
  expect(answers.at(-1)).toBe(false)
  expect(await spool.record(lineOf('denied'), 'reserve')).toBe(true)
  expect(spool.state()).toMatchObject({ oldest: 1, error: 'the spool is full (buffer.max_bytes)' })
  dense(folder)
  await expect.poll(() => spool.state().warning).toBe('the spool is 100 % full')
  // The sink comes back: it gets every line in order, and there is room again.
  const seen: number[] = []
  while (await sink.wait(undefined, AbortSignal.timeout(300))) {
    const { lines, next } = await sink.read({ lines: 50, bytes: 30_000 })
    seen.push(...lines.map(({ seq }) => seq))
    await sink.commit(next)
    await spool.record(lineOf('more'), 'required')
    if (seen.length > 1000) throw new Error('it has no end')
    if (seen.includes(200)) break
  }
  expect(seen).toEqual(seen.map((_, i) => i + 1))
  expect(await spool.record(lineOf('room'), 'required')).toBe(true)
  expect(spool.state().oldest).toBeGreaterThan(1)
  expect(spool.state().bytes).toBeLessThan(full.maxBytes)
  // Words of its own are written with the next tick.
  await expect
    .poll(() =>
      ['segment_deleted', 'records_lost', 'spool_filling'].filter((code) => !codesOf(folder).includes(code)),
    )
    .toEqual([])
})

test('with drop_oldest the oldest go, and a gap record says which of which sink', async () => {
  const folder = fresh()
  const spool = open(folder, { ...full, whenFull: 'drop_oldest' })
  const sink = spool.reader('slow')
  spool.retain()
  expect(new Set(await fill(spool, 400))).toEqual(new Set([true]))
  await expect.poll(() => codesOf(folder).includes('records_not_delivered')).toBe(true)
  const gaps = customsOf(folder).filter(({ cause }) => cause?.code === 'records_not_delivered')
  expect(gaps[0].cause).toMatchObject({ sink: 'slow', to: expect.any(Number) })
  const { lines } = await sink.read({ lines: 1, bytes: 1 })
  expect(lines[0]?.seq).toBe(spool.state().oldest)
  expect(sink.position().seq).toBe(spool.state().oldest - 1)
})

test('nothing is deleted before the sinks are there', async () => {
  const spool = open(fresh(), full)
  await fill(spool, 250)
  expect(spool.state().oldest).toBe(1)
  const sink = spool.reader('late')
  expect((await sink.read({ lines: 1, bytes: 1 })).lines[0]?.seq).toBe(1)
})

test('files that every sink has passed go when they are old', async () => {
  let time = Date.now()
  const folder = fresh()
  const spool = open(folder, { segmentBytes: 20_000, maxAge: 10_000 }, { now: () => time })
  spool.retain()
  await fill(spool, 60)
  expect(spool.state().oldest).toBe(1)
  time += 60_000
  await expect.poll(() => spool.state().oldest).toBeGreaterThan(1)
  await spool.close()
  const again = open(folder)
  expect(await again.record(lineOf('next'), 'required')).toBe(true)
})

test('a reader goes on where it has committed, also after a restart, and never sees what is not on disk', async () => {
  const folder = fresh()
  let spool = open(folder, { segmentBytes: 20_000 })
  let sink = spool.reader('siem')
  await fill(spool, 100)
  const seen: number[] = []
  const take = async (lines: number) => {
    await sink.wait()
    const batch = await sink.read({ lines, bytes: 1 << 20 })
    expect(batch.lines.every(({ seq, text }) => JSON.parse(text).custom.seq === seq)).toBe(true)
    seen.push(...batch.lines.map(({ seq }) => seq))
    return batch
  }
  await sink.commit((await take(7)).next)
  const ahead = await take(10)
  const further = await sink.read({ lines: 10, bytes: 1 << 20 }, ahead.next)
  expect(further.lines[0]?.seq).toBe(18)
  await spool.close()
  seen.splice(7)
  spool = open(folder, { segmentBytes: 20_000 })
  sink = spool.reader('siem')
  expect(sink.lag()).toMatchObject({ lines: spool.state().seq - 7, since: expect.any(Number) })
  while (sink.position().seq < spool.state().seq) await sink.commit((await take(9)).next)
  expect(seen).toEqual(seen.map((_, i) => i + 1))
  expect(sink.lag()).toEqual({ lines: 0, bytes: 0, since: undefined })
  let woken = false
  const waiting = sink.wait().then((found) => {
    woken = true
    return found
  })
  await new Promise((resolve) => setImmediate(resolve))
  expect(woken).toBe(false)
  await spool.record(lineOf('more'), 'required')
  expect(await waiting).toBe(true)
  await take(1)
  const last = sink.wait({ ...sink.position(), seq: spool.state().seq })
  await spool.close()
  expect(await last).toBe(false)
})

test('what a reader is behind is the age of the oldest line that waits, whatever was taken meanwhile', async () => {
  const folder = fresh()
  let time = 1_000_000
  const at = () => lineOf('x', time)
  let spool = open(folder, {}, { now: () => 5_000_000 })
  for (time = 1_000_000; time < 1_010_000; time += 1_000) await spool.record(at(), 'required')
  await expect.poll(() => spool.state().synced).toBe(10)
  const sink = spool.reader('siem')
  const two = await sink.read({ lines: 2, bytes: 1 << 20 })
  expect(sink.lag().since).toBe(1_000_000)
  await sink.commit(two.next)
  await sink.read({ lines: 2, bytes: 1 << 20 })
  expect(sink.lag().since).toBe(1_002_000)
  await spool.close()
  // After a restart it is as old as it was.
  spool = open(folder, {}, { now: () => 9_000_000 })
  const again = spool.reader('siem')
  await again.read({ lines: 2, bytes: 1 << 20 })
  expect(again.lag().since).toBe(1_002_000)
  const rest = await again.read({ lines: 100, bytes: 1 << 20 })
  await again.commit(rest.next)
  expect(again.lag().since).toBe(undefined)
})

test('a line that is longer than a batch may be comes alone', async () => {
  const spool = open(fresh())
  const sink = spool.reader('siem')
  await spool.record(lineOf('x'.repeat(300_000)), 'required')
  await spool.record(lineOf('short'), 'required')
  await expect.poll(() => spool.state().synced).toBe(2)
  const { lines, next } = await sink.read({ lines: 10, bytes: 1000 })
  expect(lines.map(({ text }) => text.length > 300_000)).toEqual([true])
  expect((await sink.read({ lines: 10, bytes: 1000 }, next)).lines).toHaveLength(1)
})

test('a name that could leave the folder is no sink’s', () => {
  expect(() => open(fresh()).reader('../x')).toThrow('a sink’s name'.replace('’', "'"))
})

test('a second writer of a folder is refused, with the process that holds it', async () => {
  const folder = fresh()
  const first = open(folder)
  expect(() => open(folder)).toThrow(new RegExp(`written by process ${process.pid}\\b`))
  await first.close()
  const next = open(folder)
  await next.close()
  expect(readdirSync(folder).sort()).toEqual(['decisions-0000000000000001.jsonl', 'log.json'])
})

test('a writer in another process is refused while it lives, and its lock is taken over when it was killed', async () => {
  const folder = fresh()
  const source = new URL('../../../src/edge/audit/spool.ts', import.meta.url).href
  const code = `
    const { openSpool } = await import(${JSON.stringify(source)})
    openSpool(${JSON.stringify({ ...ROOMY, folder })}, { say: () => '', now: Date.now, newId: () => 'id' })
    console.log('open')
    setInterval(() => {}, 1000)`
  const other = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(other.stdout, 'data')
  expect(() => open(folder)).toThrow(new RegExp(`written by process ${other.pid}\\b`))
  other.kill('SIGKILL')
  await once(other, 'exit')
  const spool = open(folder)
  expect(await spool.record(lineOf('after'), 'required')).toBe(true)
  await spool.close()
})

test.each([
  ['our own pid, of a container that was restarted', `${process.pid} 00000000 1`],
  ['a pid that another process has now', `${process.ppid} 00000000 1`],
  ['nothing, after a power cut', ''],
])('a lock of %s is stale', async (_name, text) => {
  const folder = fresh()
  writeFileSync(join(folder, 'decisions.lock'), text)
  const spool = open(folder)
  await spool.close()
  expect(existsSync(join(folder, 'decisions.lock'))).toBe(false)
})
