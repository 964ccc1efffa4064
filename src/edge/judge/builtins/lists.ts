import { array, type Builtin, int, members, whole } from './operand.ts'
import { compare, Num, OperandError, RegoObject, Unanswerable, type Value } from './value.ts'

const slice: Builtin = ([value, from, to]) => {
  const of = array(value)
  const clamp = (at: bigint, most: number) => (at < 0n ? 0 : at > BigInt(most) ? most : Number(at))
  const [start, stop] = [int(from), int(to)]
  const end = clamp(stop, of.length)
  return of.slice(clamp(start, end), end)
}

/** Numbers in one answer, beyond those that the module makes itself. */
const MOST = 100_000n

const range: Builtin = ([from, to]) => {
  const [first, last] = [whole(from), whole(to)]
  const size = last > first ? last - first : first - last
  if (size >= MOST) throw new Unanswerable(`numbers.range: more than ${MOST} numbers`)
  return Array.from(
    { length: Number(size) + 1 },
    (_, i) => new Num(last >= first ? first + BigInt(i) : first - BigInt(i)),
  )
}

/** Of those that are equal OPA takes the last of an array; it counts where they are spelt otherwise. */
const extreme =
  (order: 1 | -1): Builtin =>
  ([list]) => {
    const found = members(list).reduce<Value | undefined>(
      (best, of) => (best === undefined || compare(best, of) * order >= 0 ? of : best),
      undefined,
    )
    if (found === undefined) throw new OperandError('of nothing')
    return found
  }

export const LISTS = {
  'array.slice': slice,
  max: extreme(-1),
  min: extreme(1),
  'numbers.range': range,
  /** asked of no objects only */
  'object.union_n': ([list]) => {
    array(list)
    return new RegoObject([])
  },
} satisfies Record<string, Builtin>
