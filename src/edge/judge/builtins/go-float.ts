/**
 * A double written as Go writes it (`strconv.FormatFloat`): exact decimals, halves to even. JavaScript's own
 * `toFixed` and its kin round halves up.
 */

/** All digits of a double, and where its point is: `digits` × 10^-`scale`. */
function exactDecimal(value: number): { digits: bigint; scale: number } {
  const bits = new DataView(new ArrayBuffer(8))
  bits.setFloat64(0, Math.abs(value))
  const all = bits.getBigUint64(0)
  const power = Number((all >> 52n) & 0x7ffn)
  const fraction = all & ((1n << 52n) - 1n)
  const mantissa = power === 0 ? fraction : fraction | (1n << 52n)
  const exponent = (power === 0 ? 1 : power) - 1075
  return exponent >= 0
    ? { digits: mantissa << BigInt(exponent), scale: 0 }
    : { digits: mantissa * 5n ** BigInt(-exponent), scale: -exponent }
}

/** `digits` / 10^`places`, rounded half to even. */
function rounded(digits: bigint, places: number): bigint {
  if (places <= 0) return digits * 10n ** BigInt(-places)
  const unit = 10n ** BigInt(places)
  const [whole, rest] = [digits / unit, digits % unit]
  const half = rest * 2n
  return half > unit || (half === unit && whole % 2n === 1n) ? whole + 1n : whole
}

/** Significant digits and the power of ten of the first one: `d.ddd` × 10^`power`. */
export type Digits = { digits: string; power: number }

function shortest(value: number): Digits {
  if (value === 0) return { digits: '0', power: 0 }
  const [mantissa = '', power = '0'] = Math.abs(value).toExponential().split('e')
  return { digits: mantissa.replace('.', ''), power: Number(power) }
}

function significant(value: number, count: number): Digits {
  if (value === 0) return { digits: '0'.repeat(Math.max(1, count)), power: 0 }
  const { digits, scale } = exactDecimal(value)
  const length = String(digits).length
  let kept = String(rounded(digits, length - count))
  let power = length - 1 - scale
  if (kept.length > count) {
    kept = kept.slice(0, count)
    power++
  }
  return { digits: kept, power }
}

export const exponential = ({ digits, power }: Digits, e: string): string => {
  const size = String(Math.abs(power)).padStart(2, '0')
  return `${digits[0]}${digits.length > 1 ? `.${digits.slice(1)}` : ''}${e}${power < 0 ? '-' : '+'}${size}`
}

function fixed(value: number, places: number): string {
  const { digits, scale } = exactDecimal(value)
  const text = String(rounded(digits, scale - places)).padStart(places + 1, '0')
  return places === 0 ? text : `${text.slice(0, -places)}.${text.slice(-places)}`
}

export const plain = ({ digits, power }: Digits): string => {
  if (power < 0) return `0.${'0'.repeat(-power - 1)}${digits}`
  const whole = digits.slice(0, power + 1).padEnd(power + 1, '0')
  return digits.length > power + 1 ? `${whole}.${digits.slice(power + 1)}` : whole
}

/** @param precision -1 for as many digits as are needed */
export function formatFloat(value: number, format: 'e' | 'E' | 'f' | 'g' | 'G', precision: number): string {
  const sign = value < 0 || Object.is(value, -0) ? '-' : ''
  if (format === 'f') return sign + (precision < 0 ? plain(shortest(value)) : fixed(value, precision))
  if (format === 'e' || format === 'E')
    return sign + exponential(precision < 0 ? shortest(value) : significant(value, precision + 1), format)
  if (value === 0) return `${sign}0`
  const wanted = precision === 0 ? 1 : precision
  const found = precision < 0 ? shortest(value) : significant(value, wanted)
  const digits = found.digits.replace(/(?!^)0+$/, '')
  // As many digits as there are count for the choice of the form, unless zeros would have to be added.
  const most =
    precision < 0 ? 6 : wanted > digits.length && digits.length > found.power ? digits.length : wanted
  const trimmed = { digits, power: found.power }
  if (found.power < -4 || found.power >= most) return sign + exponential(trimmed, format === 'g' ? 'e' : 'E')
  return sign + plain(trimmed)
}
