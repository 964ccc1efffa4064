import { type Builtin, text, whole } from './operand.ts'
import { Num, OperandError, Unanswerable, type Value } from './value.ts'

/** Numbers in one answer: beyond, the memory of the module would be full. */
const MOST = 100_000n

const rangeStep: Builtin = ([from, to, step]) => {
  const [first, last, by] = [whole(from), whole(to), whole(step)]
  if (by <= 0n) throw new OperandError('step must be a positive integer')
  const steps = (last > first ? last - first : first - last) / by
  if (steps >= MOST) throw new Unanswerable(`numbers.range_step: more than ${MOST} numbers`)
  const found: Value[] = []
  for (let i = 0n; i <= steps; i++) found.push(new Num(last >= first ? first + i * by : first - i * by))
  return found
}

type Fraction = { top: bigint; bottom: bigint }

const DECIMAL = /^([-+]?)(\d*)(?:\.(\d*))?(?:[eE]([-+]?\d+))?$/
const LARGEST_EXPONENT = 5_000

function fractionOf(amount: string): Fraction {
  const found = DECIMAL.exec(amount)
  const [, sign, before = '', after = '', power = '0'] = found ?? []
  if (!found || before + after === '') throw new OperandError('could not parse the amount')
  const exponent = Number(power) - after.length
  if (Math.abs(exponent) > LARGEST_EXPONENT) throw new Unanswerable('an amount of too many digits')
  const digits = BigInt(before + after) * (sign === '-' ? -1n : 1n)
  return exponent >= 0
    ? { top: digits * 10n ** BigInt(exponent), bottom: 1n }
    : { top: digits, bottom: 10n ** BigInt(-exponent) }
}

/** Amount and unit, as OPA divides them. */
function split(of: string): [amount: string, unit: string] {
  if (of.includes(' ')) throw new OperandError('spaces not allowed in resource strings')
  let at = 0
  for (; at < of.length; at++) {
    const c = of[at] as string
    if (!/[\d.eE+-]/.test(c)) break
    if (c !== 'e' && c !== 'E') continue
    if (!/[\d+-]/.test(of[at + 1] ?? '')) break
    if (/[+-]/.test(of[at + 1] ?? '')) at++
    if (/^\d{7}/.test(of.slice(at + 1))) throw new OperandError('exponent too large')
  }
  if (at === 0) throw new OperandError('no amount provided')
  return [of.slice(0, at), of.slice(at)]
}

const POWERS = ['', 'k', 'm', 'g', 't', 'p', 'e']
const scale = (letter: string, base: bigint): bigint | undefined => {
  const power = POWERS.indexOf(letter)
  return power > 0 ? base ** BigInt(power) : undefined
}

const parseUnits: Builtin = ([value]) => {
  const [amount, given] = split(text(value).replaceAll('"', ''))
  const first = [...given][0] ?? ''
  const unit = first + given.slice(first.length).toLowerCase()
  const { top, bottom } = fractionOf(amount)
  // The double that is nearest to a thousandth, which is a little more than one.
  const by = unit === 'm' ? { top: 1152921504606847n, bottom: 1n << 60n } : { top: unitOf(unit), bottom: 1n }
  return asNumber({ top: top * by.top, bottom: bottom * by.bottom })
}

function unitOf(unit: string): bigint {
  const found =
    unit === '' ? 1n : /^[kKMgGtTpPeE]$/.test(unit) ? scale(unit.toLowerCase(), 1000n) : binary(unit)
  if (found === undefined) throw new OperandError('unit not recognized')
  return found
}

const binary = (unit: string): bigint | undefined =>
  /^[kKmMgGtTpPeE]i$/.test(unit) ? scale((unit[0] as string).toLowerCase(), 1024n) : undefined

/** Ten places, halves away from zero (`big.Rat.FloatString`); none for a whole number. */
function asNumber({ top, bottom }: Fraction): Num {
  if (top % bottom === 0n) return new Num(top / bottom)
  const negative = top < 0n
  const scaled = (negative ? -top : top) * 10n ** 10n
  let digits = scaled / bottom
  if ((scaled % bottom) * 2n >= bottom) digits++
  const shown = String(digits).padStart(11, '0')
  return new Num(`${negative ? '-' : ''}${shown.slice(0, -10)}.${shown.slice(-10)}`)
}

const parseBytes: Builtin = ([value]) => {
  const [amount, unit] = split(text(value).toLowerCase().replaceAll('"', ''))
  const found =
    unit === ''
      ? 1n
      : /^[kmgtpe]i(b?)$/.test(unit)
        ? scale(unit[0] as string, 1024n)
        : /^[kmgtpe](b?)$/.test(unit)
          ? scale(unit[0] as string, 1000n)
          : undefined
  if (found === undefined) throw new OperandError('byte unit not recognized')
  const number = toFloat64Bits(fractionOf(amount))
  const product = toFloat64Bits({ top: number.top * found, bottom: number.bottom })
  return new Num(product.top / product.bottom)
}

/** Go's `big.Float` keeps 64 binary digits here, halves to even. */
function toFloat64Bits({ top, bottom }: Fraction): Fraction {
  if (top === 0n) return { top: 0n, bottom: 1n }
  const size = top < 0n ? -top : top
  const bits = (of: bigint) => of.toString(2).length
  let shift = 64 - (bits(size) - bits(bottom))
  const at = (by: number) =>
    (by >= 0 ? [size << BigInt(by), bottom] : [size, bottom << BigInt(-by)]) as [bigint, bigint]
  let [over, under] = at(shift)
  if (over / under >= 1n << 64n) [over, under] = at(--shift)
  let mantissa = over / under
  const rest = (over % under) * 2n
  if (rest > under || (rest === under && mantissa % 2n === 1n)) mantissa++
  const signed = top < 0n ? -mantissa : mantissa
  return shift >= 0
    ? { top: signed, bottom: 1n << BigInt(shift) }
    : { top: signed << BigInt(-shift), bottom: 1n }
}

export const NUMBERS: Record<string, Builtin> = {
  'numbers.range_step': rangeStep,
  'units.parse': parseUnits,
  'units.parse_bytes': parseBytes,
}
