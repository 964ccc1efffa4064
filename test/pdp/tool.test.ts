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

test('the digest is of what is shown, whatever the order of keys, and changes with one character', () => {
  const digest = tool({}, { description: 'd', title: 'x' }).digest
  expect(
    toolFacts({ title: 'x', description: 'd', inputSchema: {}, name: 't', _meta: {} } as never).digest,
  ).toBe(digest)
  expect(tool({}, { description: 'e', title: 'x' }).digest).not.toBe(digest)
})

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
    expect(tool(nested).undeclared(args as never)).toEqual(expected)
  })

  test('a schema that says nothing declares nothing; one that says it is open takes all', () => {
    expect(tool({}).undeclared({ a: 1 })).toEqual(['/a'])
    expect(tool({ additionalProperties: false }).undeclared({ a: 1 })).toEqual(['/a'])
    expect(tool({ additionalProperties: true }).undeclared({ a: 1 })).toEqual([])
    expect(toolFacts({ name: 't' }).undeclared({ a: 1 })).toEqual(['/a'])
  })

  test('references and alternatives are followed within the document, and end', () => {
    const schema = {
      $defs: { p: { properties: { a: {} } } },
      anyOf: [{ $ref: '#/$defs/p' }, { properties: { b: {} } }],
    }
    expect(tool(schema).undeclared({ a: 1, b: 2, c: 3 })).toEqual(['/c'])
    const loop = { properties: { a: { $ref: '#' } }, allOf: [{ $ref: '#' }] }
    expect(tool(loop).undeclared({ a: { a: { b: 1 } } })).toEqual(['/a/a/b'])
    expect(tool({ $ref: 'http://example.com/schema' }).undeclared({ a: 1 })).toEqual(['/a'])
  })
})

describe('comparing is bounded', () => {
  const wide = {
    properties: { a: { items: { anyOf: Array.from({ length: 200 }, () => ({ properties: { x: {} } })) } } },
  }
  test('scalars cost nothing, however many alternatives their schema has', () => {
    expect(tool(wide).undeclared({ a: Array.from({ length: 90_000 }, (_, i) => i) })).toEqual([])
  })
  test('more than can be compared is not taken for clean', () => {
    expect(tool(wide).undeclared({ a: Array.from({ length: 200_000 }, () => 1) })).toBe('ambiguous')
    expect(tool(wide).undeclared({ a: Array.from({ length: 20_000 }, () => ({ x: 1 })) })).toBe('ambiguous')
  })
  test('the first hundred pointers are enough, and none is long', () => {
    const args = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`${'k'.repeat(1000)}${i}`, 1]))
    const found = tool({}).undeclared(args)
    expect(found).toHaveLength(100)
    expect(String(found[0]).length).toBeLessThanOrEqual(512)
  })
})

describe('a resource URI', () => {
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
