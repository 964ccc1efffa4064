/** WebAssembly written by hand: few instructions, each named once. */
export const OP = {
  block: [0x02, 0x40],
  loop: [0x03, 0x40],
  if: [0x04, 0x40],
  ifI32: [0x04, 0x7f],
  else: [0x05],
  end: [0x0b],
  return: [0x0f],
  drop: [0x1a],
  eqz: [0x45],
  eq: [0x46],
  ne: [0x47],
  ltU: [0x49],
  geU: [0x4f],
  shl: [0x74],
  add: [0x6a],
  sub: [0x6b],
  and: [0x71],
  or: [0x72],
  memoryFill: [0xfc, 0x0b, 0x00],
  ne64: [0x52],
  wrap: [0xa7],
  extend: [0xac],
} as const

export function leb(value: number): number[] {
  const bytes: number[] = []
  let rest = value
  do {
    const low = rest % 128
    rest = Math.floor(rest / 128)
    bytes.push(rest > 0 ? low + 128 : low)
  } while (rest > 0)
  return bytes
}

/** Signed, of 32 bits. */
function signed(value: number): number[] {
  const bytes: number[] = []
  for (let rest = value; ; rest >>= 7) {
    const last = (rest >= 0 && rest < 64) || (rest < 0 && rest >= -64)
    bytes.push(last ? rest & 0x7f : (rest & 0x7f) | 0x80)
    if (last) return bytes
  }
}

export const constant = (value: number): number[] => [0x41, ...signed(value)]
export const get = (local: number): number[] => [0x20, ...leb(local)]
export const set = (local: number): number[] => [0x21, ...leb(local)]
export const call = (index: number): number[] => [0x10, ...leb(index)]
const branch = (depth: number): number[] => [0x0c, depth]
const branchIf = (depth: number): number[] => [0x0d, depth]
export const load = (offset: number): number[] => [0x28, 0x00, ...leb(offset)]
export const store = (offset: number): number[] => [0x36, 0x00, ...leb(offset)]
export const globalGet = (index: number): number[] => [0x23, ...leb(index)]
export const globalSet = (index: number): number[] => [0x24, ...leb(index)]
export const globalI32 = (value: number): number[] => [0x7f, 0x01, ...constant(value), ...OP.end]
const load64 = (offset: number): number[] => [0x29, 0x00, ...leb(offset)]
const loadTwo = [0x2f, 0x00, 0x00]
const loadByte = (offset: number): number[] => [0x2d, 0x00, ...leb(offset)]

export const body = (locals: number, ...code: (readonly number[])[]): Uint8Array =>
  Uint8Array.from([...(locals === 0 ? [0] : [1, locals, 0x7f]), ...code.flat(), ...OP.end])

/**
 * Where OPA's C keeps what (wasm/src/value.h): the kind in the first byte, of a number its form in the second, of
 * what has a length that, and the address of its bytes. `layoutFault` holds it against the module.
 */
export const KIND = { number: 3, string: 4, array: 5, set: 7, interned: 8 } as const
export const NUMBER = { form: 1, isInt: 1, value: 8, text: 8, length: 12 } as const
export const STRING = { length: 4, text: 8 } as const
/** Its elements are pairs of addresses, of their index and of them. */
export const ARRAY = { elements: 4, length: 8, size: 8, value: 4 } as const

/** Its parts are in lists by hash; `value` is in an element of one. */
export const OBJECT = { kind: 6, buckets: 4, count: 8, value: 4 } as const

const is = (kind: number): number[] => [...get(0), ...loadByte(0), ...constant(kind), ...OP.eq]
const isText = [...is(KIND.string), ...is(KIND.interned), ...OP.or]
/** a number in the form of 64 bits, which is what the module writes where it counts */
const isWhole = [
  ...is(KIND.number),
  ...[...get(0), ...loadByte(NUMBER.form), ...constant(NUMBER.isInt), ...OP.eq],
  ...OP.and,
]
const shortcut = (condition: readonly number[], answer: readonly number[]): number[] => [
  ...condition,
  ...OP.if,
  ...answer,
  ...OP.return,
  ...OP.end,
]

/** For each of what begins at local 1: local 2 says how many are left. 1 is the answer where it is `found`. */
const each = (size: number, found: readonly number[]): number[] => [
  ...OP.block,
  ...OP.loop,
  ...[...get(2), ...OP.eqz, ...branchIf(1)],
  ...shortcut(found, constant(1)),
  ...[...get(1), ...constant(size), ...OP.add, ...set(1)],
  ...[...get(2), ...constant(1), ...OP.sub, ...set(2)],
  ...branch(0),
  ...OP.end,
  ...OP.end,
]
const eachByte = (found: readonly number[]): number[] => each(1, [...get(1), ...loadByte(0), ...found])

