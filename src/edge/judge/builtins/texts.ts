import { floatOf, truncated } from './big-float.ts'
import { termText } from './go-fmt.ts'
import { array, type Builtin, int, members, number, text, toInt64 } from './operand.ts'
import { toLower, toUpper } from './unicode.ts'
import { Num, OperandError, RegoSet, Unanswerable, type Value } from './value.ts'

const RADIX: Readonly<Record<string, number>> = { 2: 2, 8: 8, 10: 10, 16: 16 }

const formatInt: Builtin = ([value, base]) => {
  const of = number(value)
  // The spelling of the base counts: `10.0` is none.
  const radix = RADIX[number(base).text]
  if (radix === undefined) throw new OperandError('must be one of 2, 8, 10, 16')
  const small = radix === 10 ? toInt64(of.text) : undefined
  const whole = small ?? (/^-?\d+$/.test(of.text) ? BigInt(of.text) : truncated(floatOf(of)))
  return whole.toString(radix)
}

const indexOf: Builtin = ([value, search]) => {
  const [of, wanted] = [text(value), text(search)]
  if (wanted === '') throw new OperandError('empty search character')
  const at = of.indexOf(wanted)
  return new Num(at < 0 ? -1 : [...of.slice(0, at)].length)
}

const substring: Builtin = ([value, from, count]) => {
  const of = text(value)
  const [start, length] = [int(from), int(count)]
  if (start < 0n) throw new OperandError('negative offset')
  const characters = [...of]
  if (start >= characters.length) return ''
  const end = length < 0n ? BigInt(characters.length) : start + length
  return characters.slice(Number(start), end > characters.length ? undefined : Number(end)).join('')
}

/** Numbers as they are spelt, and what else is in them (`internal.template_string`). */
const template: Builtin = ([parts]) =>
  array(parts)
    .map((part) => {
      const one: Value = part instanceof RegoSet ? onlyOf(part) : part
      return typeof one === 'string' ? one : termText(one)
    })
    .join('')

function onlyOf({ items }: RegoSet): Value {
  if (items.length > 1) throw new Unanswerable('a template string of more than one value')
  return items.length === 0 ? '<undefined>' : (items[0] as Value)
}

/** What Go reads as a number, and JSON does not write. */
const UNSPEAKABLE = /^[-+]?(?:0x[\da-f_.]+p[-+]?[\d_]+|[\d._]+(?:e[-+]?[\d_]+)?)$/i

const toNumber: Builtin = ([value]) => {
  if (value === null || typeof value === 'boolean') return new Num(value ? 1 : 0)
  if (value instanceof Num) return value
  const of = text(value)
  const [, sign = '', whole = '', fraction = '', power = ''] =
    /^([-+]?)(?=\.?\d)(\d*)\.?(\d*)((?:[eE][-+]?\d+)?)$/.exec(of) ?? []
  if (whole === '' && fraction === '') {
    if (UNSPEAKABLE.test(of)) throw new Unanswerable(`to_number: ${of.slice(0, 40)}`)
    throw new OperandError('not a number')
  }
  if (/[eE]-\d{5}/.test(of)) throw new Unanswerable('to_number: an exponent of five digits')
  if (!Number.isFinite(Number(of))) throw new OperandError('out of range')
  const shown = `${whole.replace(/^0+(?=\d)/, '') || '0'}${fraction && `.${fraction}`}${power}`
  return new Num(sign === '-' ? `-${shown}` : shown)
}

export const TEXTS = {
  concat: ([by, parts]) => members(parts).map(text).join(text(by)),
  format_int: formatInt,
  indexof: indexOf,
  'internal.template_string': template,
  lower: ([value]) => toLower(text(value)),
  substring,
  to_number: toNumber,
  upper: ([value]) => toUpper(text(value)),
} satisfies Record<string, Builtin>
