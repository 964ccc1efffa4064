import { array, type Builtin, int, whole } from './operand.ts'
import { Num, RegoObject, Unanswerable } from './value.ts'

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

export const LISTS = {
  'array.slice': slice,
  'numbers.range': range,
  /** asked of no objects only */
  'object.union_n': ([list]) => {
    array(list)
    return new RegoObject([])
  },
} satisfies Record<string, Builtin>
