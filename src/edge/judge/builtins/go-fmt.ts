import { formatFloat } from './go-float.ts'
import { toInt64 } from './operand.ts'
import { isNewer } from './unicode.ts'
import { Num, RegoObject, RegoSet, Unanswerable, type Value } from './value.ts'

/** `fmt.Sprintf` for what OPA's `sprintf` gives it: whole numbers, floats and strings (Go's fmt, format.go and print.go). */
type Argument =
  | { type: 'int64' | '*big.Int'; value: bigint }
  | { type: 'float64'; value: number }
  | { type: 'string'; value: string }

type Flags = {
  sharp: boolean
  zero: boolean
  plus: boolean
  minus: boolean
  space: boolean
  /** `%#v` */
  sharpV: boolean
  width: number | undefined
  precision: number | undefined
}

const noFlags = (): Flags => ({
  sharp: false,
  zero: false,
  plus: false,
  minus: false,
  space: false,
  sharpV: false,
  width: undefined,
  precision: undefined,
})

/** Go gives up at a million; a width of that size would be a string of a megabyte. */
const TOO_LARGE = 1_000_000

export function argumentOf(value: Value): Argument {
  if (typeof value === 'string') return { type: 'string', value }
  if (!(value instanceof Num)) return { type: 'string', value: termText(value) }
  if (/[.eE]/.test(value.text)) {
    const float = Number(value.text)
    return Number.isFinite(float) ? { type: 'float64', value: float } : { type: 'string', value: value.text }
  }
  const small = toInt64(value.text)
  return small === undefined
    ? { type: '*big.Int', value: BigInt(value.text) }
    : { type: 'int64', value: small }
}

/** A value in Rego's own spelling (`ast.Value.String`). */
export function termText(value: Value): string {
  if (typeof value === 'string') return quote(value, '"', false)
  if (value instanceof Num) return value.text
  if (value instanceof RegoSet)
    return value.items.length === 0 ? 'set()' : `{${value.items.map(termText).join(', ')}}`
  if (value instanceof RegoObject)
    return `{${value.entries.map(([key, inner]) => `${termText(key)}: ${termText(inner)}`).join(', ')}}`
  return Array.isArray(value) ? `[${value.map(termText).join(', ')}]` : String(value)
}

export function goSprintf(format: string, args: readonly Argument[]): string {
  let out = ''
  let at = 0
  let next = 0
  let reordered = false
  let goodIndex = true
  let afterIndex = false
  const end = format.length

  const digits = (): number | undefined => {
    const from = at
    let found = 0
    while (at < end && isDigit(format[at] as string)) {
      if (found > TOO_LARGE) {
        at = end
        return undefined
      }
      found = found * 10 + Number(format[at++])
    }
    return at === from ? undefined : found
  }
  const index = () => {
    afterIndex = false
    if (format[at] !== '[') return
    reordered = true
    const close = format.indexOf(']', at + 1)
    if (end - at < 3 || close < 0) {
      goodIndex = false
      at++
      return
    }
    const inside = format.slice(at + 1, close)
    at = close + 1
    const wanted = /^\d{1,7}$/.test(inside) ? Number(inside) - 1 : -1
    const readable = /^\d{1,7}$/.test(inside)
    afterIndex = readable
    if (readable && wanted >= 0 && wanted < args.length) next = wanted
    else goodIndex = false
  }
  const star = (): number | undefined => {
    const arg = args[next]
    if (next < args.length) next++
    if (arg?.type !== 'int64' || arg.value > TOO_LARGE || arg.value < -TOO_LARGE) return undefined
    return Number(arg.value)
  }

  while (at < end) {
    goodIndex = true
    const percent = format.indexOf('%', at)
    if (percent < 0) {
      out += format.slice(at)
      break
    }
    out += format.slice(at, percent)
    at = percent + 1
    const flags = noFlags()
    let simple = false
    for (; at < end; at++) {
      const c = format[at] as string
      if (c === '#') flags.sharp = true
      else if (c === '0') flags.zero = true
      else if (c === '+') flags.plus = true
      else if (c === '-') flags.minus = true
      else if (c === ' ') flags.space = true
      else {
        simple = c >= 'a' && c <= 'z' && next < args.length
        break
      }
    }
    if (simple) {
      const verb = format[at++] as string
      out += print(args[next++] as Argument, verb, flags)
      continue
    }
    index()
    if (format[at] === '*') {
      at++
      flags.width = star()
      if (flags.width === undefined) out += '%!(BADWIDTH)'
      else if (flags.width < 0) {
        flags.width = -flags.width
        flags.minus = true
        flags.zero = false
      }
      afterIndex = false
    } else {
      flags.width = digits()
      if (afterIndex && flags.width !== undefined) goodIndex = false
    }
    if (at + 1 < end && format[at] === '.') {
      at++
      if (afterIndex) goodIndex = false
      index()
      if (format[at] === '*') {
        at++
        const wanted = star()
        flags.precision = wanted !== undefined && wanted >= 0 ? wanted : undefined
        if (flags.precision === undefined) out += '%!(BADPREC)'
        afterIndex = false
      } else flags.precision = digits() ?? 0
    }
    if (!afterIndex) index()
    if (at >= end) {
      out += '%!(NOVERB)'
      break
    }
    const verb = String.fromCodePoint(format.codePointAt(at) as number)
    at += verb.length
    if (verb === '%') out += '%'
    else if (!goodIndex) out += `%!${verb}(BADINDEX)`
    else if (next >= args.length) out += `%!${verb}(MISSING)`
    else out += print(args[next++] as Argument, verb, flags)
  }
  if (!reordered && next < args.length) {
    const rest = args.slice(next).map((arg) => `${arg.type}=${print(arg, 'v', noFlags())}`)
    out += `%!(EXTRA ${rest.join(', ')})`
  }
  return out
}

