import { describe, expect, test } from 'vitest'
import { canonical, toolFacts } from '../../src/pdp/tool.ts'
import { readResource } from '../../src/pdp/uri.ts'

const tool = (inputSchema: object, more: object = {}) =>
  toolFacts({ name: 't', inputSchema, ...more } as never)

test('RFC 8785: keys by UTF-16 order, numbers as ECMAScript writes them', () => {
  expect(canonical({ b: [1.0, 1e21, 'é\n'], a: { '\u20ac': 1, $: 2 } })).toBe(
    '{"a":{"$":2,"€":1},"b":[1,1e+21,"é\\n"]}',
  )
})

test('trap 31: the digest is of what is shown, whatever the order of keys, and changes with one character', () => {
  const digest = tool({}, { description: 'd', title: 'x' }).digest
  expect(
    toolFacts({ title: 'x', description: 'd', inputSchema: {}, name: 't', _meta: {} } as never).digest,
  ).toBe(digest)
  expect(tool({}, { description: 'e', title: 'x' }).digest).not.toBe(digest)
})

/** What is undeclared of arguments under this schema: pointers, or that they are ambiguous. */
const pointers = (schema: object, args: object) => {
  const found = tool(schema).undeclared(args as never)
  return found === 'ambiguous' ? found : found.pointers
}

describe('undeclared arguments', () => {
  const nested = {
    properties: { owner: {}, files: { items: { properties: { path: {} } } }, o: { properties: { a: {} } } },
  }
  test.each([
    [{ owner: 1 }, []],
    [{ extra: 1 }, ['/extra']],
    [{ files: [{ path: 'p' }, { path: 'p', mode: 1 }] }, ['/files/1/mode']],
    [{ o: { b: 1 } }, ['/o/b']],
    [{ 'a/b~c': 1 }, ['/a~1b~0c']],
    [{ Owner: 1 }, 'ambiguous'],
    [{ owner: 1, 'o\u{1D42}ner': 1 }, 'ambiguous'],
    [{ o: { A: 1 } }, 'ambiguous'],
  ])('of %j are %j', (args, expected) => {
    expect(pointers(nested, args)).toEqual(expected)
  })

  test('are all that the schema does not name, whether or not it admits them', () => {
    expect(pointers({}, { a: 1 })).toEqual(['/a'])
    expect(pointers({ additionalProperties: false }, { a: 1 })).toEqual(['/a'])
    expect(pointers({ additionalProperties: true }, { a: 1 })).toEqual(['/a'])
    expect(pointers({ additionalProperties: { type: 'string' } }, { a: 'x' })).toEqual(['/a'])
    expect(pointers({ patternProperties: { '^a': {} } }, { a: 1 })).toEqual(['/a'])
    expect(toolFacts({ name: 't' }).undeclared({ a: 1 })).toEqual({ pointers: ['/a'], closed: true })
  })

  test('references and alternatives are followed within the document, and end', () => {
    const schema = {
      $defs: { p: { properties: { a: {} } } },
      anyOf: [{ $ref: '#/$defs/p' }, { properties: { b: {} } }],
    }
    expect(pointers(schema, { a: 1, b: 2, c: 3 })).toEqual(['/c'])
    const loop = { properties: { a: { $ref: '#' } }, allOf: [{ $ref: '#' }] }
    expect(pointers(loop, { a: { a: { b: 1 } } })).toEqual(['/a/a/b'])
    expect(pointers({ $ref: 'http://example.com/schema' }, { a: 1 })).toEqual(['/a'])
    expect(pointers({ if: {}, else: { properties: { a: {} } } }, { a: 1 })).toEqual([])
  })

  const closed = { additionalProperties: false, properties: { a: {} } }
  test.each<[string, object, object, boolean]>([
    ['says nothing', {}, { x: 1 }, false],
    ['says nothing but what it has', { properties: { a: {} } }, { x: 1 }, false],
    ['is open', { additionalProperties: true }, { x: 1 }, false],
    ['types its further keys', { additionalProperties: { type: 'string' } }, { x: 1 }, false],
    ['has patterns', { patternProperties: { '^x': {} } }, { x: 1 }, false],
    ['is closed', closed, { x: 1 }, true],
    ['is closed but for patterns', { ...closed, patternProperties: { '^x': {} } }, { x: 1 }, true],
    ['takes nothing further', { additionalProperties: { not: {} } }, { x: 1 }, true],
    ['takes nothing further, otherwise', { additionalProperties: { not: true } }, { x: 1 }, true],
    ['takes nothing unevaluated', { unevaluatedProperties: false }, { x: 1 }, true],
    ['takes no names', { propertyNames: false }, { x: 1 }, true],
    ['lists its names', { propertyNames: { enum: ['a'] } }, { x: 1 }, true],
    ['takes no properties', { maxProperties: 0 }, { x: 1 }, true],
    ['is closed in a part', { allOf: [{ properties: { b: {} } }, closed] }, { x: 1 }, true],
    ['is closed in an alternative', { anyOf: [{ type: 'null' }, closed] }, { x: 1 }, true],
    ['is closed by reference', { $ref: '#/$defs/c', $defs: { c: closed } }, { x: 1 }, true],
    ['is elsewhere', { $ref: 'https://example.com/c' }, { x: 1 }, true],
    ['is nowhere', { $ref: '#/$defs/none' }, { x: 1 }, true],
    ['has an anchor', { $dynamicRef: '#node' }, { x: 1 }, true],
    ['is closed within', { properties: { o: closed } }, { o: { x: 1 } }, true],
    ['is closed within a list', { properties: { o: { items: closed } } }, { o: [{ a: 1 }, { x: 1 }] }, true],
    ['is closed within further keys', { additionalProperties: closed }, { any: { x: 1 } }, true],
    ['is open within', { ...closed, properties: { o: { type: 'object' } } }, { o: { x: 1 } }, false],
    ['may be null', { properties: { o: { anyOf: [{ type: 'null' }, {}] } } }, { o: { x: 1 } }, false],
    ['wants a text', { properties: { o: { type: 'string' } } }, { o: { x: 1 } }, true],
    ['wants a text or none', { properties: { o: { type: ['string', 'null'] } } }, { o: { x: 1 } }, true],
    ['wants a text, gets a list', { properties: { o: { type: 'string' } } }, { o: [{ x: 1 }] }, true],
    ['may be an object', { properties: { o: { type: ['string', 'object'] } } }, { o: { x: 1 } }, false],
    ['takes no value', { properties: { o: false } }, { o: { x: 1 } }, true],
    ['has too many parts', { anyOf: Array.from({ length: 300 }, () => ({ title: 't' })) }, { x: 1 }, true],
  ])('a schema that %s', (_, schema, args, expected) => {
    const found = tool(schema).undeclared(args as never)
    expect(found).toMatchObject({ closed: expected })
    expect(found).not.toMatchObject({ pointers: [] })
  })

  test('what lies deeper than is compared is not taken for open', () => {
    const loop = { properties: { a: { $ref: '#' } } }
    const nested = (depth: number): object => (depth === 0 ? { a: 1 } : { a: nested(depth - 1) })
    expect(tool(loop).undeclared(nested(15) as never)).toEqual({ pointers: [], closed: false })
    expect(tool(loop).undeclared(nested(20) as never)).toMatchObject({ closed: true })
  })

  test('one that is ruled out counts behind a hundred that are not', () => {
    const many = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`k${i}`, 1]))
    const found = tool({ properties: { o: closed } }).undeclared({ ...many, o: { x: 1 } })
    expect(found).toMatchObject({ closed: true })
  })

  test('names that a schema lists are declared', () => {
    const map = { additionalProperties: closed, propertyNames: { enum: ['en', 'ro'] } }
    expect(pointers(map, { en: { a: 1 }, ro: { x: 1 } })).toEqual(['/ro/x'])
  })
})