/** A number, and neither of 32 bits nor of so many digits without anything else; the module reckons more exactly still. */
const notPlain = (digits: number): Uint8Array =>
  body(
    2,
    shortcut([...is(KIND.number), ...OP.eqz], constant(0)),
    shortcut(isWhole, [
      ...[...get(0), ...load64(NUMBER.value), ...OP.wrap, ...OP.extend],
      ...[...get(0), ...load64(NUMBER.value), ...OP.ne64],
    ]),
    [...get(0), ...load(NUMBER.length), ...set(2)],
    shortcut([...get(2), ...constant(1), ...OP.sub, ...constant(digits), ...OP.geU], constant(1)),
    [...get(0), ...load(NUMBER.text), ...set(1)],
    eachByte([...constant(48), ...OP.sub, ...constant(10), ...OP.geU]),
    constant(0),
  )

/** `10`, as the two bytes of a text are loaded. */
const TEN = 0x3031

/**
 * Questions about one argument: 1 where the module's own function is not asked. All are `(i32) -> i32`; some ask another.
 */
export const QUESTIONS = {
  /** a text */
  text: body(0, isText),
  /** a set */
  set: body(0, is(KIND.set)),
  /** the empty text */
  emptyText: body(0, shortcut([...isText, ...OP.eqz], constant(0)), get(0), load(STRING.length), OP.eqz),
  /** anything but an array that has something in it */
  noMembers: body(0, shortcut([...is(KIND.array), ...OP.eqz], constant(1)), [
    ...get(0),
    ...load(ARRAY.length),
    ...OP.eqz,
  ]),
  /** a text with anything but ASCII in it */
  wide: body(
    2,
    shortcut([...isText, ...OP.eqz], constant(0)),
    [...get(0), ...load(STRING.text), ...set(1), ...get(0), ...load(STRING.length), ...set(2)],
    eachByte([...constant(128), ...OP.geU]),
    constant(0),
  ),
  /** a number that is not one to fifteen digits and nothing else, or of 32 bits */
  odd: notPlain(15),
  /** the same with nine digits */
  large: notPlain(9),
  /** anything but the 10 that is written in a policy */
  notTen: body(
    0,
    shortcut([...is(KIND.number), ...OP.eqz], constant(1)),
    shortcut(isWhole, constant(1)),
    shortcut([...get(0), ...load(NUMBER.length), ...constant(2), ...OP.ne], constant(1)),
    [...get(0), ...load(NUMBER.text), ...loadTwo, ...constant(TEN), ...OP.ne],
  ),
  /** an array with numbers that are odd, or with what may have such in it */
  oddInside: [
    'odd',
    (odd: number) =>
      body(
        2,
        shortcut([...is(KIND.array), ...OP.eqz], constant(0)),
        [...get(0), ...load(ARRAY.elements), ...set(1), ...get(0), ...load(ARRAY.length), ...set(2)],
        each(ARRAY.size, [
          ...[...get(1), ...load(ARRAY.value), ...call(odd)],
          ...[...get(1), ...load(ARRAY.value), ...loadByte(0), ...constant(KIND.array), ...OP.sub],
          ...[...constant(KIND.set - KIND.array + 1), ...OP.ltU, ...OP.or],
        ]),
        constant(0),
      ),
  ],
} as const
export type Question = keyof typeof QUESTIONS

export type Ask = readonly [question: Question, argument: number]

/** `opa_builtinN(id, 0, arguments)`: how OPA's compiler asks the host. */
export const asksHost = (id: number, arity: number, dispatcher: number): number[] => [
  ...constant(id),
  ...constant(0),
  ...args(arity),
  ...call(dispatcher),
]

export const args = (arity: number): number[] => Array.from({ length: arity }, (_, i) => get(i)).flat()

export const hostBody = (id: number, arity: number, dispatcher: number): Uint8Array =>
  body(0, asksHost(id, arity, dispatcher))

/** The host where one of the questions is answered with 1, else the function as the module had it. */
export function guardedBody(
  id: number,
  arity: number,
  dispatcher: number,
  asks: readonly Ask[],
  indexOf: (question: Question) => number,
  native: number,
): Uint8Array {
  const condition = asks.flatMap(([question, argument], i) => [
    ...get(argument),
    ...call(indexOf(question)),
    ...(i === 0 ? [] : OP.or),
  ])
  const otherwise = [...args(arity), ...call(native)]
  return body(0, condition, OP.ifI32, asksHost(id, arity, dispatcher), OP.else, otherwise, OP.end)
}
