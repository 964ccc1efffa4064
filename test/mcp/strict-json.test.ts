import { describe, expect, test } from 'vitest'
import {
  DEFAULT_JSON_LIMITS,
  foldKey,
  type JsonResult,
  parseStrict,
  parseStrictBytes,
} from '../../src/mcp/strict-json.ts'
import { createRandom, plain, randomJson, spell } from './random.ts'

const faultOf = (result: JsonResult) => (result.ok ? 'accepted' : result.fault)
const bytes = (...parts: (string | number[])[]) =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : Buffer.from(part))))
const WIDE = { ...DEFAULT_JSON_LIMITS, bytes: 32 << 20, string: 32 << 20 }

const call = (name: string) =>
  `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":${JSON.stringify(name)},"arguments":{}}}`

describe('texts that readers would read differently are refused', () => {
  test.each<[row: string, text: string, fault: string]>([
    ['A1 the same key twice', '{"a":1,"a":1}', 'duplicate_key'],
    ['A1 params twice', '{"method":"x","params":{"name":"safe"},"params":{"name":"evil"}}', 'duplicate_key'],
    ['A1 twice after unescaping', '{"method":"a","m\\u0065thod":"b"}', 'duplicate_key'],
    ['A1 twice, deep', '[{"a":[{"b":{"c":1,"d":2,"c":3}}]}]', 'duplicate_key'],
    ['A1 twice with an object between', '{"a":{"x":1},"b":{"a":1},"a":{"y":2}}', 'duplicate_key'],
    ['A1 the empty key twice', '{"":1,"":2}', 'duplicate_key'],
    ['A2 case', '{"method":"tools/list","Method":"tools/call"}', 'ambiguous_key'],
    ['A2 case, upper', '{"METHOD":1,"method":2}', 'ambiguous_key'],
    ['A2 case, below arguments', '{"arguments":{"owner":"a","Owner":"b"}}', 'ambiguous_key'],
    ['A2 case, in an array', '[[{"a":1,"A":2}]]', 'ambiguous_key'],
    ['A3 long s', '{"params":1,"param\\u017f":2}', 'ambiguous_key'],
    ['A3 long s, unescaped', '{"params":1,"paramſ":2}', 'ambiguous_key'],
    ['A3 Kelvin sign', '{"key":1,"\\u212aey":2}', 'ambiguous_key'],
    ['A3 full width', '{"name":1,"ｎａｍｅ":2}', 'ambiguous_key'],
    ['A3 composed and decomposed', '{"é":1,"e\\u0301":2}', 'ambiguous_key'],
    ['A3 sharp s', '{"straße":1,"STRASSE":2}', 'ambiguous_key'],
    ['A4 a key that ends in NUL', '{"name":"a","name\\u0000":"b"}', 'forbidden_key'],
    ['A4 a key with NUL alone', '{"na\\u0000me":"a"}', 'forbidden_key'],
    ['A6 __proto__', '{"__proto__":{"x":1}}', 'forbidden_key'],
    ['A6 __proto__, escaped', '{"__pr\\u006fto__":{"x":1}}', 'forbidden_key'],
    ['A6 __proto__, deep', '{"a":[{"b":{"__proto__":null}}]}', 'forbidden_key'],
    ['A7 2^53+1', '{"id":9007199254740993}', 'unsafe_number'],
    ['A7 2^53', '{"id":9007199254740992}', 'unsafe_number'],
    ['A7 -2^53', '[-9007199254740992]', 'unsafe_number'],
    ['A7 long', '123456789012345678901234567890', 'unsafe_number'],
    ['A7 as an exponent', '1e16', 'unsafe_number'],
    ['A8 beyond doubles', '{"amount":1e400}', 'unsafe_number'],
    ['A8 beyond doubles, negative', '[-1E+999]', 'unsafe_number'],
    ['A9 lone high surrogate', '{"name":"ev\\ud800il"}', 'lone_surrogate'],
    ['A9 lone low surrogate', '["\\udc00"]', 'lone_surrogate'],
    ['A9 surrogates the wrong way round', '["\\udc00\\ud800"]', 'lone_surrogate'],
    ['A9 in a key', '{"\\ud800":1}', 'lone_surrogate'],
    ['A11 byte order mark', '\ufeff{}', 'byte_order_mark'],
    ['A13 a second document', call('safe') + call('evil'), 'syntax'],
    ['A13 a second document on a line of its own', `${call('safe')}\n${call('evil')}`, 'syntax'],
    ['A13 trailing text', `${call('safe')} xx`, 'syntax'],
    ['A13 trailing brace', `${call('safe')}}`, 'syntax'],
    ['A14 comment', '{"a":1/*,"b":2*/}', 'syntax'],
    ['A14 line comment', '{"a":1}//x', 'syntax'],
    ['A14 NaN', '{"a":NaN}', 'syntax'],
    ['A14 Infinity', '[Infinity]', 'syntax'],
    ['A14 -Infinity', '[-Infinity]', 'syntax'],
    ['A14 undefined', '[undefined]', 'syntax'],
    ['A14 True', '[True]', 'syntax'],
    ['A14 hexadecimal', '[0x10]', 'syntax'],
    ['A14 octal', '[010]', 'syntax'],
    ['A14 leading plus', '[+1]', 'syntax'],
    ['A14 leading point', '[.5]', 'syntax'],
    ['A14 trailing point', '[5.]', 'syntax'],
    ['A14 underscore', '[1_000]', 'syntax'],
    ['A14 single quotes', "{'a':1}", 'syntax'],
    ['A14 bare key', '{a:1}', 'syntax'],
    ['A14 trailing comma in an object', '{"a":1,}', 'syntax'],
    ['A14 trailing comma in an array', '[1,]', 'syntax'],
    ['A14 leading comma', '[,1]', 'syntax'],
    ['A14 missing comma', '{"a":1 "b":2}', 'syntax'],
    ['A14 missing value', '{"a":}', 'syntax'],
    ['A14 unknown escape', '["\\x41"]', 'syntax'],
    ['A14 escape for a line', '["a\\\nb"]', 'syntax'],
    ['A14 short escape', '["\\u12"]', 'syntax'],
    ['A14 no-break space', '[\u00a01]', 'syntax'],
    ['A14 vertical tab', '[\u000b1]', 'syntax'],
    ['A14 line separator between tokens', '[\u20281]', 'syntax'],
    ['A14 unclosed string', '["a', 'syntax'],
    ['A14 unclosed array', '[1', 'syntax'],
    ['A14 closing too early', ']', 'syntax'],
    ['A14 crossed', '[{]}', 'syntax'],
    ['A14 nothing', '', 'syntax'],
    ['A14 blanks only', ' \n', 'syntax'],
    ['A15 raw control character', '["\u0001"]', 'syntax'],
    ['A15 raw line feed', '["a\nb"]', 'syntax'],
    ['A15 raw NUL', '["\u0000"]', 'syntax'],
    ['A16 65 arrays', '['.repeat(65) + ']'.repeat(65), 'too_deep'],
    ['A16 65 objects', `${'{"a":'.repeat(65)}1${'}'.repeat(65)}`, 'too_deep'],
  ])('%s', (_row, text, fault) => {
    expect(faultOf(parseStrict(text))).toBe(fault)
    expect(faultOf(parseStrictBytes(Buffer.from(text.toWellFormed())))).toBe(fault)
  })

  test.each<[row: string, text: Buffer]>([
    ['A10 0xff', bytes('"', [0xff], '"')],
    ['A10 overlong slash', bytes('"', [0xc0, 0xaf], '"')],
    ['A10 overlong NUL', bytes('"', [0xc0, 0x80], '"')],
    ['A10 overlong, three bytes', bytes('"', [0xe0, 0x80, 0xaf], '"')],
    ['A10 CESU-8 surrogates', bytes('"', [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80], '"')],
    ['A10 beyond U+10FFFF', bytes('"', [0xf4, 0x90, 0x80, 0x80], '"')],
    ['A10 cut short', bytes('"', [0xe2, 0x82], '"')],
    ['A10 continuation alone', bytes('"', [0x80], '"')],
    ['A10 in a key', bytes('{"a', [0xfe], '":1}')],
    ['A12 UTF-16 with a mark', Buffer.from('\ufeff{}', 'utf16le')],
  ])('%s', (_row, text) => expect(faultOf(parseStrictBytes(text))).toBe('invalid_utf8'))

  test.each([
    ['A12 UTF-16 little endian', Buffer.from('{}', 'utf16le')],
    ['A12 UTF-16 big endian', Buffer.from('{}', 'utf16le').swap16()],
    ['A12 UTF-32', bytes([0x7b, 0, 0, 0, 0x7d, 0, 0, 0])],
    ['A12 UTF-7', Buffer.from('+AHsAfQ-')],
  ])('%s is no JSON', (_row, text) => expect(faultOf(parseStrictBytes(text))).toBe('syntax'))

  test('A11 the mark as bytes', () =>
    expect(faultOf(parseStrictBytes(bytes([0xef, 0xbb, 0xbf], '{}')))).toBe('byte_order_mark'))
})

