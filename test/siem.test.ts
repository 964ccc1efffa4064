// What is ready-made for a SIEM names fields and metrics that there are, and finds what it is for.
import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { createMetrics } from '../src/edge/admin/metrics.ts'
import { readOutputs } from '../src/edge/audit/sinks/settings.ts'
import { readServices } from '../src/edge/services/settings.ts'
import { readSection } from '../src/edge/settings.ts'
import { toEcs } from '../src/log/projections/ecs.ts'
import type { JsonObject } from '../src/mcp/strict-json.ts'
import { findSigma } from '../tools/receivers/receivers.ts'
import { EVENTS } from './support/events.ts'
import type { Parsed } from './support/raw.ts'

const folder = fileURLToPath(new URL('../deploy/siem/', import.meta.url))
const read = (name: string) => readFileSync(`${folder}${name}`, 'utf8')
const sigmaRules = readdirSync(`${folder}sigma`).map((name) => name.replace('.yml', ''))

/** Values of a field, through lists too. */
const at = (event: unknown, path: string[]): unknown[] => {
  const [key, ...rest] = path
  if (key === undefined) return event === undefined ? [] : [event].flat()
  if (Array.isArray(event)) return event.flatMap((item) => at(item, path))
  return typeof event === 'object' && event !== null ? at((event as JsonObject)[key], rest) : []
}
/** What only records have that are not among those of the tests. */
const ELSEWHERE = new Set(['custom.cause.why'])
const native = EVENTS.map(([, line]) => JSON.parse(line) as JsonObject)
const isField = (name: string) =>
  ELSEWHERE.has(name) ||
  native.some((event) => at(event, name.replaceAll('{}', '').replace(/\.\*$/, '').split('.')).length > 0)

describe('searches for Splunk', () => {
  const stanzas = read('splunk/savedsearches.conf').split(/^\[/m).slice(1)
  test.each(stanzas.map((text) => [text.split(']')[0] ?? '', text]))(
    '%s names fields of the records',
    (_name, text) => {
      const search = /^search = (.+)$/m.exec(text)?.[1] ?? ''
      const names = [...search.matchAll(/\b(?:custom|input|result|labels)(?:\.[a-zA-Z_*]+(?:\{\})?)+/g)].map(
        ([name]) => name,
      )
      expect(names.length).toBeGreaterThan(0)
      expect(names.filter((name) => !isField(name))).toEqual([])
    },
  )
  test('five of them are alerts that run', () => {
    expect(stanzas.filter((text) => text.includes('enableSched = 1'))).toHaveLength(5)
  })
  test('the sourcetype is the one that the output has', () => {
    expect(read('splunk/props.conf')).toContain('[mcp_opa_sidecar]')
  })
})

describe('Sigma rules', () => {
  type Detection = Record<string, Record<string, unknown>> & { condition: string }
  /** As Sigma has it: all fields of a selection, one value of a list, a selection or one of several. */
  const matches = (detection: Detection, event: JsonObject): boolean =>
    Object.entries(detection)
      .filter(([name]) => name !== 'condition')
      .some(([, selection]) =>
        Object.entries(selection).every(([field, wanted]) => {
          const [name = '', modifier] = field.split('|')
          return [wanted]
            .flat()
            .some((value) =>
              at(event, name.split('.')).some((found) =>
                modifier === 'startswith' ? String(found).startsWith(String(value)) : found === value,
              ),
            )
        }),
      )
  const WAKES: Record<string, string[]> = {
    assertion_refused: ['reject', 'repeat'],
    destructive_allowed: ['allowed'],
    policy_changed: ['lifecycle'],
    record_has_a_gap: ['gap'],
    repeated_denials: ['denied'],
  }
  test('there are the five', () => expect([...sigmaRules].sort()).toEqual(Object.keys(WAKES)))

  test.each(sigmaRules)('%s finds the record that it is for, and no other', (name) => {
    const [first, ...more] = parseAllDocuments(read(`sigma/${name}.yml`)).map(
      (document) => document.toJS() as Parsed,
    )
    expect(
      EVENTS.filter((_event, i) => matches(first.detection, native[i] as JsonObject)).map(([kind]) => kind),
    ).toEqual(WAKES[name])
    for (const { correlation } of more) {
      expect(correlation.rules).toEqual([first.name])
      expect(correlation['group-by'].every(isField)).toBe(true)
    }
  })

  const sigma = findSigma()
  if (!sigma.ok) console.warn(`SKIPPED: Sigma rules by sigma-cli. ${sigma.why}`)
  test.skipIf(!sigma.ok)('sigma-cli finds nothing wrong with them, and makes searches of them', async () => {
    const run = (...args: string[]) => promisify(execFile)(sigma.ok ? sigma.path : '', args)
    const checked = await run('check', `${folder}sigma`)
    expect(checked.stdout + checked.stderr).toContain('Found 0 errors, 0 condition errors and 0 issues.')
    const { stdout } = await run('convert', '-t', 'splunk', '--without-pipeline', `${folder}sigma`)
    expect(stdout).toContain('custom.event="gap"')
  })
})

describe('dashboards', () => {
  test('OpenSearch: every object that is referred to is there, every field is one of the schema', () => {
    const objects = read('opensearch/dashboard.ndjson')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Parsed)
    const ids = new Set(objects.map(({ type, id }) => `${type}/${id}`))
    const documents = native.map((event) => toEcs(event))
    const fields: string[] = []
    for (const { attributes, references } of objects) {
      for (const { type, id } of references) expect(ids).toContain(`${type}/${id}`)
      if (!attributes.visState) continue
      for (const { params } of JSON.parse(attributes.visState).aggs)
        if (params.field) fields.push(params.field)
      const { query } = JSON.parse(attributes.kibanaSavedObjectMeta.searchSourceJSON).query
      fields.push(...[...query.matchAll(/([a-z_.]+) :/g)].map((match: string[]) => match[1] ?? ''))
    }
    expect(fields.length).toBeGreaterThan(10)
    for (const field of fields)
      expect(
        documents.some((document) => at(document, field.split('.')).length > 0),
        field,
      ).toBe(true)
    expect(JSON.parse(objects.at(-1).attributes.panelsJSON)).toHaveLength(objects.at(-1).references.length)
  })

  test('Grafana: every metric is one that /metrics has', async () => {
    const state = {
      name: 's',
      type: 'http',
      up: true,
      error: undefined,
      status: 200,
      events: 1,
      bytes: 1,
      chunks: 1,
    }
    const behind = { lines: 0, bytes: 0, since: undefined }
    const metrics = createMetrics('1', {
      failed: () => 0,
      replaced: () => 0,
      spool: () => ({ seq: 1, lost: 0, lostEver: 0, bytes: 1, maxBytes: 2, room: { held: 1, left: 1 } }),
      sinks: () => [{ ...state, failed: 0, retries: 0, deadLetters: 0, behind }],
    } as Parameters<typeof createMetrics>[1])
    const text = await metrics.text()
    const { panels } = JSON.parse(read('grafana/dashboard.json')) as Parsed
    const used = panels.flatMap(({ targets }: Parsed) =>
      targets.flatMap(({ expr }: Parsed) =>
        [...expr.matchAll(/\b(?:mcp|last|decision)_[a-z_]+/g)].map(([name]: string[]) => name),
      ),
    )
    expect(used.length).toBeGreaterThan(8)
    for (const name of used) expect(text, name).toMatch(new RegExp(`^# TYPE ${name} `, 'm'))
  })

  test.each(['opensearch', 'elasticsearch'])(
    'the index template for %s has no field that a caller could add to without end',
    (name) => {
      const { template } = JSON.parse(read(`${name}/index-template.json`)) as Parsed
      const type = name === 'opensearch' ? 'flat_object' : 'flattened'
      const { properties } = template.mappings
      for (const flat of [
        properties.labels,
        properties.mcp.properties.arguments,
        properties.mcp.properties.rest,
      ])
        expect(flat.type).toBe(type)
    },
  )
})

