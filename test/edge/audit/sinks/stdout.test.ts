import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { afterEach, expect, test } from 'vitest'
import { startSinks } from '../../../../src/edge/audit/sinks/open.ts'
import type { Output } from '../../../../src/edge/audit/sinks/settings.ts'
import { openSpool } from '../../../../src/edge/audit/spool.ts'
import { lifecycleEvent } from '../../../../src/log/event.ts'
import { logText } from '../../../support/log.ts'

const folders: string[] = []
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})
const line = (code: string) =>
  lifecycleEvent({ labels: {}, bundles: {} }, { decision_id: 'd', event_id: 'e', time_ms: 0 }, { code })
const OUTPUT: Output = {
  name: 'stdout',
  type: 'stdout',
  schema: 'native',
  runner: { batching: { count: 1000, bytes: 64 << 10, period: 0 }, backoff: { least: 1, most: 1, slow: 1 } },
}
/** The real spool with its copy to a stream. */
const start = (to: Writable) => {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-stdout-'))
  folders.push(folder)
  const spool = openSpool(
    {
      folder,
      durability: 'process',
      maxBytes: 1 << 30,
      segmentBytes: 1 << 20,
      segmentAge: 3_600_000,
      maxAge: 3_600_000,
      reserveBytes: 0,
      whenFull: 'refuse',
      checkpointEvery: 10_000,
    },
    { say: (event) => line(event), now: Date.now, newId: () => 'id' },
  )
  const said: string[] = []
  const sinks = startSinks([OUTPUT], folder, spool.reader, { stdout: to, version: '1' }, (_name, answer) =>
    said.push(answer.said),
  )
  return { folder, spool, sinks, said }
}

test('the copy has what was recorded, and a stuck reader delays nothing but itself', async () => {
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
  const { folder, spool, sinks } = start(to)
  for (let i = 0; i < 2000; i++) expect(await spool.record(line(`stuck ${i}`), 'required')).toBe(true)
  release()
  await spool.close()
  expect(await sinks.stop(20_000)).toBe(true)
  expect(Buffer.concat(parts).toString('utf8')).toBe(logText(folder))
})

test.each(['error', 'close'])(
  'a stream that ends with %s while it is full ends the copy, not the record',
  async (how) => {
    const to = new Writable({ highWaterMark: 1, write() {} })
    const { spool, sinks, said } = start(to)
    for (let i = 0; i < 50; i++) await spool.record(line('x'.repeat(10_000)), 'required')
    await expect.poll(() => to.writableLength).toBeGreaterThan(0)
    to.destroy(how === 'error' ? new Error('EPIPE') : undefined)
    await expect.poll(() => said).toEqual([how === 'error' ? 'EPIPE' : 'closed'])
    // It is passed over from then on: nothing is kept for a reader who will not come back.
    await expect.poll(() => sinks.state()[0]?.behind.lines).toBe(0)
    expect(await spool.record(line('after'), 'required')).toBe(true)
    await spool.close()
    await sinks.stop(20_000)
    expect(said).toHaveLength(1)
  },
)