describe('what is unambiguous is accepted as it is', () => {
  test.each<[row: string, text: string, value: unknown]>([
    ['A15 DEL', '"\u007f"', '\u007f'],
    ['A15 U+2028 in a string', '"\u2028"', '\u2028'],
    ['A15 escaped control characters', '"\\u0001\\n"', '\u0001\n'],
    ['A9 a surrogate pair', '"\\ud83d\\ude00"', '😀'],
    ['A11 the mark within a string', '"\ufeff"', '\ufeff'],
    ['A4 NUL in a value', '"a\\u0000"', 'a\u0000'],
    ['A6 constructor as data', '{"constructor":{"prototype":1}}', { constructor: { prototype: 1 } }],
    ['A7 2^53-1', '[9007199254740991,-9007199254740991]', [9007199254740991, -9007199254740991]],
    ['A19 other spellings of numbers', '[1.0,1E2,10e-1]', [1, 100, 1]],
    [
      'A1 the same key in different objects',
      '{"a":{"a":[{"a":1},{"a":2}]}}',
      { a: { a: [{ a: 1 }, { a: 2 }] } },
    ],
    ['A1 colons and quotes within strings', '{"a:\\"b":"c\\\\","d":":::"}', { 'a:"b': 'c\\', d: ':::' }],
    ['A16 64 deep', '['.repeat(64) + ']'.repeat(64), JSON.parse('['.repeat(64) + ']'.repeat(64))],
    ['scalars', 'null', null],
    ['blanks around', ' \t\r\n{} ', {}],
  ])('%s', (_row, text, value) => expect(parseStrict(text)).toEqual({ ok: true, value }))
})

