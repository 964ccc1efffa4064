// What a record costs before its effect, in both durabilities, on the disk of a folder.
//   node bench/records.ts [--quick] [--folder FOLDER] [--seconds N]
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openSpool } from '../src/edge/audit/spool.ts'
import { newId } from '../src/edge/id.ts'
import { lifecycleEvent, ownEvent } from '../src/log/event.ts'

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    folder: { type: 'string', default: tmpdir() },
    seconds: { type: 'string' },
  },
})
const seconds = Number(values.seconds ?? (values.quick ? 0.3 : 3))
const origin = { labels: { app: 'bench' }, bundles: { mcp: { revision: 'bench' } } }
const facts = () => ({ decision_id: newId(), event_id: newId(), time_ms: Date.now() })
/** Two kilobytes, as long as a decision with a few arguments. */
const pad = 'x'.repeat(1700)

process.stdout.write(
  '| durability | at once | records/s | p50 | p99 | longest |\n| --- | --- | --- | --- | --- | --- |\n',
)
for (const durability of ['process', 'disk'] as const) {
  for (const concurrency of [1, 16, 64]) {
    const folder = mkdtempSync(join(values.folder, 'mcp-records-'))
    const spool = openSpool(
      {
        folder,
        durability,
        maxBytes: 2 ** 33,
        segmentBytes: 64 << 20,
        segmentAge: 3_600_000,
        maxAge: 3_600_000,
        reserveBytes: 1 << 20,
        whenFull: 'refuse',
        checkpointEvery: 10_000,
      },
      { say: (event, more) => ownEvent(origin, facts(), event, more), now: Date.now, newId },
    )
    const took: number[] = []
    const until = performance.now() + seconds * 1000
    await Promise.all(
      Array.from({ length: concurrency }, async () => {
        while (performance.now() < until) {
          const began = performance.now()
          const kept = await spool.record(lifecycleEvent(origin, facts(), { code: pad }), 'required')
          if (!kept) throw new Error(`a record was refused: ${spool.state().error}`)
          took.push(performance.now() - began)
          // As between two calls: what only comes back by itself would never let the disk answer.
          await new Promise((resolve) => setImmediate(resolve))
        }
      }),
    )
    await spool.close()
    rmSync(folder, { recursive: true })
    took.sort((a, b) => a - b)
    const at = (share: number) =>
      `${(took[Math.min(took.length - 1, Math.floor(took.length * share))] ?? 0).toFixed(2)} ms`
    process.stdout.write(
      `| ${durability} | ${concurrency} | ${Math.round(took.length / seconds)} | ${at(0.5)} | ${at(0.99)} | ${at(1)} |\n`,
    )
  }
}