describe('comparing is bounded', () => {
  const wide = {
    properties: { a: { items: { anyOf: Array.from({ length: 200 }, () => ({ properties: { x: {} } })) } } },
  }
  test('scalars cost nothing, however many alternatives their schema has', () => {
    expect(pointers(wide, { a: Array.from({ length: 90_000 }, (_, i) => i) })).toEqual([])
  })
  test('more than can be compared is not taken for clean', () => {
    expect(tool(wide).undeclared({ a: Array.from({ length: 200_000 }, () => 1) })).toBe('ambiguous')
    expect(tool(wide).undeclared({ a: Array.from({ length: 20_000 }, () => ({ x: 1 })) })).toBe('ambiguous')
  })
  test('the first hundred pointers are enough, and none is long', () => {
    const args = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`${'k'.repeat(1000)}${i}`, 1]))
    const found = pointers({}, args)
    expect(found).toHaveLength(100)
    expect(String(found[0]).length).toBeLessThanOrEqual(512)
  })
})

describe('trap 25: a resource URI', () => {
  test.each([
    'file:///a/b',
    'repo://acme/app/x',
    'https://host/a?b=c#d',
    'memo:x',
    'file:///a%20b%C3%A4/',
    'x:a//b',
  ])('%s is canonical', (uri) => {
    expect(readResource(uri)?.uri).toBe(uri)
  })
  test.each([
    'file:///a/../b',
    'file:///a/./b',
    'FILE:///a',
    'https://HOST/a',
    'https://host',
    'https://u:p@host/',
    'https://host:443/a',
    'file:///a/%2e%2e/b',
    'file:///a%2fb',
    'file:///a\\b',
    'file:///a b',
    ' file:///a',
    'file:///a\n',
    'file:///a\u0000',
    'a/b',
    '',
    'file:///a\u200bb',
    'https://ex\u00e4mple.com/',
    `file:///${'a'.repeat(9000)}`,
    'repo://acme/../app',
    'file:///a//b',
    'file:////a',
    'repo://acme/app//',
    'file:///%61',
    'file:///a%2Db',
    'file:///a%7Eb',
    'file:///a%c3%a4',
    'file:///a%zz',
    'file:///a%',
    'https://host/a?b=%61',
  ])('%j is refused', (uri) => {
    expect(readResource(uri)).toBeUndefined()
  })
})
