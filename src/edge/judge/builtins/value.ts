import { isObject, type Json } from '../../../mcp/strict-json.ts'

/**
 * Rego values as builtins see them: numbers keep their text, sets and objects are sorted, and keys may be anything.
 * (OPA docs, "Policy Reference"; order and equality as `ast.Compare`.)
 */
export type Value = null | boolean | string | Num | readonly Value[] | RegoSet | RegoObject

/** A number of any size, by its text in JSON's grammar. */
export class Num {
  readonly text: string
  constructor(of: string | number | bigint) {
    this.text = String(of)
  }
}

export class RegoSet {
  /** sorted, each once */
  readonly items: readonly Value[]
  constructor(items: Iterable<Value>) {
    this.items = unique([...items], (item) => item)
  }
  has(value: Value): boolean {
    return find(this.items, (item) => compare(item, value)) >= 0
  }
}

export class RegoObject {
  /** sorted by key, each once */
  readonly entries: readonly (readonly [Value, Value])[]
  constructor(entries: Iterable<readonly [Value, Value]>) {
    // The last of two equal keys stays.
    this.entries = unique([...entries].reverse(), ([key]) => key)
  }
  get(key: Value): Value | undefined {
    return this.entries[find(this.entries, ([there]) => compare(there, key))]?.[1]
  }
}

/** OPA's own error of a builtin, such as an operand of another type: the call is undefined. */
export class OperandError extends Error {
  override name = 'OperandError'
}

/** What OPA would answer is not known here: the evaluation ends, and that is a deny. */
export class Unanswerable extends Error {
  override name = 'Unanswerable'
}

function unique<T>(items: T[], key: (item: T) => Value): T[] {
  const sorted = items.sort((a, b) => compare(key(a), key(b)))
  return sorted.filter((item, i) => i === 0 || compare(key(sorted[i - 1] as T), key(item)) !== 0)
}

function find<T>(sorted: readonly T[], order: (item: T) => number): number {
  let low = 0
  let high = sorted.length - 1
  while (low <= high) {
    const middle = (low + high) >> 1
    const at = order(sorted[middle] as T)
    if (at === 0) return middle
    if (at < 0) low = middle + 1
    else high = middle - 1
  }
  return -1
}

const rank = (value: Value): number => {
  if (value === null) return 0
  if (typeof value === 'boolean') return 1
  if (value instanceof Num) return 2
  if (typeof value === 'string') return 3
  if (value instanceof RegoObject) return 5
  return value instanceof RegoSet ? 6 : 4
}

export function compare(a: Value, b: Value): number {
  if (typeof a === 'string' && typeof b === 'string') return compareText(a, b)
  const [left, right] = [rank(a), rank(b)]
  if (left !== right) return left - right
  if (typeof a === 'boolean') return Number(a) - Number(b)
  if (a instanceof Num) return compareNumbers(a, b as Num)
  if (a instanceof RegoSet) return compareLists(a.items, (b as RegoSet).items)
  if (a instanceof RegoObject) return compareLists(a.entries.flat(), (b as RegoObject).entries.flat())
  return a === null ? 0 : compareLists(a as Value[], b as Value[])
}

function compareLists(a: readonly Value[], b: readonly Value[]): number {
  for (let i = 0; i < a.length && i < b.length; i++) {
    const at = compare(a[i] as Value, b[i] as Value)
    if (at !== 0) return at
  }
  return a.length - b.length
}

/** By code points, as UTF-8 sorts; UTF-16 puts surrogates below U+E000. */
export function compareText(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const [left, right] = [a.charCodeAt(i), b.charCodeAt(i)]
    if (left !== right) return aboveAll(left) - aboveAll(right)
  }
  return a.length - b.length
}

const aboveAll = (unit: number): number =>
  unit >= 0xe000 ? unit - 0x800 : unit >= 0xd800 ? unit + 0x2000 : unit

/** `digits` × 10^`exponent`, without zeros at the end of `digits`. */
export type Decimal = { digits: bigint; exponent: number }

export function decimalOf({ text }: Num): Decimal {
  const [, sign, whole = '', fraction = '', power = '0'] =
    /^(-?)(\d+)(?:\.(\d*))?(?:[eE]([-+]?\d+))?$/.exec(text) ?? []
  const all = `${whole}${fraction}`.replace(/^0+/, '')
  const short = all.replace(/0+$/, '')
  if (short === '') return { digits: 0n, exponent: 0 }
  const digits = BigInt(short)
  const exponent = Number(power) - fraction.length + (all.length - short.length)
  return { digits: sign === '-' ? -digits : digits, exponent }
}

