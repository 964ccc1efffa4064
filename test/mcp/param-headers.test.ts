import { describe, expect, test } from 'vitest'
import { mirrorParams, paramHeadersOf } from '../../src/mcp/param-headers.ts'

const at = (name: unknown, type = 'string') => ({ type, 'x-mcp-header': name })
const schema = (properties: object) => ({ type: 'object', properties }) as never

describe('annotations of a schema', () => {
  test('on scalars, nested by properties', () => {
    const found = paramHeadersOf(
      schema({ a: at('Region'), b: { type: 'object', properties: { c: at('Level', 'integer') } }, d: {} }),
    )
    expect(found).toEqual([
      { name: 'region', path: ['a'] },
      { name: 'level', path: ['b', 'c'] },
    ])
  })
  test.each([
    ['a number', { a: at('X', 'number') }],
    ['an object', { a: at('X', 'object') }],
    ['no token', { a: at('X Y') }],
    ['a line break', { a: at('X\r\nCookie') }],
    ['empty', { a: at('') }],
    ['no text', { a: at(7) }],
    ['one name twice, whatever its case', { a: at('Region'), b: at('REGION') }],
    ['below a list', { a: { type: 'array', items: at('X') } }],
    ['below a choice', { a: { oneOf: [at('X')] } }],
  ])('not %s', (_, properties) => expect(paramHeadersOf(schema(properties))).toEqual([]))
})

describe('trap 30: headers of a known tool are made of its arguments', () => {
  const declared = paramHeadersOf(
    schema({ region: at('Region'), n: at('N', 'integer'), b: at('B', 'boolean') }),
  )
  const mirror = (args: object, came: Record<string, string>) => mirrorParams(declared, args as never, came)
  test('as they agree', () => {
    const args = { region: 'us west', n: 42, b: false }
    const came = { region: 'us west', n: '42.0', b: 'false' }
    expect(mirror(args, came)).toEqual({
      'mcp-param-region': 'us west',
      'mcp-param-n': '42',
      'mcp-param-b': 'false',
    })
  })
  test('encoded where they must be', () =>
    expect(mirror({ region: 'Zürich\n' }, { region: '=?base64?WsO8cmljaAo=?=' })).toEqual({
      'mcp-param-region': '=?base64?WsO8cmljaAo=?=',
    }))
  test('what no tool declares is left out', () => expect(mirror({}, { other: 'x' })).toEqual({}))
  test('null is no value', () => expect(mirror({ region: null }, {})).toEqual({}))
  test.each([
    ['another value', { region: 'eu' }, { region: 'us' }],
    ['none for a value', { region: 'eu' }, {}],
    ['one without a value', {}, { region: 'eu' }],
    ['one for null', { region: null }, { region: 'null' }],
    ['an encoding that is not canonical', { region: 'Hello' }, { region: '=?base64?SGVsbG9=?=' }],
    ['another case', { region: 'EU' }, { region: 'eu' }],
    ['another number', { n: 42 }, { n: '43' }],
    ['a number in another form', { n: 42 }, { n: '0x2a' }],
    ['another truth', { b: true }, { b: 'True' }],
  ])('refused: %s', (_, args, came) => expect(mirror(args, came as never)).toBeUndefined())
})

describe('headers of an unknown tool say nothing that the body does not', () => {
  const mirror = (args: object, came: Record<string, string>) => mirrorParams(undefined, args as never, came)
  test('a value of the arguments passes', () =>
    expect(mirror({ a: { b: ['eu', 7] } }, { region: 'eu', n: '7' })).toEqual({
      'mcp-param-region': 'eu',
      'mcp-param-n': '7',
    }))
  test('any other is refused', () => expect(mirror({ a: 'eu' }, { region: 'us' })).toBeUndefined())
  test('and where there is too much to look at', () =>
    expect(mirror({ a: Array.from({ length: 20_000 }, () => 'x') }, { region: 'x' })).toBeUndefined())
  test('without any there is nothing to look at', () => expect(mirror({ a: 'eu' }, {})).toEqual({}))
})
