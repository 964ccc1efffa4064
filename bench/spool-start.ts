// What the start does with a spool that is there already, by its size: the log is found again, and the cursors of outputs.
//   node bench/spool-start.ts [--quick] [--folder FOLDER] [--segment-bytes N]
import { closeSync, cpSync, fsyncSync, mkdtempSync, openSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openSpool, type Spool, type SpoolSettings } from '../src/edge/audit/spool.ts'
import { newId } from '../src/edge/id.ts'
import { lifecycleEvent, ownEvent } from '../src/log/event.ts'

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    folder: { type: 'string', default: tmpdir() },
    'segment-bytes': { type: 'string' },
  },
})
const MIB = 1 << 20
const segmentBytes = Number(values['segment-bytes'] ?? 64 * MIB)
const sizes = values.quick ? [1, 16] : [1, 60, 250, 1020]
const OUTPUTS = ['splunk', 'opensearch', 'file']
const origin = { labels: { app: 'bench' }, bundles: { mcp: { revision: 'bench' } } }
const facts = () => ({ decision_id: newId(), event_id: newId(), time_ms: Date.now() })
/** Two kilobytes, as long as a decision with a few arguments. */
const pad = 'x'.repeat(1700)

const open = (folder: string): Spool => {
  const settings: SpoolSettings = {
    folder,
    durability: 'process',
    maxBytes: 2 ** 33,
    segmentBytes,
    segmentAge: 3_600_000,
    maxAge: 3_600_000,
    reserveBytes: MIB,
    whenFull: 'refuse',
    checkpointEvery: 10_000,
  }
  return openSpool(settings, {
    say: (event, more) => ownEvent(origin, facts(), event, more),
    now: Date.now,
    newId,
  })
}
const bytesOf = (folder: string) =>
  readdirSync(folder)
    .filter((name) => name.startsWith('decisions-'))
    .reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)

const syncFile = (path: string) => {
  const fd = openSync(path, 'r')
  fsyncSync(fd)
  closeSync(fd)
}

const base = mkdtempSync(join(values.folder, 'mcp-start-'))
try {
  const written = join(base, 'written')
  let spool = open(written)
  let readers = OUTPUTS.map((name) => spool.reader(name))
  process.stdout.write('| spool | files | start |\n| --- | --- | --- |\n')
  for (const size of sizes) {
    while (spool.state().bytes < size * MIB) {
      await Promise.all(
        Array.from({ length: 64 }, () =>
          spool.record(lifecycleEvent(origin, facts(), { code: pad }), 'required'),
        ),
      )
      await new Promise((resolve) => setImmediate(resolve))
    }
    while (spool.state().synced < spool.state().seq) await new Promise((resolve) => setTimeout(resolve, 10))
    for (const reader of readers) {
      let { lines, next } = await reader.read({ lines: 10_000, bytes: 16 * MIB })
      while (lines.length > 0) ({ lines, next } = await reader.read({ lines: 10_000, bytes: 16 * MIB }, next))
      await reader.commit(next)
    }
    // As a process that was killed leaves it: nothing is closed.
    const killed = join(base, 'killed')
    cpSync(written, killed, { recursive: true, filter: (path) => !path.endsWith('.lock') })
    // What was written is on disk within 100 ms; the copy is to be so too.
    for (const name of readdirSync(killed)) syncFile(join(killed, name))
    const began = performance.now()
    const again = open(killed)
    for (const name of OUTPUTS) again.reader(name)
    const took = performance.now() - began
    const files = readdirSync(killed).filter((name) => name.startsWith('decisions-')).length
    process.stdout.write(`| ${Math.round(bytesOf(killed) / MIB)} MiB | ${files} | ${took.toFixed(0)} ms |\n`)
    if (again.state().seq !== spool.state().seq) throw new Error('the log that was found is another')
    await again.close()
    rmSync(killed, { recursive: true })
    await spool.close()
    spool = open(written)
    readers = OUTPUTS.map((name) => spool.reader(name))
  }
  await spool.close()
} finally {
  rmSync(base, { recursive: true })
}
