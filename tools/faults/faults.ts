// Breaks what the sidecar stands on, and measures what it does: npm run faults -- [--row R1] [--times N] [--short] [--write]
// --write puts the table into docs/faults.md, or with --row that row of it.
import { readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { clock, thread, thrown } from './injected.ts'
import type { Row } from './load.ts'
import { descriptors, ended, memory, neighbour, killed as sigkill, soak } from './process.ts'
import { reloads, service } from './reload.ts'
import { away, parted, sluggish } from './rim.ts'
import { disk, keys, policy, streams } from './sources.ts'
import { absent, hostile, killed } from './upstream.ts'

export const ROWS: Row[] = [
  killed,
  absent,
  away,
  sigkill,
  disk,
  service,
  policy,
  keys,
  clock,
  sluggish,
  streams,
  memory,
  descriptors,
  ended,
  reloads,
  thrown,
  thread,
  hostile,
  soak,
  parted,
  neighbour,
]
const DOCS = fileURLToPath(new URL('../../docs/faults.md', import.meta.url))
const [BEGIN, END] = ['<!-- measured: begin -->\n', '<!-- measured: end -->\n']

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      row: { type: 'string' },
      times: { type: 'string' },
      short: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
    },
  })
  const lines = new Map<string, string>()
  let bad = false
  for (const row of ROWS) {
    if (values.row !== undefined && values.row !== row.id) continue
    process.stdout.write(`${row.id} ${row.fault}\n`)
    const { held, measured, skipped } = await row.run(
      values.short ? 'short' : 'full',
      values.times === undefined ? undefined : Number(values.times),
    )
    process.stdout.write(`  ${skipped ? '-' : held ? 'held' : 'NOT HELD'}: ${measured}\n`)
    lines.set(
      row.id,
      `| ${row.id} | ${row.fault} | ${row.required} | ${measured} | \`npm run faults -- --row ${row.id}\` |\n`,
    )
    bad ||= !held
  }
  if (values.write && !values.short) write(lines)
  process.exit(bad ? 1 : 0)
}

/** Rows that were not measured now stay as they are. */
function write(lines: Map<string, string>): void {
  const text = readFileSync(DOCS, 'utf8')
  const [before = '', after = ''] = text.split(new RegExp(`${BEGIN}[^]*${END}`))
  const rows = ROWS.map(
    ({ id }) => lines.get(id) ?? new RegExp(`^\\| ${id} \\|.*\\n`, 'm').exec(text)?.[0] ?? '',
  )
  const machine = `Measured on ${cpus().length} processors (${cpus()[0]?.model.trim() ?? 'unknown'}), Node ${process.versions.node}, load and upstream on the same machine.\n\n`
  const head = '| | fault | required | measured | command |\n| --- | --- | --- | --- | --- |\n'
  writeFileSync(DOCS, `${before}${BEGIN}${machine}${head}${rows.join('')}${END}${after}`)
}
