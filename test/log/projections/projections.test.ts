import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { ECS, toEcs } from '../../../src/log/projections/ecs.ts'
import { FIELDS, put, valueAt } from '../../../src/log/projections/fields.ts'
import { OCSF, toOcsf } from '../../../src/log/projections/ocsf.ts'
import { OTEL, toOtel } from '../../../src/log/projections/otel.ts'
import { project } from '../../../src/log/projections/project.ts'
import type { Json, JsonObject } from '../../../src/mcp/strict-json.ts'
import { withTable } from '../../../tools/mapping-table.ts'
import { EVENTS } from '../../support/events.ts'

const fixtures = fileURLToPath(new URL('../../fixtures/projections/', import.meta.url))
const eventOf = (name: string): JsonObject =>
  JSON.parse(EVENTS.find(([known]) => known === name)?.[1] ?? '') as JsonObject

describe.each(EVENTS)('%s', (name, line) => {
  const event = JSON.parse(line) as JsonObject
  // A golden file changes only with its version: what a search is made for stays.
  test.each([
    [ECS, toEcs(event)],
    [OTEL, toOtel(event, line) as unknown as JsonObject],
    [OCSF, toOcsf(event)],
  ])('%s is as in its golden file', async (version, document) => {
    const path = `${fixtures}${version.replace('/', '-')}/${name}.json`
    await expect(`${JSON.stringify(document, null, 2)}\n`).toMatchFileSnapshot(path)
  })

  test('native is the line', () => {
    expect(project('native', event, line)).toBe(line)
  })

  test('no value of the record is lost', () => {
    const values = (document: Json): string[] => leaves(document).map(String)
    for (const document of [toEcs(event), toOcsf(event)]) {
      const has = new Set(values(document))
      // Those that are made into something else: the time, a duration, a label with its name.
      const lost = leaves(event).filter(
        (value) =>
          !has.has(String(value)) &&
          value !== event.timestamp &&
          value !== valueAt(event, 'custom.duration_ms') &&
          ![...has].some((text) => text.endsWith(`:${value}`)),
      )
      expect(lost).toEqual([])
    }
    expect(valueAt(toOtel(event, line).record, 'body.stringValue')).toBe(line)
  })

  test('OCSF: attributes, types and what is required are those of the class in 1.8.0', () => {
    expect(ocsfFaults(toOcsf(event))).toEqual([])
  })
})

test.each(FIELDS)('a value at $from is where the table says', ({ from, ecs, otel, ocsf }) => {
  const event: JsonObject = { timestamp: '2026-11-22T20:26:14.008Z', custom: { event: 'decision' } }
  const sent = from.endsWith('arguments') ? { marked: true } : from.endsWith('groups') ? ['marked'] : '7777'
  put(event, from, sent)
  if (ecs !== undefined) expect(valueAt(toEcs(event), ecs)).toEqual(sent)
  if (ocsf !== undefined) expect(String(valueAt(toOcsf(event), ocsf))).toBe(String(sent))
  if (otel !== undefined) {
    const { resource, record } = toOtel(event, '')
    const keys = [...resource, ...(record.attributes as JsonObject[])].map(({ key }) => key)
    expect(keys).toContain(otel)
  }
})

test('the table in docs/siem.md is the one in the code', () => {
  const docs = readFileSync(new URL('../../../docs/siem.md', import.meta.url), 'utf8')
  expect(docs).toBe(withTable(docs))
})

test('a denial of high severity is an alert, an ordinary one is not; a dry run is logged, not blocked', () => {
  expect(valueAt(toEcs(eventOf('denied')), 'event.kind')).toBe('alert')
  expect(toOcsf(eventOf('denied'))).toMatchObject({
    is_alert: true,
    action_id: 2,
    disposition_id: 2,
    status_id: 2,
  })
  expect(toOcsf(eventOf('allowed'))).toMatchObject({
    is_alert: false,
    action_id: 1,
    status_id: 1,
    severity_id: 1,
  })
  expect(toOcsf(eventOf('dry_run'))).toMatchObject({ action_id: 3, disposition_id: 17 })
})

test.each([
  ['nothing', {}],
  [
    'values of other types',
    { timestamp: 7, labels: [], custom: 'x', input: null, result: { reasons: [null, 1] } },
  ],
  ['names that mean something to JavaScript', { custom: { constructor: 'x' }, labels: { toString: 'y' } }],
])('an event with %s is projected all the same', (_name, event) => {
  expect(() => [
    toEcs(event as JsonObject),
    toOtel(event as JsonObject, '{}'),
    toOcsf(event as JsonObject),
  ]).not.toThrow()
})

function leaves(value: Json): Json[] {
  if (typeof value !== 'object' || value === null) return [value]
  return Object.values(value).flatMap(leaves)
}

type Attribute = { type: string; object?: string; array?: boolean; required?: boolean }
type Schema = {
  class: Record<string, Attribute>
  objects: Record<string, { attributes: Record<string, Attribute>; at_least_one: string[] | null }>
}

/** What of an event is not as the schema has it: names that it does not know, other types, what is missing. */
function ocsfFaults(event: JsonObject): string[] {
  const schema = JSON.parse(readFileSync(`${fixtures}ocsf-1.8-schema.json`, 'utf8')) as Schema
  const check = (value: JsonObject, attributes: Record<string, Attribute>, path: string): string[] => {
    const missing = Object.entries(attributes).flatMap(([name, { required }]) =>
      required && value[name] === undefined ? [`${path}.${name} is missing`] : [],
    )
    return [
      ...missing,
      ...Object.entries(value).flatMap(([name, found]) => {
        const known = attributes[name]
        if (!known) return [`${path}.${name} is not in the schema`]
        const all = known.array ? (Array.isArray(found) ? found : ['not an array']) : [found]
        return all.flatMap((one) => typed(one as Json, known, `${path}.${name}`))
      }),
    ]
  }
  const typed = (value: Json, { type, object }: Attribute, path: string): string[] => {
    if (type === 'json_t') return []
    if (type === 'object') {
      const known = schema.objects[object ?? '']
      if (!known) return typeof value === 'object' ? [] : [`${path} is no object`]
      if (typeof value !== 'object' || value === null) return [`${path} is no object`]
      const one = known.at_least_one
      const none = one && !one.some((name) => (value as JsonObject)[name] !== undefined)
      return [
        ...(none ? [`${path} has none of ${one}`] : []),
        ...check(value as JsonObject, known.attributes, path),
      ]
    }
    const wants =
      type === 'boolean_t' ? 'boolean' : /^(integer|long|timestamp|float)/.test(type) ? 'number' : 'string'
    return typeof value === wants ? [] : [`${path} is a ${typeof value}, not ${type}`]
  }
  return check(event, schema.class, '')
}
