import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { listSegments } from '../../../src/edge/audit/segments.ts'
import { openSpool } from '../../../src/edge/audit/spool.ts'
import { verifyLog } from '../../../src/edge/audit/verify.ts'
import { newId } from '../../../src/edge/id.ts'
import { lifecycleEvent, ownEvent } from '../../../src/log/event.ts'
import { inclusionProof, leafHash, rangeHash, rootFrom } from '../../../src/log/merkle.ts'
import {
  isSigned,
  readNote,
  readSigningKey,
  readVerifier,
  verifierKey,
  writeNote,
} from '../../../src/log/note.ts'
import { logText } from '../../support/log.ts'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../../../', import.meta.url))
const { privateKey } = generateKeyPairSync('ed25519')
const signer = { name: 'example.com/log', key: privateKey }
const verifier = readVerifier(verifierKey(signer))
const other = readVerifier(verifierKey({ ...signer, key: generateKeyPairSync('ed25519').privateKey }))
const origin = { labels: {}, bundles: {} }

let folder = ''
let time = 1_000_000
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mcp-verify-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))
const facts = (id = 'd') => ({ decision_id: id, event_id: newId(), time_ms: time })
const open = (signed = true, settings = {}) =>
  openSpool(
    {
      folder,
      durability: 'process',
      maxBytes: 1 << 30,
      segmentBytes: 20_000,
      segmentAge: 3_600_000,
      maxAge: 3_600_000,
      reserveBytes: 0,
      whenFull: 'refuse',
      checkpointEvery: 1_000,
      ...settings,
    },
    {
      say: (event, more) => ownEvent(origin, facts(), event, more),
      now: () => time,
      newId,
      ...(signed && { sign: (_id: string, size: number, hash: Buffer) => writeNote(signer, size, hash) }),
    },
  )
/** Lines with a checkpoint now and then, in several files, as a process leaves them. */
const write = async (lines: number, signed = true, settings = {}) => {
  const spool = open(signed, settings)
  for (let i = 0; i < lines; i++) {
    time += 100
    await spool.record(
      lifecycleEvent(origin, facts(`d-${i}`), { code: `line ${i} ${'x'.repeat(300)}` }),
      'required',
    )
  }
  await spool.close()
  return logText(folder).trimEnd().split('\n')
}
const fileWith = (seq: number) => listSegments(folder).findLast(({ first }) => first <= seq)?.path as string
/** Changes the file that a line is in. */
const edit = (seq: number, change: (lines: string[], at: number) => void) => {
  const path = fileWith(seq)
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n')
  change(
    lines,
    lines.findIndex((line) => line.endsWith(`"seq":${seq}}}`)),
  )
  writeFileSync(path, lines.map((line) => `${line}\n`).join(''))
}
const alter = (list: string[], at: number) => {
  list[at] = (list[at] as string).replace('line', 'lime')
}
const plain = (seq: number, lines: string[]) => {
  for (let at = seq; ; at++) if (lines[at - 1]?.includes('"event":"lifecycle"')) return at
}

test('a log that was not touched is what was written, across files and restarts', async () => {
  await write(100)
  const lines = await write(100)
  const result = verifyLog(folder, { verifier })
  expect(listSegments(folder).length).toBeGreaterThan(2)
  expect(result).toMatchObject({ fault: undefined, first: 1, last: lines.length, torn: 0 })
  expect(result.signed).toBeGreaterThan(5)
  // The last line of all is the checkpoint of those before it.
  expect(result.covered).toBe(lines.length - 1)
})

test.each([1, 2, 37, 80, 150])('each way to tamper with record %i is found at it', async (near) => {
  const lines = await write(200)
  const seq = plain(near, lines)
  const whole = listSegments(folder).map(({ path }) => ({ path, text: readFileSync(path, 'utf8') }))
  const found = (change: (list: string[], at: number) => void) => {
    edit(seq, change)
    const { fault } = verifyLog(folder, { verifier })
    for (const { path, text } of whole) writeFileSync(path, text)
    return fault?.seq
  }
  expect(found(alter)).toBe(seq)
  expect(found((list, at) => void list.splice(at, 1))).toBe(seq)
  expect(found((list, at) => void list.splice(at, 0, list[at] as string))).toBe(seq + 1)
  expect(found((list, at) => void list.splice(at, 2, list[at + 1] as string, list[at] as string))).toBe(seq)
  expect(found((list, at) => void list.splice(at, 0, '{"custom":{}}'))).toBe(seq)
  expect(found(() => {})).toBe(undefined)
})

test('lines that were cut off at the end are found by a checkpoint that was kept elsewhere', async () => {
  const lines = await write(100)
  const older = readNote(readFileSync(join(folder, 'checkpoint'), 'utf8'))
  expect(verifyLog(folder, { verifier, older })).toMatchObject({ fault: undefined, older: 'consistent' })
  edit(lines.length - 3, (list, at) => void list.splice(at))
  expect(verifyLog(folder, { verifier }).fault).toBe(undefined)
  expect(verifyLog(folder, { verifier, older }).fault?.why).toContain('records are missing at the end')
  // The program itself does not go on with such a log.
  const spool = open()
  await spool.record(lifecycleEvent(origin, facts(), { code: 'next' }), 'required')
  await spool.close()
  expect(JSON.parse(logText(folder).split('\n')[0] as string).custom.cause).toMatchObject({
    code: 'previous_log_damaged',
    why: expect.stringContaining('its checkpoint has'),
  })
})