describe('keys with escapes are the keys that the text has, whatever was parsed before', () => {
  // V8 takes the second of each pair for the first, once it saw the first in an object of the same shape.
  test.each([
    ['one character', '{"s1":1,"\\\\":2}', '{"s1":1,"\\"":2}', '"'],
    ['a line feed', '{"s2":1,"\\\\":2}', '{"s2":1,"\\n":2}', '\n'],
    ['a name that is escaped', '{"s3":1,"\\\\u00":2}', '{"s3":1,"\\u006eame":2}', 'name'],
    ['in a text of two bytes a character', '{"с4":1,"\\\\u00":2}', '{"с4":1,"\\u006eame":2}', 'name'],
  ])('%s', (_row, before, text, key) => {
    for (let i = 0; i < 3; i++) JSON.parse(before)
    const first = Object.keys(JSON.parse(before))[0]!
    expect(parseStrict(text)).toEqual({ ok: true, value: { [first]: 1, [key]: 2 } })
  })

  test('a repeated key is seen however it is spelt', () => {
    JSON.parse('{"name":1,"\\\\u00":2}')
    expect(faultOf(parseStrict('{"name":"safe","\\u006eame":"evil"}'))).toBe('duplicate_key')
    expect(faultOf(parseStrict('{"\\u006eame":1,"n\\u0061me":2}'))).toBe('duplicate_key')
  })

  test('keys that look like those put aside stay what they are', () => {
    const value = { '\ue0000': 1, '\ue0001': { '\ue0000': 2 }, '\n': 3, '\ue000': 4 }
    expect(parseStrict(JSON.stringify(value))).toEqual({ ok: true, value })
  })
})

