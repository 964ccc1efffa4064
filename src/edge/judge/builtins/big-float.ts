import { type Digits, exponential, plain } from './go-float.ts'
import { type Num, Unanswerable } from './value.ts'

/**
 * Go's `big.Float` as OPA uses it: 64 binary digits unless a number came with more, halves to even. The value is
 * `mantissa` × 2^`exponent`; `negative` also of zero.
 */
export type Float = { negative: boolean; mantissa: bigint; exponent: number; precision: number }

const PRECISION = 64
/** Beyond, a few characters would fill the memory. */
const LARGEST_EXPONENT = 5_000

const bitsOf = (of: bigint): number => (of === 0n ? 0 : of.toString(2).length)

/** @param rest whether something not zero was cut off below */
function rounded(of: Float, rest = false): Float {
  const cut = bitsOf(of.mantissa) - of.precision
  if (cut <= 0) return of
  const unit = 1n << BigInt(cut)
  let mantissa = of.mantissa >> BigInt(cut)
  const twice = (of.mantissa & (unit - 1n)) * 2n
  if (twice > unit || (twice === unit && (rest || mantissa % 2n === 1n))) mantissa++
  return { ...of, mantissa, exponent: of.exponent + cut }
}

export function fromInteger(of: bigint, precision = Math.max(PRECISION, bitsOf(of < 0n ? -of : of))): Float {
  return rounded({ negative: of < 0n, mantissa: of < 0n ? -of : of, exponent: 0, precision })
}

const HALF: Float = { negative: false, mantissa: 1n, exponent: -1, precision: 53 }
const ONE: Float = { negative: false, mantissa: 1n, exponent: 0, precision: 53 }

export function multiply(a: Float, b: Float, precision = Math.max(a.precision, b.precision)): Float {
  const [mantissa, exponent] = [a.mantissa * b.mantissa, a.exponent + b.exponent]
  return rounded({ negative: a.negative !== b.negative, mantissa, exponent, precision })
}

/** @param b not zero */
export function divide(a: Float, b: Float, precision = Math.max(a.precision, b.precision)): Float {
  const shift = Math.max(0, precision + 2 + bitsOf(b.mantissa) - bitsOf(a.mantissa))
  const over = a.mantissa << BigInt(shift)
  const quotient = { mantissa: over / b.mantissa, exponent: a.exponent - b.exponent - shift }
  return rounded({ negative: a.negative !== b.negative, ...quotient, precision }, over % b.mantissa !== 0n)
}

export function add(a: Float, b: Float): Float {
  const exponent = Math.min(a.exponent, b.exponent)
  const at = (of: Float) => (of.negative ? -of.mantissa : of.mantissa) << BigInt(of.exponent - exponent)
  const sum = at(a) + at(b)
  const zero = a.mantissa === 0n && b.mantissa === 0n
  const negative = sum === 0n ? zero && a.negative && b.negative : sum < 0n
  const precision = Math.max(a.precision, b.precision)
  return rounded({ negative, mantissa: sum < 0n ? -sum : sum, exponent, precision })
}

export const negated = (of: Float): Float => ({ ...of, negative: !of.negative })
export const subtract = (a: Float, b: Float): Float => add(a, negated(b))

/** Towards zero. */
export function truncated({ negative, mantissa, exponent }: Float): bigint {
  const size = exponent >= 0 ? mantissa << BigInt(exponent) : mantissa >> BigInt(-exponent)
  return negative ? -size : size
}

const isWhole = ({ mantissa, exponent }: Float): boolean =>
  exponent >= 0 || (mantissa & ((1n << BigInt(-exponent)) - 1n)) === 0n

export function round(of: Float): Float {
  return fromInteger(truncated(add(of, of.negative ? negated(HALF) : HALF)))
}

/** As OPA has it, with what it makes of numbers between -1 and 0. */
export function ceil(of: Float): Float {
  const whole = fromInteger(truncated(of))
  return whole.negative || isWhole(of) ? whole : add(whole, ONE)
}

