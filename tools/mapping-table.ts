// Writes the table of schemas into docs/siem.md, out of the code that projects.
//   node tools/mapping-table.ts
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { ECS, ECS_MADE } from '../src/log/projections/ecs.ts'
import { FIELDS } from '../src/log/projections/fields.ts'
import { OCSF, OCSF_MADE } from '../src/log/projections/ocsf.ts'
import { OTEL, OTEL_MADE } from '../src/log/projections/otel.ts'

const MARKS = ['<!-- mapping: written by tools/mapping-table.ts -->\n', '<!-- end of mapping -->'] as const

export function mappingTable(): string {
  const cell = (name: string | undefined) => (name === undefined ? '' : `\`${name}\``)
  const rows = FIELDS.map(
    ({ from, ecs, otel, ocsf }) => `| \`${from}\` | ${cell(ecs)} | ${cell(otel)} | ${cell(ocsf)} |`,
  )
  const made = (title: string, fields: [string, string][]) =>
    [`\nMade of more than one value, ${title}:\n`, '| field | of |', '| --- | --- |'].join('\n') +
    fields.map(([field, of]) => `\n| ${field.split(', ').map(cell).join(', ')} | ${of} |`).join('')
  return [
    `| record | ECS (\`${ECS}\`) | OpenTelemetry (\`${OTEL}\`) | OCSF (\`${OCSF}\`) |`,
    '| --- | --- | --- | --- |',
    ...rows,
    made('ECS', ECS_MADE),
    made('OpenTelemetry', OTEL_MADE),
    made('OCSF', OCSF_MADE),
    '',
  ].join('\n')
}

export function withTable(text: string): string {
  const [before = '', rest = ''] = text.split(MARKS[0])
  return `${before}${MARKS[0]}${mappingTable()}${MARKS[1]}${rest.split(MARKS[1])[1] ?? ''}`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const path = fileURLToPath(new URL('../docs/siem.md', import.meta.url))
  writeFileSync(path, withTable(readFileSync(path, 'utf8')))
}