describe('A16, A17 bounds', () => {
  const quick = (text: string, limits = WIDE): string => {
    const began = performance.now()
    const fault = faultOf(parseStrict(text, limits))
    expect(performance.now() - began).toBeLessThan(1_000)
    return fault
  }
  const MANY = 10 << 20

  test('10 MB of brackets: the default size, then the depth', () => {
    expect(quick('['.repeat(MANY), DEFAULT_JSON_LIMITS)).toBe('too_large')
    expect(quick('['.repeat(MANY))).toBe('too_deep')
    expect(quick('{"a":'.repeat(MANY / 5))).toBe('too_deep')
  })

  test('depth is seen after 65 brackets, whatever follows', () => {
    // What follows is no JSON: had it been parsed, the fault would be another.
    expect(faultOf(parseStrict(`${'['.repeat(65)}"unclosed`))).toBe('too_deep')
  })

  test('strings that are all escapes cost as much as others', () => {
    const MANY = 2 << 20
    expect(quick(`"${'\\"'.repeat(MANY / 2)}"`)).toBe('accepted')
    expect(quick(`"${'\\\\'.repeat(MANY / 2)}"`)).toBe('accepted')
    expect(quick(`"${'\\'.repeat(MANY - 1)}"`)).toBe('syntax')
    expect(quick(`["${'"'.repeat(MANY)}`)).toBe('syntax')
  })

  test('keys are counted before anything is built', () => {
    const keys = (n: number) => `{${Array.from({ length: n }, (_, i) => `"k${i}":0`).join(',')}}`
    expect(quick(keys(50_000))).toBe('accepted')
    expect(quick(keys(50_001))).toBe('too_many_keys')
    expect(quick(keys(200_000))).toBe('too_many_keys')
    // Counted over the whole text, and before its grammar.
    expect(faultOf(parseStrict(`[${'{"a":0},'.repeat(50_001)}`, WIDE))).toBe('too_many_keys')
  })

  test('the longest string', () => {
    const limits = { ...DEFAULT_JSON_LIMITS, string: 10 }
    expect(faultOf(parseStrict(`"${'x'.repeat(10)}"`, limits))).toBe('accepted')
    expect(faultOf(parseStrict(`["${'x'.repeat(11)}"]`, limits))).toBe('string_too_long')
    expect(faultOf(parseStrict(`{"${'X'.repeat(11)}":1}`, limits))).toBe('string_too_long')
    expect(faultOf(parseStrict(`{"${'x'.repeat(11)}":1}`, limits))).toBe('string_too_long')
  })

  test('bytes, not characters, are limited', () => {
    const limits = { ...DEFAULT_JSON_LIMITS, bytes: 8 }
    expect(faultOf(parseStrictBytes(Buffer.from('"éé"'), limits))).toBe('accepted')
    expect(faultOf(parseStrictBytes(Buffer.from('"ééé+"'), limits))).toBe('too_large')
  })
})

