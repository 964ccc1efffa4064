import { type Builtin, whole } from './operand.ts'
import { Num, OperandError, Unanswerable } from './value.ts'

/** Bits of one answer: beyond, the memory would be full. */
const MOST_BITS = 100_000n

const binary =
  (of: (a: bigint, b: bigint) => bigint): Builtin =>
  ([a, b]) =>
    new Num(of(whole(a), whole(b)))

function distance(by: bigint): bigint {
  if (by < 0n) throw new OperandError('must be an unsigned integer number')
  // Go takes the lowest 64 bits.
  return BigInt.asUintN(64, by)
}

function left(of: bigint, by: bigint): bigint {
  const places = distance(by)
  if (places > MOST_BITS) throw new Unanswerable(`bits.lsh: more than ${MOST_BITS} bits`)
  return of << places
}

function right(of: bigint, by: bigint): bigint {
  const places = distance(by)
  return of >> (places > MOST_BITS ? MOST_BITS : places)
}

export const BITS = {
  'bits.and': binary((a, b) => a & b),
  'bits.lsh': binary(left),
  'bits.negate': ([of]) => new Num(~whole(of)),
  'bits.or': binary((a, b) => a | b),
  'bits.rsh': binary(right),
  'bits.xor': binary((a, b) => a ^ b),
} satisfies Record<string, Builtin>
