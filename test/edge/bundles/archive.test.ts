// The bounds of an archive: in all, in number, and in how well it is compressed.
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { ARCHIVE_LIMITS, type ArchiveLimits, unpack } from '../../../src/edge/bundles/archive.ts'
import { type Entry, tarball } from '../../support/bundles.ts'

const unpacked = async (entries: Entry[], limits?: ArchiveLimits) =>
  unpack('b', { bytes: await tarball(entries) }, limits)
const some = (count: number, text: string): Entry[] =>
  Array.from({ length: count }, (_, i) => ({ name: `d${i}/data.json`, text }))
test('files together, each below the bound, are too large', async () => {
  const limits = { bytes: 64 << 10, files: 100 }
  expect((await unpacked(some(6, 'x'.repeat(8 << 10)), limits)).size).toBe(6)
  await expect(unpacked(some(8, 'x'.repeat(8 << 10)), limits)).rejects.toMatchObject({
    code: 'too_large',
    message: expect.stringContaining('size_limit_bytes'),
  })
})

test('more files than there may be are too many, though each is empty', async () => {
  const limits = { bytes: 1 << 20, files: 100 }
  expect((await unpacked(some(100, '{}'), limits)).size).toBe(100)
  await expect(unpacked(some(101, '{}'), limits)).rejects.toMatchObject({
    code: 'too_large',
    message: expect.stringContaining('more than 100 files'),
  })
})

test('what unpacks to more than 200 times its size is a bomb, though it is below the bound', async () => {
  const file = (text: string | Buffer) => unpacked([{ name: 'data.json', text }], ARCHIVE_LIMITS)
  await expect(file('0'.repeat(40 << 20))).rejects.toMatchObject({
    code: 'too_large',
    message: expect.stringContaining('more than 200 times its size'),
  })
  // Small data is compressed as well, and is none.
  expect((await file('0'.repeat(8 << 20))).size).toBe(1)
  expect((await file(Buffer.concat([randomBytes(256 << 10), Buffer.alloc(20 << 20)]))).size).toBe(1)
})

test.each(['symlink', 'link', 'character-device'] as const)('a %s is no file', async (type) => {
  await expect(unpacked([{ name: 'data.json', type, linkname: '/etc/passwd' }])).rejects.toMatchObject({
    code: 'malformed',
  })
})

test('a file twice is refused', async () => {
  const twice = [
    { name: '/data.json', text: '{}' },
    { name: './data.json', text: '{"a":1}' },
  ]
  await expect(unpacked(twice)).rejects.toMatchObject({ code: 'malformed' })
})