const isDigit = (c: string): boolean => c >= '0' && c <= '9'

function print(arg: Argument, verb: string, given: Flags): string {
  const flags = { ...given }
  if (verb === 'v' || verb === 'w') {
    flags.sharpV = flags.sharp
    flags.sharp = false
    // `%+v` adds names of fields, and none of these has any; a big number looks at the flag itself.
    flags.plus = flags.plus && arg.type === '*big.Int'
  }
  if (verb === 'T') return printString(arg.type, 's', flags) as string
  return printAs(arg, verb, flags) ?? `%!${verb}(${arg.type}=${printAs(arg, 'v', flags)})`
}

/** Undefined for a verb that this type does not have. */
function printAs(arg: Argument, verb: string, flags: Flags): string | undefined {
  switch (arg.type) {
    case 'int64':
      return printInteger(arg.value, verb, flags)
    case '*big.Int':
      return printBig(arg.value, verb, flags)
    case 'float64':
      return printFloat(arg.value, verb, flags)
    case 'string':
      return printString(arg.value, verb, flags)
  }
}

function pad(text: string, flags: Flags): string {
  const missing = (flags.width ?? 0) - [...text].length
  if (missing <= 0) return text
  if (flags.minus) return text + ' '.repeat(missing)
  return (flags.zero ? '0' : ' ').repeat(missing) + text
}

const BASES: Record<string, number> = { d: 10, v: 10, b: 2, o: 8, O: 8, x: 16, X: 16 }

function printInteger(value: bigint, verb: string, flags: Flags): string | undefined {
  if (verb === 'c') return pad(rune(value), flags)
  if (verb === 'q') return pad(quote(rune(value), "'", flags.plus), flags)
  if (verb === 'U') return unicode(value, flags)
  const base = BASES[verb]
  if (base === undefined) return undefined
  const negative = value < 0n
  let digits = (negative ? -value : value).toString(base)
  if (verb === 'X') digits = digits.toUpperCase()
  let precision = 0
  if (flags.precision !== undefined) {
    precision = flags.precision
    if (precision === 0 && value === 0n) return ' '.repeat(flags.width ?? 0)
  } else if (flags.zero && !flags.minus && flags.width !== undefined) {
    precision = flags.width
    if (negative || flags.plus || flags.space) precision--
  }
  digits = digits.padStart(precision, '0')
  if (flags.sharp) {
    if (base === 2) digits = `0b${digits}`
    else if (base === 8 && digits[0] !== '0') digits = `0${digits}`
    else if (base === 16) digits = `0${verb === 'X' ? 'X' : 'x'}${digits}`
  }
  if (verb === 'O') digits = `0o${digits}`
  const sign = negative ? '-' : flags.plus ? '+' : flags.space ? ' ' : ''
  return pad(sign + digits, { ...flags, zero: false })
}

/** `big.Int` formats itself, a little otherwise. */
function printBig(value: bigint, verb: string, flags: Flags): string {
  if (verb === 'w' || verb === 'p') throw new Unanswerable(`sprintf: %${verb} of a big number`)
  const base = verb === 's' ? 10 : BASES[verb]
  if (base === undefined) return `%!${verb}(big.Int=${value})`
  const negative = value < 0n
  let digits = (negative ? -value : value).toString(base)
  if (verb === 'X') digits = digits.toUpperCase()
  const sign = negative ? '-' : flags.plus ? '+' : flags.space ? ' ' : ''
  const sharp: Record<string, string> = { b: '0b', o: '0', x: '0x', X: '0X' }
  const prefix = verb === 'O' ? '0o' : flags.sharp ? (sharp[verb] ?? '') : ''
  if (flags.precision !== undefined) digits = digits.padStart(flags.precision, '0')
  const missing = (flags.width ?? 0) - sign.length - prefix.length - digits.length
  if (missing <= 0) return sign + prefix + digits
  if (flags.minus) return sign + prefix + digits + ' '.repeat(missing)
  if (flags.zero && flags.precision === undefined) return sign + prefix + '0'.repeat(missing) + digits
  return ' '.repeat(missing) + sign + prefix + digits
}

