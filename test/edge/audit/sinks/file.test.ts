import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { createFileSink, type FileSettings } from '../../../../src/edge/audit/sinks/file.ts'
import { smallDisk } from '../../../support/small-disk.ts'
import { linesOf, recordLine } from '../../../support/source.ts'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})
const start = (more: Partial<FileSettings> = {}) => {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-file-'))
  const path = join(folder, 'events.jsonl')
  let time = Date.now()
  const sink = createFileSink(
    'file',
    { path, bytes: 1 << 20, age: 3_600_000, files: 3, ...more },
    ({ text }) => text,
    () => time,
  )
  ends.push(() => rmSync(folder, { recursive: true }), sink.close)
  const seqs = (name = path) =>
    readFileSync(name, 'utf8')
      .trimEnd()
      .split('\n')
      .map((text) => JSON.parse(text).custom.seq)
  return {
    path,
    folder,
    seqs,
    pass: (ms: number) => {
      time += ms
    },
    send: (...numbers: number[]) =>
      sink.send(linesOf(numbers.map((seq) => recordLine(seq))), new AbortController().signal),
  }
}

test('lines are appended, one a line, for the owner to write', async () => {
  const { send, seqs, path } = start()
  expect((await send(1, 2)).kind).toBe('accepted')
  expect((await send(3)).kind).toBe('accepted')
  expect(seqs()).toEqual([1, 2, 3])
  expect(statSync(path).mode & 0o022).toBe(0)
})

test('a file that would be too large is set aside, and so many are kept', async () => {
  const { send, seqs, path, folder } = start({ bytes: 500 })
  for (let seq = 1; seq <= 8; seq += 2) await send(seq, seq + 1)
  expect(readdirSync(folder).sort()).toEqual(['events.jsonl', 'events.jsonl.1', 'events.jsonl.2'])
  expect([seqs(`${path}.2`), seqs(`${path}.1`), seqs()]).toEqual([
    [3, 4],
    [5, 6],
    [7, 8],
  ])
})

test('a file that is old is set aside at the next line', async () => {
  const { send, seqs, path, pass } = start({ age: 60_000 })
  await send(1)
  pass(61_000)
  await send(2)
  expect([seqs(`${path}.1`), seqs()]).toEqual([[1], [2]])
})

test('a torn line of a process that was killed is cut: it comes again', async () => {
  const { send, seqs, path } = start()
  appendFileSync(path, `${recordLine(1)}\n{"torn`)
  await send(2)
  expect(seqs()).toEqual([1, 2])
})

test('a file that logrotate moved away is begun anew', async () => {
  const { send, seqs, path } = start()
  await send(1)
  renameSync(path, `${path}.old`)
  await send(2)
  expect([seqs(`${path}.old`), seqs()]).toEqual([[1], [2]])
})

test('a folder that is missing is a retry, and mended when it is there', async () => {
  const { send, folder, path } = start()
  rmSync(folder, { recursive: true })
  expect(await send(1)).toMatchObject({ kind: 'retry', said: expect.stringContaining('ENOENT') })
  expect(existsSync(path)).toBe(false)
  mkdirSync(folder)
  expect((await send(1)).kind).toBe('accepted')
})

const { folder: small, missing } = await smallDisk('64k')
test.skipIf(missing)('a full disk is a retry, leaves no part of a line, and is mended by room', async () => {
  const path = join(small, 'events.jsonl')
  const sink = createFileSink('file', { path, bytes: 1 << 20, age: 3_600_000, files: 3 }, ({ text }) => text)
  ends.push(sink.close)
  const send = (...numbers: number[]) =>
    sink.send(linesOf(numbers.map((seq) => recordLine(seq))), new AbortController().signal)
  await send(1)
  const filler = join(small, 'filler')
  writeFileSync(filler, Buffer.alloc(59_000))
  const many = Array.from({ length: 60 }, (_, i) => i + 2)
  expect(await send(...many)).toMatchObject({ kind: 'retry', said: expect.stringContaining('ENOSPC') })
  expect(readFileSync(path, 'utf8')).toBe(`${recordLine(1)}\n`)
  rmSync(filler)
  expect((await send(...many)).kind).toBe('accepted')
  const seqs = readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((text) => JSON.parse(text).custom.seq)
  expect(seqs).toEqual([1, ...many])
})
