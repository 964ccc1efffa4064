import {
  add,
  ceil,
  divide,
  type Float,
  floatOf,
  floor,
  fromInteger,
  multiply,
  round,
  subtract,
  textOf,
} from './big-float.ts'
import { type Builtin, members, number, toInt64 } from './operand.ts'
import { Num, OperandError, RegoSet, type Value, wholeOf } from './value.ts'

/** OPA counts in whole numbers where both are, and else in floats of 64 binary digits (topdown/arithmetic.go). */

const SMALL = 1n << 31n

function small(of: Num): bigint | undefined {
  const found = toInt64(of.text)
  return found !== undefined && found >= -SMALL && found < SMALL ? found : undefined
}

const binary =
  (exact: (a: bigint, b: bigint) => bigint, float: (a: Float, b: Float) => Float): Builtin =>
  ([left, right]) => {
    const [a, b] = [number(left), number(right)]
    const [x, y] = [wholeOf(a), wholeOf(b)]
    return new Num(x !== undefined && y !== undefined ? exact(x, y) : textOf(float(floatOf(a), floatOf(b))))
  }

const minusNumbers = binary((a, b) => a - b, subtract)

const minus: Builtin = (args, call) => {
  const [left, right] = args
  if (!(left instanceof RegoSet) || !(right instanceof RegoSet)) return minusNumbers(args, call)
  return new RegoSet(left.items.filter((item) => !right.has(item)))
}

const div: Builtin = ([left, right]) => {
  const [a, b] = [number(left), number(right)]
  const [x, y] = [small(a), small(b)]
  if (x !== undefined && y !== undefined && x !== 0n && y !== 0n && x % y === 0n) return new Num(x / y)
  const by = floatOf(b)
  if (by.mantissa === 0n) throw new OperandError('divide by zero')
  return new Num(textOf(divide(floatOf(a), by)))
}

const rem: Builtin = ([left, right]) => {
  const [x, y] = [wholeOf(number(left)), wholeOf(number(right))]
  if (x === undefined || y === undefined) throw new OperandError('modulo on floating-point number')
  if (y === 0n) throw new OperandError('modulo by zero')
  return new Num(x % y)
}

const unary =
  (exact: (of: bigint) => bigint, float: (of: Float) => Float): Builtin =>
  ([value]) => {
    const of = number(value)
    const found = small(of)
    return new Num(found === undefined ? textOf(float(floatOf(of))) : exact(found))
  }

const same = (of: bigint): bigint => of

/** The sum or product of numbers in an array or a set. */
const all =
  (start: Float, exact: (a: bigint, b: bigint) => bigint, float: (a: Float, b: Float) => Float): Builtin =>
  ([value]) => {
    const given: readonly Value[] = members(value)
    const numbers = given.map(number)
    const whole = numbers.map(wholeOf)
    if (whole.every((of) => of !== undefined))
      return new Num(whole.reduce((a, b) => exact(a, b), start.mantissa))
    return new Num(textOf(numbers.map(floatOf).reduce((a, b) => float(a, b), start)))
  }

/** OPA begins a product with a 1 of 53 binary digits, and so it stays. */
const ONE = fromInteger(1n, 53)

export const ARITHMETIC = {
  abs: unary(
    (of) => (of < 0n ? -of : of),
    (of) => ({ ...of, negative: false }),
  ),
  ceil: unary(same, ceil),
  div,
  floor: unary(same, floor),
  minus,
  mul: binary((a, b) => a * b, multiply),
  plus: binary((a, b) => a + b, add),
  product: all(
    ONE,
    (a, b) => a * b,
    (a, b) => multiply(a, b, ONE.precision),
  ),
  rem,
  round: unary(same, round),
  sum: all(fromInteger(0n), (a, b) => a + b, add),
} satisfies Record<string, Builtin>
