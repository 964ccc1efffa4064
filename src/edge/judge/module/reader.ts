/**
 * WebAssembly's binary form (core specification 1.0, "Binary Format"), as much of it as is needed to find functions
 * by name. A module comes from outside: every length is held against what is left, and what is not known ends it.
 */
export class ModuleError extends Error {
  override name = 'ModuleError'
}

export type Reader = {
  byte: () => number
  /** unsigned LEB128 of 32 bits */
  u32: () => number
  take: (length: number) => Uint8Array
  /** a length, then that many bytes */
  block: () => Uint8Array
  /** a name, byte for byte: it is only compared */
  name: () => string
  /** a count, then that many of them: each takes a byte at least */
  list: <T>(item: (reader: Reader) => T) => T[]
  /** all that is left */
  rest: () => Uint8Array
  ended: () => boolean
}

export function reader(bytes: Uint8Array): Reader {
  let at = 0
  const take = (length: number): Uint8Array => {
    if (length > bytes.length - at) throw new ModuleError('it ends too early')
    at += length
    return bytes.subarray(at - length, at)
  }
  const byte = (): number => take(1)[0] as number
  const u32 = (): number => {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const next = byte()
      if (shift === 28 && next > 0x0f) break
      value += (next & 0x7f) * 2 ** shift
      if (next < 0x80) return value
    }
    throw new ModuleError('a number of more than 32 bits')
  }
  const self: Reader = {
    byte,
    u32,
    take,
    block: () => take(u32()),
    name() {
      const found = take(u32())
      return Buffer.from(found.buffer, found.byteOffset, found.length).toString('latin1')
    },
    list(item) {
      const count = u32()
      if (count > bytes.length - at) throw new ModuleError('a list that is longer than the module')
      const found: ReturnType<typeof item>[] = []
      for (let i = 0; i < count; i++) found.push(item(self))
      return found
    },
    rest: () => take(bytes.length - at),
    ended: () => at === bytes.length,
  }
  return self
}

export type Section = { id: number; content: Uint8Array }

/** What every module of version 1 begins with. */
export const MAGIC: readonly number[] = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]
const LAST_SECTION = 12

export function sectionsOf(bytes: Uint8Array): Section[] {
  const from = reader(bytes)
  if (from.take(MAGIC.length).some((byte, i) => byte !== MAGIC[i])) throw new ModuleError('no WebAssembly 1')
  const sections: Section[] = []
  while (!from.ended()) {
    const id = from.byte()
    if (id > LAST_SECTION) throw new ModuleError(`a section ${id}`)
    if (id !== 0 && sections.some((section) => section.id === id)) throw new ModuleError(`two sections ${id}`)
    sections.push({ id, content: from.block() })
  }
  return sections
}

/** All of a section, to its last byte. */
export function whole<T>(content: Uint8Array | undefined, read: (from: Reader) => T): T {
  if (!content) throw new ModuleError('a section is missing')
  const from = reader(content)
  const found = read(from)
  if (!from.ended()) throw new ModuleError('a section is longer than what is in it')
  return found
}
