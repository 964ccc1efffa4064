// Arguments for builtins: of the types that OPA declares, odd ones of those, and now and then of another type.
import { constants, createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import type { Random } from './fuzz/random.ts'

/** JSON, with `{"$num": text}` for a number and `{"$set": [...]}` for a set. */
export type Encoded = null | boolean | number | string | Encoded[] | { [key: string]: Encoded }
type Type = {
  type: string
  of?: Type | Type[]
  dynamic?: Type & { key?: Type; value?: Type }
  static?: (Type & { key?: string; value?: Type })[]
}
export type Declared = { name: string; decl: { args?: Type[] }; relation?: boolean }

const num = (text: string): Encoded => ({ $num: text })
const set = (items: Encoded[]): Encoded => ({ $set: items })

const STRINGS = [
  '',
  'a',
  'b',
  'ab',
  'abc',
  'aaa',
  'A',
  'abcabc',
  ' ',
  '  x  ',
  '/',
  'a/b/c',
  'a.b',
  '.',
  ',',
  'x,y,,z',
  '-',
  '0',
  '1',
  '12',
  '-3.50',
  '1e3',
  'Straße',
  'ÄÖÜ',
  'İ',
  'ı',
  'ς',
  'ΑΣ',
  'ǅ',
  'ﬀ',
  '日本語',
  '😀',
  'a😀b',
  'e\u0301',
  '\u0000',
  'a\u0000b',
  '\n',
  '\t\r\n',
  '"',
  '\\',
  '<&>',
  '\u2028',
  '\u00a0',
  '\u200b',
  '\ufeff',
  '\u007f',
  '\ue000',
  '\uffff',
  'true',
  'null',
  '[1,2]',
  '{"a":1}',
  'hello world',
  'foo.bar.baz',
  'foobar',
  'ß',
  'ẞ',
  'ſ',
  'K',
  'ΐ',
  'ŉ',
  'ა',
  'Ა',
  'Ꭰ',
  'ꭰ',
  '𐐀',
  '𞤀',
  'ᲊ',
  'Ᲊ',
  'Ɤ',
  'ͅ',
  'éa',
  'a\u0000\u0000',
  '\u0085x\u0085',
  '\u2003x\u3000',
  '\u180ex',
  '\u001cx\u001f',
  '%s',
  '[1, 2',
  '{"b":1,"a":[1.0,2e3]}',
  'a'.repeat(300),
  'é'.repeat(100),
]
const NUMBERS: Encoded[] = [
  0,
  1,
  -1,
  2,
  3,
  7,
  10,
  16,
  100,
  255,
  1000,
  65535,
  1.5,
  -2.5,
  0.1,
  0.5,
  2.25,
  1e21,
  1e-7,
  123456789,
  -123456789.125,
  9007199254740991,
  num('9007199254740993'),
  num('9223372036854775807'),
  num('9223372036854775808'),
  num('-9223372036854775808'),
  num('123456789012345678901234567890'),
  num('18446744073709551617'),
  num('1.0'),
  num('1.50'),
  num('1e2'),
  num('100e-2'),
  num('0.1000'),
  num('-0'),
  num('3.0000000000000000000001'),
  num('-0.5'),
  num('-0.0'),
  num('0.5000000000000000000000000001'),
  num('-7'),
  num('7.0'),
  num('-1.9999999999999999999999'),
  num('999999999999999'),
  num('1000000000000000'),
  num('2147483647'),
  num('2147483648'),
  num('-2147483649'),
  num('4294967296'),
  num('18446744073709551615.5'),
  num('18446744073709551616'),
  num('1e30'),
  num('-1E+3'),
  num('1.25e-5'),
  num('12345.678'),
  num('1234567.5'),
  num('0.00001'),
  num('0.00012345678901234567890123'),
  num('1e-400'),
  num('1e400'),
  num('123456789012345678901234567890.5'),
  num('5e-324'),
  num('1.7976931348623157e308'),
  num('340282366920938463463374607431768211456'),
]
/** Mostly small, now and then spelt otherwise or far out. */
const int = (random: Random): Encoded =>
  random.chance(0.8)
    ? random.int(8) - 2
    : random.pick([
        num('1.0'),
        num('2.000'),
        num('1e0'),
        num('-0'),
        1.5,
        num('9223372036854775807'),
        num('9223372036854775808'),
        num('-9223372036854775808'),
        num('4294967297'),
        num('-1.0'),
      ])

export function anyValue(random: Random, depth = 2): Encoded {
  const { pick, int: below, chance } = random
  if (depth === 0 || chance(0.6))
    return chance(0.5) ? pick(STRINGS) : chance(0.7) ? pick(NUMBERS) : pick([null, true, false])
  const items = Array.from({ length: below(4) }, () => anyValue(random, depth - 1))
  const kind = below(3)
  if (kind === 0) return items
  if (kind === 1) return set(items)
  return Object.fromEntries(items.map((item) => [pick(STRINGS.filter((key) => !key.startsWith('$'))), item]))
}

const REGEX = [
  '',
  'a',
  'a*',
  'a+',
  '(a)(b)?',
  '[a-c]+',
  '^a',
  'b$',
  '\\bfoo',
  '(?i)AB',
  '(?P<n>a)b',
  '(?<n>a)b',
  'x|y',
  '.',
  '(?s).',
  '\\d+',
  '\\p{L}+',
  '[^a]',
  '(a|ab)(c|bcd)',
  'a{2,3}',
  '(',
  '[',
  'a**',
  '\\',
  '(?=a)',
  '\\1',
  '日',
  '😀',
  '(?U)a+',
  '\\s',
  '[[:alpha:]]+',
  '^$',
  '(a*)*',
  '(a+)+$',
  '\\x41',
  '\\Qa.b\\E',
  'a??',
  '\\p{Lu}',
  '\\pN',
  '\\P{^Greek}',
  '\\p{Letter}',
  '\\\\p{L}',
  '(?i)ſ',
  '(?i)[k-s]',
  'a\u0000',
  '[^\\pL]',
  '\\z',
  '(?m)^x$',
  '[a-\\d]',
  '(?:a|b)(?P<x>c)?',
  '\\Bb',
  'a{1001}',
  '(a{100}){11}',
  '(?P<n>a)(?P<n>b)',
  '\\C',
]
const REPLACEMENTS = [
  '',
  '$1',
  '${1}',
  '$n',
  '${n}x',
  '$$',
  '$',
  '$1x',
  '${1}x',
  'x$',
  '\\1',
  '日',
  '$0',
  '$9',
  '${',
  '$é',
]
const GLOBS = [
  '',
  '*',
  '**',
  'a*',
  '?',
  '[abc]',
  '[!a]',
  '[a-c]*',
  '{a,b}',
  '{ab,c*}',
  '*.com',
  'a.*.c',
  '\\*',
  'a/**/c',
  '日*',
  '[',
  '{a',
  '*:b',
  'a?c',
  '[^a]',
  '[a-cx]',
  '[]',
  '[!]',
  '[!!a]',
  '[\\]a]',
  '[-a]',
  '[a-]',
  '[]-a]',
  '[c-a]',
  '[!a-c]',
  '[日-本]*',
  '{}',
  '{,a}b',
  '{a,}',
  '{a,{b,c*}}',
  '}',
  ',',
  'a,b',
  '{a\\,b,c}',
  '{a}b}',
  'a\\',
  'a**b',
  '***',
  '{*,?}.x',
  '[*]',
  '{[a,b],c}',
  '?😀',
  '\u0000*',
  'a\n*',
]
const TARGETS = [
  '',
  'a',
  'ab',
  'abc',
  'a.b.c',
  'a/b/c',
  'x.com',
  'a.x.com',
  '*',
  '日本',
  'a:b',
  'api.example.com',
  'b',
  '-',
  ']',
  '!',
  '^',
  'a,b',
  '}',
  'ab}',
  'x😀',
  '\u0000b',
  'a\nb',
  'a\n',
  '本',
  '.x',
]
const CIDRS = [
  '10.0.0.0/8',
  '10.1.2.3/24',
  '192.168.1.0/30',
  '192.168.1.4/30',
  '192.168.1.8/29',
  '0.0.0.0/0',
  '1.2.3.4/32',
  '10.0.0.1',
  '255.255.255.255/32',
  '::/0',
  'fe80::1/64',
  '2001:db8::/126',
  '2001:db8::4/126',
  '::ffff:1.2.3.4/120',
  '::1',
  '1.2.3',
  '1.2.3.04',
  '10.0.0.0/33',
  'x',
  '10.0.0.0/08',
  '1:2:3:4:5:6:7:8',
  '1::8',
  'fe80::1%eth0',
  '10.0.0.128/25',
  '10.0.0.0/25',
  '127.0.0.1',
  '200.1.1.1',
  '2001:DB8::/32',
]
const URLS = [
  'http://a.com',
  'https://user:pw@example.com:8080/a/b?x=1&y=2#frag',
  '/path',
  '//host/p',
  '///p',
  'mailto:x@y',
  'http://[::1]:80/',
  'http://[::1',
  'http://a b/',
  'HTTP://X',
  ':',
  '?q',
  '#f',
  '*',
  'a:b',
  'a/b:c',
  '1:2',
  'http://a:b',
  'http://a/%41%zz',
  'http://a/%20b',
  'http://ä.com/ü',
  '',
  'x://h/a%2Fb',
  'http://h?x#y#z',
  'http://a@b@c/',
  'http://[fe80::1%25en0]/',
  'urn:x:y',
  '/a!b',
  '/a[b]',
  'foo://h:1:2/',
  'http://h:1:2/',
  '\u0001',
  '%',
  'http://%41/',
  'http://a%20b/',
  "/a'()*",
  '/a;b,c',
  'http://h/a?b?c',
  'http://x/%e4%b8%ad',
  '/a b',
]
const QUERIES = [
  'a=1&b=2',
  'a=1&a=2',
  'a',
  '=',
  '&',
  'a=%20+b',
  'a=%zz',
  'a;b',
  'ä=ö',
  'a=b=c',
  '%41=1',
  '',
  'a=%ff',
  'x=%e4%b8%ad',
]
const DURATIONS = [
  '1h',
  '1.5h',
  '-2m',
  '1d',
  '2w3d',
  '1y',
  '1.5d',
  '1h30m10s',
  '100ms',
  '1us',
  '1µs',
  '1μs',
  '5ns',
  '',
  '0',
  '+1s',
  '1',
  's',
  '.5s',
  '1.s',
  '.s',
  '1e3s',
  '9223372036854775807ns',
  '9223372036854775808ns',
  '-9223372036854775808ns',
  '1dd',
  '1.5.5d',
  '0.000000001s',
  '1h1h',
  '3000000h',
  '1d1ms',
  '1.25w',
  '100000000y',
]
const UNITS = [
  '1',
  '1k',
  '1K',
  '1Ki',
  '1ki',
  '10m',
  '1.5M',
  '100G',
  '2Gi',
  '5TI',
  '1.5e3',
  '1e3k',
  '-1k',
  '+5',
  '.5k',
  '1.',
  '',
  'k',
  '1 k',
  '"1k"',
  '1kb',
  '1KB',
  '1KiB',
  '1mb',
  '1m',
  '2MiB',
  '1.1gib',
  '1eb',
  '1EiB',
  '0.001k',
  '1e-3M',
  '9999999999999999999999',
  '1.123456789012345',
  '1e7',
  '1e12345678',
  '1Q',
  '0',
  '1µ',
  '7.3m',
  '1000m',
  '1__0',
  '1e',
  '1E',
  '1e+',
  '2.5p',
  '0x10',
  '00012',
]
const SEMVERS = [
  '1.0.0',
  'v1.0.0',
  '1.2.3-alpha',
  '1.2.3-alpha.1',
  '1.2.3-alpha.beta',
  '1.2.3-1',
  '1.2.3-01',
  '1.2.3+meta',
  '1.2.3-rc.1+x.y',
  '1.2',
  '01.2.3',
  '1.2.3.4',
  '',
  '1.2.3-',
  '1.2.3+',
  '2.0.0',
  '10.0.0',
  '9223372036854775807.0.0',
  '9223372036854775808.0.0',
  '1.2.3-2',
  '1.2.3-10',
  '1.2.3-alpha..b',
  'vv1.0.0',
  '1.2.3-a-b',
  'x.y.z',
  '-1.0.0',
  '1.2.3-ä',
]
const UUIDS = [
  'c2a9b5ec-0ea1-11ee-be56-0242ac120002',
  'c2a9b5ec-0ea1-21ee-be56-0242ac120002',
  '000003e8-8451-21ed-9e02-325096b39f47',
  'urn:uuid:9c5b94b1-35ad-49bb-b118-8e8fc24abf80',
  '{9c5b94b1-35ad-49bb-b118-8e8fc24abf80}',
  '9c5b94b135ad49bbb1188e8fc24abf80',
  'URN:UUID:9C5B94B1-35AD-49BB-B118-8E8FC24ABF80',
  '',
  'x',
  '9c5b94b1-35ad-49bb-c118-8e8fc24abf80',
  '9c5b94b1-35ad-19bb-f118-8e8fc24abf80',
  '9c5b94b1-35ad-69bb-0118-8e8fc24abf80',
  'x9c5b94b1-35ad-49bb-b118-8e8fc24abf80y',
  'ffffffff-ffff-1fff-bfff-ffffffffffff',
]
const ZONES = [
  'UTC',
  '',
  'America/New_York',
  'Europe/Bucharest',
  'Asia/Kolkata',
  'Australia/Lord_Howe',
  'Nowhere/City',
  'Local',
  'europe/berlin',
  'Etc/GMT+5',
  'US/Pacific',
  'Pacific/Chatham',
  '+01:00',
  'EST',
  'Europe/London',
]
const LAYOUTS = [
  'RFC3339',
  'RFC3339Nano',
  'RFC1123Z',
  'RFC822Z',
  'ANSIC',
  'RubyDate',
  'UnixDate',
  'RFC1123',
  'RFC850',
  'RFC822',
  '2006-01-02',
  '15:04:05',
  '3:04PM',
  '3:04:05 pm',
  'Monday, January 2 2006',
  'Mon Jan _2',
  '02/01/06',
  '2006-002',
  '__2 2006',
  '15:04:05.000',
  '15:04:05.999',
  '.00',
  '2006-01-02T15:04:05,000Z07:00',
  '-070000',
  'Z07',
  '-07',
  'Z0700',
  '-07:00:00',
  'January Janu Jan',
  '_2006',
  'x',
  '',
  '1/2/2006 03:4:5',
  'MST',
  '日2006',
]
const TIMES = [
  '2026-11-22T20:26:14Z',
  '2026-11-22T20:26:14.123456789+02:00',
  '2026-02-30T00:00:00Z',
  '2026-11-22',
  '20:26:14',
  '8:26PM',
  '8:26:14 pm',
  'Sunday, November 22 2026',
  'Sun Nov 22',
  '22/11/26',
  '2026-326',
  '326 2026',
  '20:26:14.123',
  '2026-11-22T20:26:14.5Z',
  '2026-11-22t20:26:14z',
  '1677-09-21T00:12:43Z',
  '2262-04-12T00:00:00Z',
  '9999-12-31T23:59:59Z',
  'Sun, 22 Nov 2026 20:26:14 +0100',
  'Sun, 22 Nov 2026 20:26:14 UTC',
  'Sun, 22 Nov 2026 20:26:14 CET',
  'Sun, 22 Nov 2026 20:26:14 GMT+3',
  '22 Nov 26 20:26 +0230',
  'Sun Nov 22 20:26:14 2026',
  'Sun Nov  2 20:26:14 2026',
  '',
  'x',
  '2026-11-22T24:00:00Z',
  '2026-11-22T20:26:60Z',
  '2026-11-22T20:26:14+25:00',
  '2026-11-22T20:26:14+24:60',
  '2024-02-29T00:00:00Z',
  '2026-060',
  ' 60 2026',
  '+053000',
  '-05',
  '11/22/2026 08:6:4',
  'UTC',
  '日2026',
]
const FORMATS = [
  '%d',
  '%s',
  '%v',
  '%q',
  '%x',
  '%X',
  '%5d',
  '%-5d|',
  '%05d',
  '%+d',
  '% d',
  '%#x',
  '%o',
  '%O',
  '%b',
  '%c',
  '%U',
  '%#U',
  '%e',
  '%f',
  '%g',
  '%.2f',
  '%8.3f',
  '%.0f',
  '%G',
  '%E',
  '%t',
  '%T',
  '%%',
  '%',
  '%z',
  '%!',
  '%[1]d',
  '%[2]v %[1]v',
  '%[3]d',
  '%*d',
  '%.*f',
  '%-*s|',
  '%10s|',
  '%.2s',
  '%-10q|',
  '%+q',
  '%#q',
  '%x %X',
  '% x',
  '%#v',
  '%+v',
  '%w',
  '%d %d',
  'no verb',
  '%s %s %s',
  '%é',
  '%6.2f%%',
  '%+.3e',
  '%#o',
  '%#b',
  '%020v',
  '%.10g',
  '%.3g',
  '%#g',
  '%#.3f',
  '%[1]*d',
  '%[x]d',
  '%[]d',
  '%-05d|',
  '%.d',
  '%.3d',
  '%+05d',
  '% x|% X',
  '%#x',
  '%v %v',
  '%5%',
  '%08.3f',
  '%+v|%v',
  '%c%c',
  '%p',
]
const JWT_LIKE = [
  'a.b.c',
  'eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln',
  '',
  'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxIiwibiI6MTIzNDU2Nzg5MDEyMzQ1Njc4OTB9.',
  'x',
]
const POINTERS = ['/a', 'a', '/a/b', '/a/0', '/0', '/-', '', '/', '/a~1b', '/x', '/1', '/00', '/a/-']
const B64 = [
  '',
  'YQ==',
  'YQ',
  'YWI=',
  'YWJj',
  '_-8',
  '+/8=',
  'a',
  'Y Q==',
  'YQ==\n',
  '%%',
  '5pel',
  '8J+YgA==',
  'YR==',
]
const HEX = ['', '61', '6162', 'e697a5', 'ff', '6', 'zz', 'C3A4', '00']
const JSONS = [
  '{"a":1}',
  '[1,2.50,1e3]',
  '"x"',
  '1',
  '01',
  '{"a":1,"a":2}',
  '{"a":}',
  '',
  'null',
  ' 1 ',
  '1 2',
  '"\\ud800"',
  '{"é":"\\u00e9"}',
  '123456789012345678901234567890',
  '[1,]',
  'true',
  "{'a':1}",
  '1.0',
  '-0',
  '"\\x"',
]
const YAMLS = [
  'a: 1',
  '- 1\n- two',
  'a: yes',
  'a: 0x10',
  'a: 010',
  'a: 1e3',
  'a: ~',
  'a: "x"',
  "a: 'y'",
  '{a: [1, 2]}',
  'a:\n  b: c\n  d: |\n    text\n    more',
  'x',
  '',
  'a: b: c',
  '&x [1, *x]',
  'a: &y 1\nb: *y',
  '<<: {a: 1}',
  'a: 2001-01-01',
  'a: .inf',
  'a: 1_000',
  '1: a',
  'true: b',
  'a: null',
  '---\na: 1',
  'a: 1\n---\nb: 2',
  '# c',
  'a: !!str 1',
  'a: 1.50',
  '\ta: 1',
  'a: off',
  'é: ü',
  '- - 1',
  'a: >\n  x\n  y',
  '? a\n: b',
  'a: 123456789012345678901234567890',
  'a: 0o17',
  'a: +1',
  'a: 1:30',
]

const graph = (random: Random): Encoded => {
  const nodes = ['a', 'b', 'c', 'd']
  return Object.fromEntries(
    nodes.slice(0, random.int(5)).map((node) => {
      const edges = Array.from({ length: random.int(3) }, () => random.pick([...nodes, 'e']))
      return [node, random.chance(0.1) ? null : random.chance(0.5) ? set(edges) : edges]
    }),
  )
}
const time = (random: Random): Encoded => {
  const ns = random.pick<Encoded>([
    0,
    num('1795379174008123456'),
    num('-1000000001'),
    num('9223372036854775807'),
    num('1e18'),
    1.5,
    num('1711846799999999999'),
    num('1711846800000000000'),
    num('9223372036854775808'),
    num('-9223372036854775808'),
    num('1130634000000000000'),
    num('1700000000000000000'),
  ])
  const odd = num(`${random.int(2 ** 31)}${String(random.int(1e9)).padStart(9, '0')}`)
  const n = random.chance(0.6) ? odd : ns
  if (random.chance(0.3)) return n
  const parts: Encoded[] = [n, random.pick(ZONES)]
  if (random.chance(0.6)) parts.push(random.pick(LAYOUTS))
  return parts
}
const patches = (random: Random): Encoded =>
  Array.from({ length: random.int(3) + 1 }, () => {
    const op = random.pick(['add', 'remove', 'replace', 'move', 'copy', 'test', 'x'])
    // OPA panics when the whole is removed, or replaced before another operation.
    const rooted = op === 'add' || op === 'test'
    const pointers = rooted ? POINTERS : POINTERS.filter((pointer) => pointer !== '')
    const patch: { [key: string]: Encoded } = {
      op,
      path: random.chance(0.85) ? random.pick(pointers) : random.pick<Encoded>([['a'], ['a', 0], [1]]),
      value: random.chance(0.5) ? random.pick<Encoded>([1, 'x', { b: 1 }, [1, 2]]) : anyValue(random, 1),
    }
    if (random.chance(0.7)) patch.from = random.pick(pointers.filter((pointer) => pointer !== ''))
    return patch
  })
const patched = (random: Random): Encoded =>
  random.pick<Encoded>([
    { a: { b: 1 } },
    { a: [1, 2, 3] },
    [1, 2],
    { a: 1, x: 2 },
    [],
    {},
    [[1], { a: 2 }],
    set([1, 'a']),
    { a: set([1, 'b']) },
    'x',
  ])

type Make = (random: Random) => Encoded

/** Tokens that hold under one of the keys, and some that do not. */
function signedTokens(): { tokens: string[]; keys: string[] } {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
  const p521 = generateKeyPairSync('ec', { namedCurve: 'P-521' })
  const ed = generateKeyPairSync('ed25519')
  const encode = (of: object) => Buffer.from(JSON.stringify(of)).toString('base64url')
  const token = (
    alg: string,
    make: (signed: Buffer) => Buffer,
    more: object = {},
    claims: object = {},
  ): string => {
    const signed = `${encode({ alg, typ: 'JWT', ...more })}.${encode({ sub: 'ada', n: 1.5, ...claims })}`
    return `${signed}.${make(Buffer.from(signed)).toString('base64url')}`
  }
  const ec = (hash: string, key: KeyObject) => (signed: Buffer) =>
    sign(hash, signed, { key, dsaEncoding: 'ieee-p1363' })
  const pss = (hash: string) => (signed: Buffer) =>
    sign(hash, signed, {
      key: rsa.privateKey,
      padding: constants.RSA_PKCS1_PSS_PADDING,
      saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
    })
  const tokens = ['256', '384', '512'].flatMap((bits) => [
    token(`RS${bits}`, (signed) => sign(`sha${bits}`, signed, rsa.privateKey)),
    token(`RS${bits}`, (signed) => sign(`sha${bits}`, signed, rsa.privateKey), { kid: 'r' }),
    token(`PS${bits}`, pss(`sha${bits}`)),
    token(`HS${bits}`, (signed) => createHmac(`sha${bits}`, 'secret').update(signed).digest()),
  ])
  tokens.push(
    token('ES256', ec('sha256', p256.privateKey)),
    token('ES256', ec('sha256', p256.privateKey), { kid: 'e' }),
    token('ES384', ec('sha384', p384.privateKey)),
    token('ES512', ec('sha512', p521.privateKey)),
    token('EdDSA', (signed) => sign(null, signed, ed.privateKey)),
    token('ES256', () => Buffer.alloc(64)),
    token('ES256', () => Buffer.alloc(0)),
    token('RS256', () => Buffer.alloc(256, 1)),
    token('none', () => Buffer.alloc(0)),
    ...[
      { iss: 'me', aud: 'a' },
      { aud: ['a', 'b'], exp: 1800000000.5 },
      { exp: 1800000001, nbf: 1750000000 },
      { exp: 'x' },
      { nbf: 1800000000 },
      { exp: 1800000000 },
    ].map((claims) => token('RS256', (of) => sign('sha256', of, rsa.privateKey), {}, claims)),
    ...[{ crit: ['x'], x: 1 }, { crit: ['exp'] }, { crit: [] }, { typ: 1 }].map((more) =>
      token('HS256', (of) => createHmac('sha256', 'secret').update(of).digest(), more),
    ),
  )
  tokens.push(...tokens.slice(0, 6).map((of) => `${of.slice(0, -6)}AAAAAA`), 'a.b.c', 'a.b', '')
  const pem = (key: KeyObject) => key.export({ type: 'spki', format: 'pem' }).toString()
  const jwk = (key: KeyObject, more: object = {}) => ({ ...key.export({ format: 'jwk' }), ...more })
  const all = [rsa, p256, p384, p521, ed].map(({ publicKey }) => publicKey)
  const keys = [
    ...all.map(pem),
    ...all.map((key) => JSON.stringify(jwk(key))),
    JSON.stringify({ keys: all.map((key) => jwk(key)) }),
    JSON.stringify({
      keys: [jwk(rsa.publicKey, { kid: 'r', alg: 'RS256' }), jwk(p256.publicKey, { kid: 'e', alg: 'ES256' })],
    }),
    JSON.stringify({ keys: [jwk(p256.publicKey, { kid: 'r' }), jwk(rsa.publicKey, { kid: 'e' })] }),
    JSON.stringify({ keys: [] }),
    'secret',
    '',
    '{}',
    'x',
  ]
  return { tokens, keys }
}
const signed = signedTokens()
const from =
  (list: readonly Encoded[]): Make =>
  (random) =>
    random.pick(list)

/** What makes a builtin do more than fail, by its name and place. */
const SPECIAL: [RegExp, Make[]][] = [
  [/^regex\.replace$/, [from([...TARGETS, ...STRINGS]), from(REGEX), from(REPLACEMENTS)]],
  [/^regex\.(find_n|find_all_string_submatch_n)$/, [from(REGEX), from([...TARGETS, ...STRINGS]), int]],
  [
    /^regex\.template_match$/,
    [
      from(['a{[b-c]+}d', '<a>', 'urn:{.*}', '{', '}', 'x{y{z}', '', '{a}{b}', '日{.}', 'a.b{c}']),
      from(['abd', 'a', 'urn:x', '', 'ab', '日x', 'a.bc', 'axbc']),
      from(['{', '<', '', 'ab', '日']),
      from(['}', '>', '']),
    ],
  ],
  [
    /^regex\.globs_match$/,
    [
      from([
        'a.b',
        'a*',
        '[a-c]+',
        '.*',
        'a',
        '[a-',
        ']',
        '\\*',
        'a+b',
        '',
        '[abc]*d',
        '*',
        'a*a*',
        'x.+y',
        '[c-a]',
        'b*a',
        'a+a*',
        '\\',
      ]),
      from(['a.b', 'a*', '[a-c]+', '.*', 'b', 'a\\', '', 'abc', '.+', 'a*b*', 'xay', 'b*a', '[b]', 'ab+']),
    ],
  ],
  [/^regex\./, [from(REGEX), from([...TARGETS, ...STRINGS])]],
  [/^glob\.quote_meta$/, [from([...GLOBS, ...STRINGS])]],
  [/^glob\.match$/, [from(GLOBS), from([null, [], ['.'], ['/'], [':', '.'], ['ab']]), from(TARGETS)]],
  [
    /^net\.cidr_(merge)$/,
    [
      (r) => {
        const list = Array.from({ length: r.int(4) }, () => r.pick(CIDRS))
        return r.chance(0.5) ? list : set(list)
      },
    ],
  ],
  [
    /^net\.cidr_contains_matches$/,
    [
      (r) =>
        r.pick<Encoded>([
          r.pick(CIDRS),
          [r.pick(CIDRS), [r.pick(CIDRS), 1]],
          { x: r.pick(CIDRS) },
          set([r.pick(CIDRS)]),
          [[]],
        ]),
      (r) =>
        r.pick<Encoded>([
          r.pick(CIDRS),
          [r.pick(CIDRS), r.pick(CIDRS)],
          { y: [r.pick(CIDRS)] },
          set([[r.pick(CIDRS), 2]]),
        ]),
    ],
  ],
  [
    /^net\.cidr_expand$/,
    [
      from([
        '10.0.0.1/30',
        '192.168.1.0/28',
        '2001:db8::/126',
        '255.255.255.255/32',
        '::ffff:1.2.3.4/126',
        'x',
        '10.0.0.0',
        'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128',
        '::/127',
      ]),
    ],
  ],
  [/^net\./, [from(CIDRS), from(CIDRS)]],
  [/^uri\./, [from([...URLS, ...STRINGS])]],
  [/^urlquery\.decode/, [from([...QUERIES, ...STRINGS])]],
  [
    /^urlquery\.encode_object$/,
    [
      (r) =>
        Object.fromEntries(
          Array.from({ length: r.int(3) }, () => [
            r.pick(['a', 'b c', 'ä', 'z']),
            r.pick<Encoded>([r.pick(STRINGS), [r.pick(STRINGS), 'x'], set([r.pick(STRINGS)]), 1, [1]]),
          ]),
        ),
    ],
  ],
  [/^time\.parse_duration_ns$/, [from(DURATIONS)]],
  [/^time\.parse_rfc3339_ns$/, [from(TIMES)]],
  [/^time\.parse_ns$/, [from(LAYOUTS), from(TIMES)]],
  [/^time\.add_date$/, [time, (r) => r.int(7) - 3, (r) => r.int(40) - 20, (r) => r.int(800) - 400]],
  [/^time\./, [time, time]],
  [/^units\./, [from([...UNITS, ...UNITS.map((unit) => unit.toUpperCase())])]],
  [/^semver\./, [from(SEMVERS), from(SEMVERS)]],
  [/^uuid\./, [from([...UUIDS, ...STRINGS])]],
  [
    /^sprintf$/,
    [
      (r) => `${r.chance(0.3) ? 'x ' : ''}${r.pick(FORMATS)}${r.chance(0.2) ? r.pick(FORMATS) : ''}`,
      (r) =>
        Array.from({ length: r.chance(0.8) ? 1 : r.int(4) }, () =>
          r.chance(0.8) ? (r.chance(0.6) ? r.pick(NUMBERS) : r.pick(STRINGS)) : anyValue(r),
        ),
    ],
  ],
  [/^json\.patch$/, [patched, patches]],
  [
    /^json\.(filter|remove)$/,
    [
      patched,
      (r) => {
        const list = Array.from({ length: r.int(3) }, () => r.pick(POINTERS))
        return r.chance(0.5) ? list : set(list)
      },
    ],
  ],
  [
    /^json\.marshal_with_options$/,
    [
      (r) => anyValue(r, 3),
      from([
        {},
        { pretty: true },
        { indent: '  ' },
        { prefix: '>' },
        { pretty: false, indent: ' ' },
        { pretty: 1 },
        { x: 1 },
        { indent: 1 },
        { prefix: 'é', indent: '', pretty: true },
      ]),
    ],
  ],
  [/^json\.marshal$/, [(r) => anyValue(r, 3)]],
  [/^json\.(unmarshal|is_valid)$/, [from([...JSONS, ...STRINGS])]],
  [/^yaml\.(unmarshal|is_valid)$/, [from([...YAMLS, ...STRINGS])]],
  [/^yaml\.marshal$/, [(r) => (r.chance(0.1) ? anyValue(r, 3) : plainDocument(r, 4))]],
  [
    /^graph\.reachable/,
    [
      graph,
      (r) => {
        const list = Array.from({ length: r.int(3) }, () => r.pick(['a', 'b', 'c', 'x']))
        return r.chance(0.5) ? list : set(list)
      },
    ],
  ],
  [
    /^object\.subset$/,
    [
      (r) =>
        r.pick<Encoded>([
          { a: 1, b: [1, 2, 3], c: { d: set([1, 2]) } },
          [1, 2, 1, 3],
          set([1, 'a']),
          [1, 1],
          [],
          { a: [1, [2]] },
        ]),
      (r) =>
        r.pick<Encoded>([
          { a: 1 },
          { b: [2, 3] },
          { c: { d: set([1]) } },
          [2, 1],
          set([1]),
          set([1, 2]),
          set([]),
          [],
          [1, 3],
          {},
          { a: [[2]] },
          { b: [1, 3] },
        ]),
    ],
  ],
  [/^base64/, [from([...B64, ...STRINGS])]],
  [/^hex\.decode$/, [from(HEX)]],
  [
    /^strings\.split_n$/,
    [
      from(STRINGS),
      from(['', 'a', ',', '/', 'b', '.']),
      (r) =>
        r.pick<Encoded>([
          0,
          1,
          2,
          -1,
          -2,
          5,
          -9,
          1.5,
          num('1.0'),
          num('9223372036854775807'),
          num('-9223372036854775808'),
        ]),
    ],
  ],
  [
    /^strings\.any_/,
    [
      (r) =>
        r.pick<Encoded>([
          r.pick(STRINGS),
          [r.pick(STRINGS), r.pick(STRINGS)],
          set([r.pick(STRINGS)]),
          [1],
          [],
        ]),
      (r) =>
        r.pick<Encoded>([
          r.pick(STRINGS),
          [r.pick(STRINGS), r.pick(['a', 'c', ''])],
          set(['a', r.pick(STRINGS)]),
          [],
          [r.pick(STRINGS), 1],
        ]),
    ],
  ],
  [/^replace$/, [from(STRINGS), from([...STRINGS, '', 'a', 'ab']), from(STRINGS)]],
  [
    /^strings\.replace_n$/,
    [
      (r) =>
        Object.fromEntries(
          Array.from({ length: r.int(4) }, () => [
            r.pick(['', 'a', 'ab', 'b', 'é', 'aa', 'abc']),
            r.pick(STRINGS),
          ]),
        ),
      from([...STRINGS, 'aab', 'éab', 'abcabcaa']),
    ],
  ],
  [/^(trim|trim_left|trim_right)$/, [from(STRINGS), from([...STRINGS, 'xé', 'a-z', '日😀'])]],
  [/^(sum|product|max|min|sort)$/, [(r) => listOf(r, NUMBERS)]],
  [/^concat$/, [from(STRINGS), (r) => listOf(r, STRINGS)]],
  [/^internal\.template_string$/, [(r) => Array.from({ length: r.int(4) }, () => part(r))]],
  [/^(equal|neq|lt|lte|gt|gte)$/, [(r) => anyValue(r), (r) => anyValue(r)]],
  [/^(substring)$/, [from(STRINGS), int, int]],
  [
    /^numbers\.range/,
    [
      from([-7, -1, 0, 3, num('1.0'), 1.5, num('40.0')]),
      from([-20, 2, 20, num('2.0'), 'x']),
      from([1, 2, 3, 0, -1, num('2.0'), 1.5, num('100000000000000000000')]),
    ],
  ],
  [/^format_int$/, [from(NUMBERS), from([2, 8, 10, 16, 3, num('10.0')])]],
  [
    /^to_number$/,
    [
      from([
        ...STRINGS,
        null,
        true,
        '1.0',
        '+1',
        '0x10',
        '1_000',
        'Infinity',
        '.5',
        '5.',
        ' 1',
        '1e400',
        '-',
        '00',
        '1e',
      ]),
    ],
  ],
  [/^bits\./, [from([...NUMBERS, 5, 12]), from([0, 1, 2, 5, 64, -1, num('70')])]],
  [/^(div|rem|mul|minus|plus)$/, [from(NUMBERS), from(NUMBERS)]],
  [/^io\.jwt\.decode$/, [from([...JWT_LIKE, ...signed.tokens])]],
  [
    /^io\.jwt\.decode_verify$/,
    [
      from(signed.tokens),
      (r) => ({
        ...(r.chance(0.8) ? { cert: r.pick(signed.keys) } : { secret: r.pick(['secret', 'other', '']) }),
        time: r.pick<Encoded>([num('1700000000000000000'), num('1800000000500000000'), 0, -1, 1.5e18]),
        ...(r.chance(0.3) && { alg: r.pick(['RS256', 'ES256', 'HS256', 'x']) }),
        ...(r.chance(0.3) && { iss: r.pick(['me', 'you', '']) }),
        ...(r.chance(0.5) && { aud: r.pick(['a', 'b', '']) }),
        ...(r.chance(0.05) && { other: 1 }),
      }),
    ],
  ],
  [/^io\.jwt\.verify_hs/, [from(signed.tokens), from(['secret', 'other', ''])]],
  [/^io\.jwt\.verify_/, [from(signed.tokens), from(signed.keys)]],
  [/^crypto\.hmac\.equal$/, [from(['a', 'b', 'ä', '']), from(['a', 'ä', 'ab', ''])]],
]

const WORDS = [
  'a',
  'b',
  'a1',
  'a10',
  'a2',
  'a02',
  'a_b',
  'a-b',
  'Ab',
  'B',
  'no',
  'null',
  'True',
  'yEs',
  'y',
  'x.y',
  '12',
  '0',
]
const PHRASES = [
  'a b',
  'a:b',
  'https://x.y/z',
  'user@x',
  'a - b',
  'a: b',
  'a #b',
  '',
  'inf',
  'e1',
  'a '.repeat(60),
  'NaN',
]

/** Of words, mostly: what YAML writes without quotes, and what it must not. */
function plainDocument(random: Random, depth: number): Encoded {
  const { pick, int: below, chance } = random
  if (depth === 0 || chance(0.3))
    return chance(0.4)
      ? pick(WORDS)
      : chance(0.3)
        ? pick(PHRASES)
        : chance(0.7)
          ? pick<Encoded>([
              0,
              -1,
              12,
              1.5,
              num('1.50'),
              num('1e2'),
              num('1234567.5'),
              num('1e21'),
              -0.25,
              num('1e-7'),
            ])
          : pick([null, true, false])
  const items = Array.from({ length: below(4) }, () => plainDocument(random, depth - 1))
  const kind = below(4)
  if (kind === 0) return items
  if (kind === 1) return set(items)
  return Object.fromEntries(items.map((item) => [pick(WORDS), item]))
}

/** A list or a set, whose members are often alike. */
function listOf(random: Random, of: readonly Encoded[]): Encoded {
  const few = [random.pick(of), random.pick(of)]
  const list = Array.from({ length: random.int(6) }, () =>
    random.chance(0.4) ? random.pick(few) : random.pick(of),
  )
  return random.chance(0.5) ? list : set(list)
}

/** What the compiler makes of a template string: texts and numbers, and what is computed in sets. */
function part(random: Random): Encoded {
  if (random.chance(0.4)) return random.pick(STRINGS)
  if (random.chance(0.3)) return random.pick(NUMBERS)
  return random.chance(0.1) ? set([]) : set([anyValue(random)])
}

function ofType(type: Type | undefined, random: Random, depth: number): Encoded {
  const { pick, int: below } = random
  if (!type) return anyValue(random)
  const many = (of: Type | undefined) => Array.from({ length: below(4) }, () => ofType(of, random, depth - 1))
  switch (type.type) {
    case 'string':
      return pick(STRINGS)
    case 'number':
      return random.chance(0.5) ? below(20) - 5 : pick(NUMBERS)
    case 'boolean':
      return random.chance(0.5)
    case 'null':
      return null
    case 'array':
      return type.static ? type.static.map((of) => ofType(of, random, depth - 1)) : many(type.dynamic)
    case 'set':
      return set(many(Array.isArray(type.of) ? type.of[0] : type.of))
    case 'object': {
      const entries = Array.from({ length: below(4) }, (): [string, Encoded] => [
        pick(STRINGS.filter((key) => !key.startsWith('$'))),
        ofType(type.dynamic?.value, random, depth - 1),
      ])
      return Object.fromEntries(entries)
    }
    default:
      return Array.isArray(type.of) && type.of.length > 0
        ? ofType(pick(type.of), random, depth)
        : anyValue(random)
  }
}

export function argumentsFor({ name, decl }: Declared, random: Random): Encoded[] {
  const special = SPECIAL.find(([of]) => of.test(name))?.[1]
  return (decl.args ?? []).map((type, i) => {
    const make = special?.[i]
    // A huge shift or range would fill the memory of both.
    if (make && /^(bits\.[lr]sh|numbers\.range.*|internal\..*)$/.test(name)) return make(random)
    if (random.chance(0.06)) return anyValue(random)
    return make && random.chance(0.92) ? make(random) : ofType(type, random, 2)
  })
}