function rune(value: bigint): string {
  const code = value < 0n || value > 0x10ffffn ? 0xfffd : Number(value)
  return String.fromCodePoint(code >= 0xd800 && code <= 0xdfff ? 0xfffd : code)
}

function unicode(value: bigint, flags: Flags): string {
  const unsigned = BigInt.asUintN(64, value)
  let text = `U+${unsigned
    .toString(16)
    .toUpperCase()
    .padStart(Math.max(4, flags.precision ?? 0), '0')}`
  if (flags.sharp && unsigned <= 0x10ffffn && isPrintable(rune(unsigned)) && rune(unsigned) !== '\ufffd')
    text += ` '${rune(unsigned)}'`
  return pad(text, { ...flags, zero: false })
}

function printFloat(value: number, verb: string, flags: Flags): string | undefined {
  if ('bxX'.includes(verb)) throw new Unanswerable(`sprintf: %${verb} of a number with a fraction`)
  const format = verb === 'v' ? 'g' : verb === 'F' ? 'f' : verb
  if (!'eEfgG'.includes(format)) return undefined
  const precision = flags.precision ?? ('gG'.includes(format) ? -1 : 6)
  let number = formatFloat(value, format as 'e' | 'E' | 'f' | 'g' | 'G', precision)
  const sign = number[0] === '-' ? '-' : '+'
  number = number.replace(/^-/, '')
  if (flags.sharp) number = withPoint(number, 'gG'.includes(format) ? (precision === -1 ? 6 : precision) : 0)
  const shown = sign === '-' ? '-' : flags.plus ? '+' : flags.space ? ' ' : ''
  if (shown !== '' && flags.zero && !flags.minus && (flags.width ?? 0) > number.length + 1)
    return shown + '0'.repeat((flags.width as number) - number.length - 1) + number
  return pad(shown + number, flags)
}

/** `#` keeps the point and the zeros after it. */
function withPoint(number: string, wanted: number): string {
  const tailAt = number.search(/[eE]/)
  const tail = tailAt < 0 ? '' : number.slice(tailAt)
  let body = tailAt < 0 ? number : number.slice(0, tailAt)
  let digits = wanted
  let significant = false
  for (const c of body) {
    if (c === '.') continue
    if (c !== '0') significant = true
    if (significant) digits--
  }
  if (!body.includes('.')) {
    if (body === '0') digits--
    body += '.'
  }
  return body + '0'.repeat(Math.max(0, digits)) + tail
}

function printString(value: string, verb: string, flags: Flags): string | undefined {
  const cut = () => (flags.precision === undefined ? value : [...value].slice(0, flags.precision).join(''))
  if (verb === 'v' && flags.sharpV) return pad(quote(cut(), '"', false), flags)
  if (verb === 'v' || verb === 's') return pad(cut(), flags)
  if (verb === 'q') {
    const text = cut()
    const raw = flags.sharp && !/[\0-\x08\x0a-\x1f\x7f`\ufeff]/.test(text)
    return pad(raw ? `\`${text}\`` : quote(text, '"', flags.plus), flags)
  }
  if (verb === 'x' || verb === 'X') return hex(value, verb, flags)
  return undefined
}

function hex(value: string, verb: string, flags: Flags): string {
  let bytes = [...Buffer.from(value, 'utf8')]
  if (flags.precision !== undefined) bytes = bytes.slice(0, flags.precision)
  if (bytes.length === 0) return pad('', flags)
  const pairs = bytes.map((byte) => byte.toString(16).padStart(2, '0'))
  const prefix = flags.sharp ? `0${verb}` : ''
  const cased = pairs.map((pair) => (verb === 'X' ? pair.toUpperCase() : pair))
  const text = flags.space ? cased.map((pair) => prefix + pair).join(' ') : prefix + cased.join('')
  return pad(text, flags)
}

const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u
const isPrintable = (of: string): boolean => PRINTABLE.test(of) && !isNewer(of)
const ESCAPES: Record<string, string> = {
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '\\': '\\\\',
}

/** `strconv.Quote` and its kin. */
export function quote(text: string, mark: '"' | "'", ascii: boolean): string {
  let out = mark as string
  for (const c of text) {
    const code = c.codePointAt(0) as number
    if (c === mark) out += `\\${c}`
    else if (ESCAPES[c] !== undefined) out += ESCAPES[c]
    else if (code < 0x80 ? code >= 0x20 && code !== 0x7f : !ascii && isPrintable(c)) out += c
    else if (code < 0x80) out += `\\x${code.toString(16).padStart(2, '0')}`
    else if (code < 0x10000) out += `\\u${code.toString(16).padStart(4, '0')}`
    else out += `\\U${code.toString(16).padStart(8, '0')}`
  }
  return out + mark
}