describe('properties', () => {
  test('A18, A19 parse(serialise(x)) is x, in every spelling', () => {
    const random = createRandom(1)
    for (let i = 0; i < 3_000; i++) {
      const value = randomJson(random)
      const read = parseStrict(spell(random, value))
      if (!read.ok && read.fault === 'forbidden_key') throw new Error('the generator makes no such key')
      expect(read).toEqual({ ok: true, value: plain(value) })
      if (read.ok) expect(parseStrict(JSON.stringify(read.value))).toEqual({ ok: true, value: plain(value) })
    }
  })

  test('A1 no text with a key twice in one object is accepted, at any depth', () => {
    const random = createRandom(2)
    let tried = 0
    for (let i = 0; i < 5_000; i++) {
      let doubled = 0
      const text = spell(random, randomJson(random, 6), () => {
        if (!random.chance(0.1)) return false
        doubled++
        return true
      })
      if (doubled === 0) continue
      tried++
      expect(faultOf(parseStrict(text)), text).toBe('duplicate_key')
    }
    expect(tried).toBeGreaterThan(400)
  })

  test('whatever is accepted after random damage has one reading', () => {
    const random = createRandom(3)
    const PIECES = [
      '"',
      ':',
      ',',
      '{',
      '}',
      '[',
      ']',
      '\\',
      '"a":1,',
      '\\u0061',
      'a',
      '0',
      ' ',
      '\u0000',
      'null',
    ]
    let accepted = 0
    for (let i = 0; i < 20_000; i++) {
      let text = spell(random, randomJson(random, 3))
      for (let n = 1 + random.below(3); n > 0; n--) {
        const at = random.below(text.length + 1)
        text = text.slice(0, at) + random.pick(PIECES) + text.slice(at + random.below(2))
      }
      const read = parseStrict(text)
      if (!read.ok) continue
      accepted++
      expect(repeatedKey(text), text).toBe(undefined)
    }
    expect(accepted).toBeGreaterThan(400)
  })

  test('A2, A3 keys that fold to one another are never in one object', () => {
    const random = createRandom(4)
    const twins = [
      'method',
      'METHOD',
      'Method',
      'ｍethod',
      'params',
      'paramſ',
      'PARAMS',
      'K',
      'k',
      '\u212a',
      'ß',
      'SS',
      'ss',
      'ﬁ',
      'fi',
      'ǆ',
      'ǅ',
      'Ǆ',
    ]
    for (let i = 0; i < 2_000; i++) {
      const [a, b] = [random.pick(twins), random.pick(twins)]
      if (a === b) continue
      const same = foldKey(a) === foldKey(b)
      const read = parseStrict(`[{"x":{${JSON.stringify(a)}:1,${JSON.stringify(b)}:2}}]`)
      expect(faultOf(read), `${a} ${b}`).toBe(same ? 'ambiguous_key' : 'accepted')
    }
  })
})

/** A reader of its own, as plain as can be: the first key that comes twice in one object of a well-formed text. */
function repeatedKey(text: string): string | undefined {
  let at = 0
  let found: string | undefined
  const blanks = () => {
    while (/[ \t\r\n]/.test(text.charAt(at))) at++
  }
  const string = (): string => {
    const match = /"(?:[^"\\]|\\.)*"/y
    match.lastIndex = at
    const token = match.exec(text)![0]
    at += token.length
    return JSON.parse(token)
  }
  const value = () => {
    blanks()
    const c = text.charAt(at)
    if (c === '"') string()
    else if (c === '{' || c === '[') {
      at++
      const keys = new Set<string>()
      for (blanks(); text.charAt(at) !== '}' && text.charAt(at) !== ']'; blanks()) {
        if (c === '{') {
          const key = string()
          if (keys.has(key)) found ??= key
          keys.add(key)
          blanks()
          at++
        }
        value()
        blanks()
        if (text.charAt(at) === ',') at++
        blanks()
      }
      at++
    } else while (at < text.length && !/[,\]} \t\r\n]/.test(text.charAt(at))) at++
  }
  value()
  return found
}