test('a log that was written anew from the start does not go on from an older checkpoint', async () => {
  await write(50)
  const older = readNote(readFileSync(join(folder, 'checkpoint'), 'utf8'))
  rmSync(folder, { recursive: true })
  mkdirSync(folder)
  await write(80)
  expect(verifyLog(folder, { verifier }).fault).toBe(undefined)
  expect(verifyLog(folder, { verifier, older }).fault?.why).toContain('written anew')
})

test('a checkpoint of another key is none', async () => {
  await write(30)
  expect(verifyLog(folder, { verifier: other }).fault?.why).toContain('not signed with this key')
})

test('without a key files begin with the tree, and a record that was altered is still told from the others', async () => {
  const lines = await write(200, false)
  expect(verifyLog(folder, {})).toMatchObject({ fault: undefined, signed: 0 })
  const seq = plain(120, lines)
  edit(seq, alter)
  expect(verifyLog(folder, {}).fault?.seq).toBe(seq)
})

test('when old files were deleted the rest is still proven, and so is a record in it', async () => {
  const lines = await write(200)
  rmSync(listSegments(folder)[0]?.path as string)
  const { first } = listSegments(folder)[0] as { first: number }
  const result = verifyLog(folder, { verifier, decision: 'd-190' })
  expect(result).toMatchObject({ fault: undefined, first, last: lines.length })
  const { leaf, index, size, path, root: hash } = result.inclusion as NonNullable<typeof result.inclusion>
  expect(rootFrom(leaf, index, size, path)).toEqual(hash)
  expect(rootFrom(leaf, index + 1, size, path)).not.toEqual(hash)
  expect(rootFrom(leaf, index, size, path.slice(1))).toBe(undefined)
  expect(verifyLog(folder, { decision: 'nobody' }).fault?.why).toContain('no record of decision')
})

test('audit paths of every leaf of every small tree lead to its root (RFC 6962, 2.1)', () => {
  const leaves = Array.from({ length: 40 }, (_, i) => leafHash(Buffer.from(`leaf ${i}`)))
  const known = (from: number, to: number) => (to - from === 1 ? leaves[from] : undefined)
  for (let size = 1; size <= leaves.length; size++) {
    const hash = rangeHash(0, size, known)
    for (let i = 0; i < size; i++)
      expect(rootFrom(leaves[i] as Buffer, i, size, inclusionProof(i, size, known))).toEqual(hash)
  }
})

/** Go's own reading of both formats. */
const tlog = join(root, '.cache/tlog/tlog')
let noGo: string | undefined
beforeAll(async () => {
  mkdirSync(join(root, '.cache/tlog'), { recursive: true })
  noGo = await run('go', ['build', '-o', tlog, '.'], {
    cwd: join(root, 'tools/tlog'),
    timeout: 100_000,
  }).then(
    () => undefined,
    (error: Error) => error.message.split('\n')[0],
  )
}, 120_000)
afterAll(() => {
  if (noGo) console.warn(`SKIPPED: the comparison with Go's sumdb/note and sumdb/tlog needs go: ${noGo}`)
})
test('Go’s sumdb/note and sumdb/tlog agree with checkpoint, tree and proof, and we with its note', async ({
  skip,
}) => {
  skip(noGo !== undefined, noGo)
  const lines = await write(150)
  const { inclusion } = verifyLog(folder, { verifier, decision: 'd-33' })
  const [linesFile, proofFile] = [join(folder, 'lines'), join(folder, 'proof')]
  writeFileSync(linesFile, `${lines.join('\n')}\n`)
  writeFileSync(
    proofFile,
    JSON.stringify({
      ...inclusion,
      leaf: inclusion?.leaf.toString('base64'),
      root: inclusion?.root.toString('base64'),
      path: inclusion?.path.map((hash) => hash.toString('base64')),
    }),
  )
  // The example of golang.org/x/mod/sumdb/note.
  const skey = 'PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz'
  const ask = () => run(tlog, [linesFile, join(folder, 'checkpoint'), verifierKey(signer), proofFile, skey])
  const { stdout } = await ask()
  const vkey = readVerifier('PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW')
  expect(isSigned(stdout, vkey as NonNullable<typeof vkey>)).toBe(true)
  expect(readNote(stdout)?.origin).toBe('go.example/log')
  const key = readSigningKey(skey)
  expect(verifierKey({ name: 'PeterNeumann', key: key as NonNullable<typeof key> })).toContain(
    '+c74f20a3+ARpc',
  )
  writeFileSync(linesFile, `${lines.join('\n').replace('line 7 ', 'lime 7 ')}\n`)
  await expect(ask()).rejects.toThrow()
})
