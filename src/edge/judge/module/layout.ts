import { Num, readValue, type Value } from '../builtins/value.ts'
import { ARRAY, KIND, NUMBER, OBJECT, STRING } from './code.ts'

/** Reads what it can of a value where it is, without its text; undefined for what has parts. */
export function scalarAt(
  memory: Buffer,
  address: number,
  decode: (bytes: Uint8Array) => string,
): Value | undefined {
  const kind = memory[address]
  if (kind === KIND.string || kind === KIND.interned) {
    const from = memory.readUInt32LE(address + STRING.text)
    return decode(memory.subarray(from, from + memory.readUInt32LE(address + STRING.length)))
  }
  if (kind !== KIND.number) return undefined
  if (memory[address + NUMBER.form] === NUMBER.isInt)
    return new Num(memory.readBigInt64LE(address + NUMBER.value))
  const from = memory.readUInt32LE(address + NUMBER.text)
  return readValue(memory.toString('latin1', from, from + memory.readUInt32LE(address + NUMBER.length)))
}

type Parse = (text: string) => number

/**
 * What is not where OPA 1.22 keeps it, if anything: a module whose values lay elsewhere would have its arguments
 * misread, silently.
 * @param entrypoints the address of what the module's `entrypoints` gave: the only whole numbers that it makes itself
 */
export function layoutFault(
  memory: () => Buffer,
  parse: Parse,
  entrypoints: number,
  ids: readonly number[],
): string | undefined {
  const at = (address: number, offset: number) => memory().readUInt32LE(address + offset)
  const kindOf = (address: number) => memory()[address]
  const bytes = (from: number, length: number) => memory().toString('utf8', from, from + length)
  const word = parse('"aé"')
  if (kindOf(word) !== KIND.string || bytes(at(word, STRING.text), at(word, STRING.length)) !== 'aé')
    return 'a text'
  const number = parse('-12.50')
  if (
    kindOf(number) !== KIND.number ||
    memory()[number + NUMBER.form] === NUMBER.isInt ||
    bytes(at(number, NUMBER.text), at(number, NUMBER.length)) !== '-12.50'
  )
    return 'a number'
  const array = parse('[[], 1, 2]')
  const second = at(array, ARRAY.elements) + ARRAY.size
  if (kindOf(array) !== KIND.array || at(array, ARRAY.length) !== 3) return 'an array'
  if (kindOf(at(second, ARRAY.value)) !== KIND.number) return 'an array'
  if (kindOf(parse('{1}')) !== KIND.set) return 'a set'
  if (kindOf(entrypoints) !== OBJECT.kind) return 'an object'
  const count = at(entrypoints, OBJECT.count)
  for (let i = 0; i < count; i++) {
    const bucket = at(at(entrypoints, OBJECT.buckets), 4 * i)
    if (bucket === 0) continue
    const value = at(bucket, OBJECT.value)
    const id = Number(memory().readBigInt64LE(value + NUMBER.value))
    if (kindOf(value) === KIND.number && memory()[value + NUMBER.form] === NUMBER.isInt && ids.includes(id))
      return undefined
    break
  }
  return 'a whole number'
}