export function floor(of: Float): Float {
  const whole = fromInteger(truncated(of))
  return !whole.negative || isWhole(of) ? whole : subtract(whole, ONE)
}

/** 5^`n` as Go's reading of decimals makes it, with its roundings. */
function powerOfFive(n: number, precision: number): Float {
  const exact = Math.min(n, 27)
  let found = fromInteger(5n ** BigInt(exact), precision)
  let factor = fromInteger(5n, precision + 64)
  for (let rest = n - exact; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) found = multiply(found, factor, precision)
    factor = multiply(factor, factor, precision + 64)
  }
  return found
}

/** `new(big.Float).SetString`. */
export function floatOf({ text }: Num): Float {
  const [, sign, whole = '', fraction = '', power = '0'] =
    /^(-?)(\d+)(?:\.(\d*))?(?:[eE]([-+]?\d+))?$/.exec(text) ?? []
  const exponent = Number(power) - fraction.length
  if (Math.abs(exponent) > LARGEST_EXPONENT) throw new Unanswerable('a number of too many digits')
  const exact = { negative: sign === '-', mantissa: BigInt(whole + fraction), exponent, precision: PRECISION }
  if (exponent === 0 || exact.mantissa === 0n) return rounded({ ...exact, exponent: 0 })
  const five = powerOfFive(Math.abs(exponent), PRECISION + 64)
  return exponent < 0 ? divide(exact, five, PRECISION) : multiply(exact, five, PRECISION)
}

/** All digits of a number: `0.digits` × 10^`point`. */
function decimal(mantissa: bigint, exponent: number): { digits: string; point: number } {
  const all =
    exponent >= 0 ? String(mantissa << BigInt(exponent)) : String(mantissa * 5n ** BigInt(-exponent))
  return { digits: all.replace(/0+$/, ''), point: all.length + Math.min(0, exponent) }
}

/** The fewest digits that are read as the same number (Go's `roundShortest`). */
function shortest(of: Float): Digits {
  if (of.mantissa === 0n) return { digits: '0', power: 0 }
  const shift = of.precision + 1 - bitsOf(of.mantissa)
  const mantissa = of.mantissa << BigInt(shift)
  const exponent = of.exponent - shift
  const exact = decimal(mantissa, exponent)
  const lower = decimal(mantissa - 1n, exponent).digits
  const upper = decimal(mantissa + 1n, exponent).digits
  const inclusive = (mantissa & 2n) === 0n
  const kept = (count: number, up: boolean): Digits => {
    const head = BigInt(exact.digits.slice(0, count)) + (up ? 1n : 0n)
    const grown = String(head).length - count
    return { digits: String(head).replace(/0+$/, '') || '0', power: exact.point - 1 + grown }
  }
  for (let i = 0; i < exact.digits.length; i++) {
    const [low, here, high] = [lower[i] ?? '0', exact.digits[i] as string, upper[i] ?? '0']
    const down = low !== here || (inclusive && i + 1 === lower.length)
    const up = here !== high && (inclusive || Number(here) + 1 < Number(high) || i + 1 < upper.length)
    if (down && up) return kept(i + 1, roundsUp(exact.digits, i + 1))
    if (down || up) return kept(i + 1, up)
  }
  return { digits: exact.digits, power: exact.point - 1 }
}

/** Half of the last digit and more, halves to even. */
function roundsUp(digits: string, count: number): boolean {
  if (count >= digits.length) return false
  if (digits[count] === '5' && count + 1 === digits.length) return Number(digits[count - 1]) % 2 === 1
  return Number(digits[count]) >= 5
}

/** OPA's `FloatToNumber`: whole ones in full, others with an exponent where Go's `%g` has one. */
export function textOf(of: Float): string {
  const found = shortest(of)
  const sign = of.negative ? '-' : ''
  if (isWhole(of)) return sign + plain(found)
  return sign + (found.power < -4 || found.power >= 6 ? exponential(found, 'e') : plain(found))
}