test.each(readdirSync(`${folder}collectors`).filter((name) => name.endsWith('.yaml')))(
  '%s is YAML whose sinks read its source',
  (name) => {
    const { sources, sinks } = parse(read(`collectors/${name}`)) as Parsed
    expect(sources.mcp).toMatchObject({ type: 'http_server', decoding: { codec: 'json' } })
    for (const sink of Object.values(sinks) as Parsed[]) {
      expect(sink.inputs).toEqual(['mcp'])
      // Without it Vector answers before the records are anywhere.
      expect(sink.acknowledgements).toEqual({ enabled: true })
    }
    expect(read(`collectors/${name}`)).toContain('Not validated')
  },
)

describe('docs/siem.md', () => {
  const docs = readFileSync(new URL('../docs/siem.md', import.meta.url), 'utf8')
  const blocks = [...docs.matchAll(/```yaml\n([\s\S]*?)```/g)].map((match) => match[1] ?? '')
  test.each(blocks)('what it shows is a configuration: %s', (block) => {
    const shown = parse(block) as Parsed
    const audit = shown.plugins?.mcp_audit ?? { output: shown.output ?? [] }
    const faults: string[] = []
    const root = readSection(shown, '', faults)
    const outputs = readOutputs(
      readSection({ output: audit.output }, '', faults),
      readSection({ ...shown.decision_logs, plugin: undefined }, '', faults),
      readServices(root),
    )
    expect(outputs.length).toBeGreaterThan(0)
    // The secrets that it names are on no test machine.
    expect(faults.filter((fault) => !fault.includes('ENOENT'))).toEqual([])
  })
  test('it points to what there is', () => {
    for (const [, name = ''] of docs.matchAll(/`((?:opensearch|elasticsearch|splunk|grafana)\/[a-z.-]+)`/g))
      read(name)
    const examples = readdirSync(`${folder}collectors`)
    expect(examples.filter((name) => !docs.includes(`\`${name}\``))).toEqual([])
    for (const [, name = ''] of docs.matchAll(/`((?:vector-[a-z0-9]+\.yaml)|rsyslog[a-z-]*\.conf|s3\.sh)`/g))
      read(`collectors/${name}`)
  })
})
