import { execFile, spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import { signWith } from '../../src/edge/audit/checkpoint.ts'
import { listSegments } from '../../src/edge/audit/segments.ts'
import { openSpool } from '../../src/edge/audit/spool.ts'
import { verifyLog } from '../../src/edge/audit/verify.ts'
import { newId } from '../../src/edge/id.ts'
import { lifecycleEvent, ownEvent } from '../../src/log/event.ts'
import { readNote } from '../../src/log/note.ts'
import { findAws } from '../../tools/receivers/receivers.ts'
import { freePort, listens } from '../support/free-port.ts'

const aws = findAws()
if (!aws.ok) console.warn(`SKIPPED: the example to S3. ${aws.why}`)
const ends: (() => unknown)[] = []
afterAll(async () => {
  for (const end of ends.reverse()) await end()
})
const script = fileURLToPath(new URL('../../deploy/siem/collectors/s3.sh', import.meta.url))
const { privateKey, publicKey } = generateKeyPairSync('ed25519')

describe.skipIf(!aws.ok)('the example to S3', () => {
  test('closed files are there as they are, each once, and are proven from there', async () => {
    const bin = aws.ok ? aws.path : ''
    const port = await freePort()
    const server = spawn(join(bin, 'moto_server'), ['-H', '127.0.0.1', '-p', String(port)], {
      stdio: 'ignore',
    })
    ends.push(() => server.kill('SIGKILL'))
    await listens(port)
    const env = {
      PATH: `${bin}:${process.env.PATH}`,
      HOME: process.env.HOME,
      AWS_ENDPOINT_URL: `http://127.0.0.1:${port}`,
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
      AWS_DEFAULT_REGION: 'eu-central-1',
    }
    const run = async (...args: string[]) =>
      (await promisify(execFile)(args[0] ?? '', args.slice(1), { env })).stdout
    await run('aws', 's3', 'mb', 's3://mcp-audit')

    const folder = mkdtempSync(join(tmpdir(), 'mcp-s3-'))
    const copy = mkdtempSync(join(tmpdir(), 'mcp-s3-copy-'))
    for (const path of [folder, copy]) ends.push(() => rmSync(path, { recursive: true, force: true }))
    const origin = { labels: {}, bundles: {} }
    const facts = { decision_id: 'd', event_id: 'e', time_ms: 0 }
    const spool = openSpool(
      {
        folder,
        durability: 'process',
        maxBytes: 1 << 30,
        segmentBytes: 20_000,
        segmentAge: 3_600_000,
        maxAge: 3_600_000,
        reserveBytes: 0,
        whenFull: 'refuse',
        checkpointEvery: 1,
      },
      {
        say: (event, more) => ownEvent(origin, facts, event, more),
        now: Date.now,
        newId,
        sign: signWith({ key: privateKey, origin: 'test' }),
      },
    )
    ends.push(spool.close)
    const write = async (files: number) => {
      const until = listSegments(folder).length + files
      while (listSegments(folder).length < until)
        await spool.record(lifecycleEvent(origin, facts, { code: 'x'.repeat(2_000) }), 'required')
    }
    const send = () => run('sh', script, folder, 's3://mcp-audit/pod-0/')
    const there = async () =>
      (await run('aws', 's3', 'ls', '--recursive', 's3://mcp-audit'))
        .trimEnd()
        .split('\n')
        .map((line) => line.split('pod-0/')[1] ?? '')
        .filter((name) => name.startsWith('decisions-'))
    const closed = () =>
      listSegments(folder)
        .slice(0, -1)
        .map(({ path }) => path.slice(folder.length + 1))

    await write(2)
    await send()
    expect(await there()).toEqual(closed())
    expect(closed()).toHaveLength(2)
    // Again: nothing of it is sent twice.
    expect(await send()).not.toContain('decisions-')
    await write(1)
    expect((await send()).match(/upload: .*decisions-/g)).toHaveLength(1)
    expect(await there()).toEqual(closed())

    await run('aws', 's3', 'sync', 's3://mcp-audit/pod-0', copy)
    for (const name of closed())
      expect(readFileSync(join(copy, name))).toEqual(readFileSync(join(folder, name)))
    const verifier = { name: undefined, key: publicKey }
    const checkpoints = readdirSync(join(copy, 'checkpoints')).sort((a, b) => Number(a) - Number(b))
    const older = readNote(readFileSync(join(copy, 'checkpoints', checkpoints[0] ?? ''), 'utf8'))
    expect(older?.size).toBe(Number(checkpoints[0]))
    const { fault, last, signed, id } = verifyLog(copy, { verifier })
    expect({ fault, id }).toEqual({ fault: undefined, id: spool.id })
    expect(last).toBe((listSegments(folder).at(-1)?.first ?? 0) - 1)
    expect(signed).toBeGreaterThan(0)
  }, 180_000)
})
