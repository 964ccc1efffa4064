import type { Json } from '../../src/mcp/strict-json.ts'

/** Numbers that look random and are the same in every run (mulberry32), so that what fails once fails again. */
export type Random = {
  below: (n: number) => number
  pick: <T>(items: readonly T[]) => T
  chance: (p: number) => boolean
}

export function createRandom(seed: number): Random {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (n: number) => Math.floor(next() * n)
  return { below, pick: (items) => items[below(items.length)]!, chance: (p) => next() < p }
}

const STRINGS = [
  '',
  'a',
  'null',
  '{"a":1}',
  'a:b,c',
  '\\',
  '"',
  '\n\r\t\b\f',
  '\u0001',
  '\u007f',
  '\u2028\u2029',
  'é',
  '日本',
  '😀',
  '\ufeff',
  '\u0000',
  '__proto__',
  '\\u0041',
]
const NUMBERS = [
  0,
  -0,
  1,
  -1,
  1.5,
  -2.25,
  1e-7,
  1e15,
  0.1,
  5e-324,
  Number.MAX_SAFE_INTEGER,
  -Number.MAX_SAFE_INTEGER,
]
const KEYS = [
  'a',
  'method',
  'Params',
  'x-y',
  'ключ',
  'é',
  '😀',
  'a:b',
  '"',
  '\\',
  '1',
  '0',
  'constructor',
  'toString',
  'b c',
]

/** A value as a strict reader takes it: no key twice, none that folds to another. */
export function randomJson(random: Random, depth = 4): Json {
  const kind = random.below(depth > 0 ? 8 : 5)
  switch (kind) {
    case 0:
      return random.pick([null, true, false])
    case 1:
      return random.pick(NUMBERS)
    case 2:
      return random.below(1_000_000) / random.pick([1, 3, 7, 1000])
    case 3:
    case 4:
      return random.pick(STRINGS) + (random.chance(0.5) ? random.pick(STRINGS) : '')
    case 5:
      return Array.from({ length: random.below(5) }, () => randomJson(random, depth - 1))
    default: {
      const out: { [key: string]: Json } = {}
      for (let i = random.below(5); i > 0; i--) out[random.pick(KEYS)] = randomJson(random, depth - 1)
      return out
    }
  }
}

/**
 * The value as JSON in one of its many spellings: blanks, escapes. `twice` is asked of each member whether it is
 * written a second time.
 */
export function spell(random: Random, value: Json, twice: () => boolean = () => false): string {
  const blank = () => (random.chance(0.2) ? random.pick([' ', '\n', '\t', '\r', '  ']) : '')
  const around = (text: string) => blank() + text + blank()
  if (typeof value === 'string') return around(spellString(random, value))
  if (Array.isArray(value))
    return around(`[${value.map((item) => spell(random, item, twice)).join(',') || blank()}]`)
  if (typeof value !== 'object' || value === null) return around(JSON.stringify(value))
  const members = Object.entries(value).flatMap(([key, inner]) => {
    const member = () => `${around(spellString(random, key))}:${spell(random, inner, twice)}`
    return twice() ? [member(), member()] : [member()]
  })
  for (let i = members.length - 1; i > 0; i--) {
    const j = random.below(i + 1)
    ;[members[i], members[j]] = [members[j]!, members[i]!]
  }
  return around(`{${members.join(',') || blank()}}`)
}

function spellString(random: Random, text: string): string {
  let out = ''
  for (let i = 0; i < text.length; i++) {
    const unit = text.charAt(i)
    const code = text.charCodeAt(i)
    const must = unit === '"' || unit === '\\' || code < 0x20
    if (must || random.chance(0.1)) out += `\\u${code.toString(16).padStart(4, '0')}`
    else out += unit
  }
  return `"${out}"`
}

/** The value as JSON has it: there is no -0. Not by way of JSON.parse, which is what is tested. */
export function plain<T>(value: T): T {
  if (Array.isArray(value)) return value.map(plain) as T
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)])) as T
  return (value === 0 ? 0 : value) as T
}
