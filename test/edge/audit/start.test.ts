// A start finds the end of its log without reading all of it, and is not misled by what was kept for that.

import { generateKeyPairSync } from 'node:crypto'
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { signWith } from '../../../src/edge/audit/checkpoint.ts'
import { openLog } from '../../../src/edge/audit/open.ts'
import { listSegments } from '../../../src/edge/audit/segments.ts'
import { openSpool, type Spool } from '../../../src/edge/audit/spool.ts'
import { verifyLog } from '../../../src/edge/audit/verify.ts'
import { newId } from '../../../src/edge/id.ts'
import { lifecycleEvent, ownEvent } from '../../../src/log/event.ts'
import type { Parsed } from '../../support/raw.ts'

const MIB = 1 << 20
const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const verifier = { name: undefined, key: publicKey }
const origin = { labels: {}, bundles: {} }
const facts = { decision_id: 'd', event_id: 'e', time_ms: 0 }
const spools: Spool[] = []
let base = ''
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'mcp-start-'))
})
afterEach(async () => {
  for (const spool of spools.splice(0)) await spool.close()
  rmSync(base, { recursive: true, force: true })
})
const open = (folder: string, { signs = true, segmentBytes = 64 * MIB } = {}) => {
  const spool = openSpool(
    {
      folder,
      durability: 'process',
      maxBytes: 1 << 30,
      segmentBytes,
      segmentAge: 3_600_000,
      maxAge: 3_600_000,
      reserveBytes: 4096,
      whenFull: 'refuse',
      checkpointEvery: 1,
    },
    {
      say: (event, more) => ownEvent(origin, facts, event, more),
      now: Date.now,
      newId,
      ...(signs && { sign: signWith({ key: privateKey, origin: 'test' }) }),
    },
  )
  spools.push(spool)
  return spool
}
const write = async (spool: Spool, bytes: number) => {
  const until = spool.state().bytes + bytes
  for (let n = 0; spool.state().bytes < until; n++)
    await spool.record(lifecycleEvent(origin, facts, { code: `${n} ${'x'.repeat(30_000)}` }), 'required')
  await eventually(() => spool.state().seq === spool.state().synced)
}
const eventually = (holds: () => boolean) => vi.waitUntil(holds, { timeout: 20_000 })
const lastFile = (folder: string) => listSegments(folder).at(-1)?.path as string
const endOf = (folder: string): Parsed => JSON.parse(readFileSync(join(folder, 'end.json'), 'utf8'))
/** A folder as a process that was killed leaves it, where it was kept how far its log was. */
const leave = async (signs: boolean) => {
  const written = mkdtempSync(join(tmpdir(), 'mcp-start-'))
  const spool = open(written, { signs })
  await write(spool, 5 * MIB)
  await eventually(() => existsSync(join(written, 'end.json')))
  await write(spool, MIB / 8)
  const folder = `${written}-killed`
  copy(written, folder)
  const left = { folder, seq: spool.state().seq, id: spool.id }
  await spool.close()
  rmSync(written, { recursive: true })
  return left
}
const copy = (from: string, to: string) =>
  cpSync(from, to, { recursive: true, filter: (path) => !path.endsWith('.lock') })
let left: Map<boolean, Awaited<ReturnType<typeof leave>>>
beforeAll(async () => {
  left = new Map([
    [true, await leave(true)],
    [false, await leave(false)],
  ])
})
afterAll(() => {
  for (const { folder } of left.values()) rmSync(folder, { recursive: true })
})
const killed = (signs = true) => {
  const { folder, ...rest } = left.get(signs) as Awaited<ReturnType<typeof leave>>
  copy(folder, join(base, 'killed'))
  return { folder: join(base, 'killed'), ...rest }
}
const look = (folder: string) => openLog(folder, newId)