function compareNumbers(a: Num, b: Num): number {
  if (a.text === b.text) return 0
  const [x, y] = [decimalOf(a), decimalOf(b)]
  if (x.digits === y.digits && x.exponent === y.exponent) return 0
  const [left, right] = [
    Math.sign(Number(x.digits > 0n) - Number(x.digits < 0n)),
    Math.sign(Number(y.digits > 0n) - Number(y.digits < 0n)),
  ]
  if (left !== right) return left - right
  // The one with more places before the point is further from zero; only equals need be written out.
  const size = ({ digits, exponent }: Decimal) => String(digits < 0n ? -digits : digits).length + exponent
  if (size(x) !== size(y)) return (size(x) - size(y)) * left
  const shift = Math.min(x.exponent, y.exponent)
  const difference =
    x.digits * 10n ** BigInt(x.exponent - shift) - y.digits * 10n ** BigInt(y.exponent - shift)
  return difference > 0n ? 1 : -1
}

/** Digits of a number that is written out: beyond, an exponent of a few characters would fill the memory. */
const MOST_DIGITS = 5_000

/** The number if it is whole, whatever its spelling. */
export function wholeOf(number: Num): bigint | undefined {
  if (/^-?\d+$/.test(number.text)) return BigInt(number.text)
  const { digits, exponent } = decimalOf(number)
  if (exponent < 0) return undefined
  if (exponent > MOST_DIGITS) throw new Unanswerable(`a number of more than ${MOST_DIGITS} digits`)
  return digits * 10n ** BigInt(exponent)
}

/** What JSON can say of a value: sets are lists, keys of objects texts (`ast.JSON`). */
export function toJson(value: Value): Json {
  if (value instanceof Num) return Number(value.text)
  if (value instanceof RegoSet) return value.items.map(toJson)
  if (value instanceof RegoObject)
    return Object.fromEntries(
      value.entries.map(([key, inner]) => [typeof key === 'string' ? key : writeValue(key), toJson(inner)]),
    )
  return Array.isArray(value) ? value.map(toJson) : (value as Json)
}

/** JSON whose numbers are of JavaScript's own making. */
export function fromJson(json: Json): Value {
  if (typeof json === 'number') return new Num(json)
  if (Array.isArray(json)) return json.map(fromJson)
  if (isObject(json))
    return new RegoObject(Object.entries(json).map(([key, inner]) => [key, fromJson(inner)]))
  return json
}

/** The text that `opa_value_parse` reads. */
export function writeValue(value: Value): string {
  if (typeof value === 'string') {
    if (!value.isWellFormed()) throw new Unanswerable('a string that is not Unicode')
    return JSON.stringify(value)
  }
  if (value instanceof Num) return value.text
  if (value instanceof RegoSet)
    return value.items.length === 0 ? 'set()' : `{${value.items.map(writeValue).join(', ')}}`
  if (value instanceof RegoObject)
    return `{${value.entries.map(([key, inner]) => `${writeValue(key)}: ${writeValue(inner)}`).join(', ')}}`
  return Array.isArray(value) ? `[${value.map(writeValue).join(', ')}]` : String(value)
}

/** Reads what `opa_value_dump` wrote. @throws Error for anything else */
export function readValue(text: string): Value {
  let at = 0
  const wrong = () => new Error(`not a Rego value at ${at}`)
  const skip = () => {
    while (text[at] === ' ') at++
  }
  const list = (end: string, item: () => void) => {
    skip()
    while (text[at] !== end) {
      item()
      skip()
      if (text[at] === ',') at++
      else if (text[at] !== end) throw wrong()
      skip()
    }
    at++
  }
  const string = (): string => {
    const from = at++
    for (;;) {
      const quote = text.indexOf('"', at)
      if (quote < 0) throw wrong()
      let slashes = 0
      while (text[quote - 1 - slashes] === '\\') slashes++
      at = quote + 1
      if (slashes % 2 === 0) break
    }
    const token = text.slice(from, at)
    return token.includes('\\') ? JSON.parse(token) : token.slice(1, -1)
  }
  const word = (name: string, value: Value): Value => {
    if (!text.startsWith(name, at)) throw wrong()
    at += name.length
    return value
  }
  // The module's own `to_number` also lets through `.5`, `+1` and `5.`.
  const number = /[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?/y
  const read = (): Value => {
    skip()
    switch (text[at]) {
      case '"':
        return string()
      case '[': {
        const items: Value[] = []
        at++
        list(']', () => items.push(read()))
        return items
      }
      case '{':
        return braces()
      case 's':
        return word('set()', new RegoSet([]))
      case 'n':
        return word('null', null)
      case 't':
        return word('true', true)
      case 'f':
        return word('false', false)
      default: {
        number.lastIndex = at
        const found = number.exec(text)
        if (!found) throw wrong()
        at = number.lastIndex
        return new Num(
          found[0]
            .replace(/^\+/, '')
            .replace(/^(-?)\./, '$10.')
            .replace(/\.(?!\d)/, ''),
        )
      }
    }
  }
  const braces = (): Value => {
    const items: Value[] = []
    const entries: [Value, Value][] = []
    at++
    list('}', () => {
      const value = read()
      skip()
      if (text[at] === ':') {
        at++
        entries.push([value, read()])
      } else items.push(value)
    })
    if (items.length > 0 && entries.length > 0) throw wrong()
    return items.length > 0 ? new RegoSet(items) : new RegoObject(entries)
  }
  const value = read()
  skip()
  if (at !== text.length) throw wrong()
  return value
}
