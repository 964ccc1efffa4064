import { formatFloat } from './go-float.ts'
import { isPrintable, quote } from './go-quote.ts'
import { Unanswerable } from './value.ts'

/** What OPA's `sprintf` gives Go's: whole numbers, floats and strings. */
export type Argument =
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

export const noFlags = (): Flags => ({
  sharp: false,
  zero: false,
  plus: false,
  minus: false,
  space: false,
  sharpV: false,
  width: undefined,
  precision: undefined,
})

/** One argument as a verb and its flags have it (Go's fmt, format.go). */
export function print(arg: Argument, verb: string, given: Flags): string {
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