describe.each([true, false])('with signed checkpoints: %j', (signs) => {
  test('a start looks only at what came after, and goes on with the same tree', async () => {
    const { folder, seq, id } = killed(signs)
    const size = statSync(lastFile(folder)).size
    const { tree, looked } = look(folder)
    expect(looked).toBe(size - endOf(folder).offset)
    expect(looked).toBeLessThan(size / 2)
    rmSync(join(folder, 'end.json'))
    expect(look(folder)).toMatchObject({ id, tree: { ...tree, size: seq }, looked: size, notices: [] })
  })

  test('what it goes on with is proven by verify', async () => {
    const { folder } = killed(signs)
    const again = open(folder, { signs })
    await write(again, 5 * MIB)
    await again.close()
    const third = open(folder, { signs })
    await write(third, 1000)
    await third.close()
    expect(verifyLog(folder, signs ? { verifier } : {})).toMatchObject({
      fault: undefined,
      last: third.state().seq,
    })
  })

  test('a torn last line after it is cut, and said', async () => {
    const { folder, seq } = killed(signs)
    appendFileSync(lastFile(folder), '{"labels":{"torn')
    expect(look(folder)).toMatchObject({
      tree: { size: seq },
      notices: [['lifecycle', { cause: { code: 'torn_tail_cut', bytes: 16 } }]],
    })
  })

  test('zeros in place of the last lines are cut', async () => {
    const { folder, seq } = killed(signs)
    appendFileSync(lastFile(folder), Buffer.alloc(100_000))
    expect(look(folder)).toMatchObject({ tree: { size: seq }, notices: [['lifecycle', expect.anything()]] })
  })

  test.each([
    ['taken out before it', (text: string) => text.replace(/^.*\n.*\n/, (two) => `${two.split('\n')[0]}\n`)],
    ['put in before it', (text: string) => `${text.split('\n')[0]}\n${text}`],
    ['taken out after it', (text: string) => text.replace(/\n.*\n(.*\n)$/, '\n$1')],
  ])('a line %s is damage', async (_name, damage) => {
    const { folder } = killed(signs)
    writeFileSync(lastFile(folder), damage(readFileSync(lastFile(folder), 'utf8')))
    expect(look(folder).notices).toMatchObject([['lifecycle', { cause: { code: 'previous_log_damaged' } }]])
  })

  test('a line that was altered before it is what verify finds, and the log goes on as it was written', async () => {
    const { folder, seq } = killed(signs)
    const file = lastFile(folder)
    writeFileSync(file, readFileSync(file, 'latin1').replace('"code":"3 x', '"code":"3 y'), 'latin1')
    expect(look(folder)).toMatchObject({ tree: { size: seq }, notices: [] })
    const again = open(folder, { signs })
    await write(again, 1000)
    await again.close()
    expect(verifyLog(folder, {}).fault?.why).toMatch(/altered|written anew/)
  })

  test.each<[string, (end: Parsed) => unknown]>([
    ['empty', () => ''],
    ['no JSON', () => '{"segment":'],
    ['of another file', (end) => ({ ...end, segment: 2 })],
    ['of a place in a line', (end) => ({ ...end, offset: end.offset - 7 })],
    ['of a place that is not there', (end) => ({ ...end, offset: end.offset + 2 ** 40 })],
    ['of another line', (end) => ({ ...end, seq: end.seq - 1 })],
    ['of more than one line', (end) => ({ ...end, line: end.offset })],
    ['of a line that is longer than what is before it', (end) => ({ ...end, line: end.offset + 1 })],
    ['of a line larger than any file', (end) => ({ ...end, offset: 2 ** 53 - 1, line: 2 ** 52 })],
    ['of another text', (end) => ({ ...end, last: Buffer.alloc(32).toString('base64') })],
    ['without parts of the tree', (end) => ({ ...end, parts: [] })],
    ['with parts that are none', (end) => ({ ...end, parts: end.parts.map(() => 'x') })],
    ['without numbers', (end) => ({ ...end, seq: '1', offset: null })],
  ])('what is kept and is %s is passed over', async (_name, change) => {
    const { folder, seq, id } = killed(signs)
    const changed = change(endOf(folder))
    const text = typeof changed === 'string' ? changed : JSON.stringify(changed)
    writeFileSync(join(folder, 'end.json'), text)
    const size = statSync(lastFile(folder)).size
    expect(look(folder)).toMatchObject({ id, tree: { size: seq }, looked: size, notices: [] })
  })
})

test('a checkpoint that is not the one that was signed then has all of the file looked at', async () => {
  const { folder } = killed()
  const end = endOf(folder)
  const of = (size: number) => signWith({ key: privateKey, origin: 'test' })('x', size, Buffer.alloc(32, 1))
  for (const size of [end.signed.size, end.seq - 1, 1]) {
    const other = join(base, `other-${size}`)
    copy(folder, other)
    writeFileSync(join(other, 'checkpoint'), of(size))
    expect(look(other).notices).toMatchObject([
      ['lifecycle', { cause: { code: 'previous_log_damaged', why: 'it is not what its checkpoint is of' } }],
    ])
  }
})

test('it is of the file that is written last, and a newer file begins with its own', async () => {
  const written = join(base, 'written')
  const spool = open(written, { segmentBytes: 5 * MIB })
  await write(spool, 11 * MIB)
  const segments = listSegments(written)
  expect(segments.length).toBeGreaterThan(2)
  const { looked, tree } = look(written)
  expect(tree.size).toBe(spool.state().seq)
  expect(looked).toBeLessThanOrEqual(statSync(lastFile(written)).size)
})

test('no file is left open by looking', async () => {
  const written = join(base, 'written')
  const spool = open(written, { segmentBytes: MIB })
  await write(spool, 6 * MIB)
  await spool.close()
  const descriptors = () => readdirSync('/proc/self/fd').length
  const before = descriptors()
  for (let i = 0; i < 5; i++) look(written)
  expect(descriptors()).toBe(before)
})

test('a cursor is believed where the line that it names ends, and found again where not', async () => {
  const written = join(base, 'written')
  let spool = open(written, { signs: false })
  await write(spool, MIB / 2)
  const sink = spool.reader('siem')
  const { next } = await sink.read({ lines: 5, bytes: MIB })
  await sink.commit(next)
  await spool.close()
  const cursor = join(written, 'cursors/siem.json')
  for (const change of [
    {},
    { offset: next.offset - 3 },
    { offset: 2 ** 40 },
    { offset: 0 },
    { segment: 3 },
  ]) {
    writeFileSync(cursor, JSON.stringify({ ...next, ...change }))
    spool = open(written, { signs: false })
    expect(spool.reader('siem').position()).toEqual(next)
    await spool.close()
  }
})
