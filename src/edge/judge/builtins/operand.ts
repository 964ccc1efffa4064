import { Num, OperandError, RegoObject, RegoSet, type Value, wholeOf } from './value.ts'

/** What a builtin is called with beside its arguments. */
export type Call = {
  /** nanoseconds since the epoch, one for the whole evaluation */
  now: () => bigint
}
/**
 * `prepare` loads what it needs, before the first evaluation of a module that asks for it: an evaluation has little time.
 * @throws OperandError where OPA has an error, Unanswerable where its answer is not known here
 */
export type Builtin = ((args: readonly Value[], call: Call) => Value) & { prepare?: () => void }

const wrong = (expected: string): OperandError => new OperandError(`must be ${expected}`)

export function text(value: Value | undefined): string {
  if (typeof value !== 'string') throw wrong('a string')
  return value
}

export function number(value: Value | undefined): Num {
  if (!(value instanceof Num)) throw wrong('a number')
  return value
}

/** A whole number of any size and spelling. */
export function whole(value: Value | undefined): bigint {
  const found = wholeOf(number(value))
  if (found === undefined) throw wrong('a whole number')
  return found
}

/** A whole number of 64 bits, in the spellings that OPA takes for one: `10` and `10.0`, not `1e1`. */
export function int(value: Value | undefined): bigint {
  const found = toInt64(number(value).text)
  if (found === undefined) throw wrong('a whole number of 64 bits')
  return found
}

/** `util.Atoi64`. */
export function toInt64(of: string): bigint | undefined {
  const digits = /^[-+]?(\d*)(?:\.0*)?$/.exec(of)?.[1]
  if (digits === undefined || of.replace(/^[-+]/, '').length > 19 || /^[-+]?$/.test(of)) return undefined
  const size = BigInt(digits)
  const found = of.startsWith('-') ? -size : size
  return found === BigInt.asIntN(64, found) ? found : undefined
}

export function object(value: Value | undefined): RegoObject {
  if (!(value instanceof RegoObject)) throw wrong('an object')
  return value
}

export function array(value: Value | undefined): readonly Value[] {
  if (!Array.isArray(value)) throw wrong('an array')
  return value
}

export const isArray = (value: Value | undefined): value is readonly Value[] => Array.isArray(value)

/** Members of an array or a set. */
export function members(value: Value | undefined): readonly Value[] {
  if (value instanceof RegoSet) return value.items
  return array(value)
}
