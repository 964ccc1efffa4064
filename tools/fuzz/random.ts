/** Numbers that a seed determines, so that a finding can be made again. */
export type Random = {
  /** a whole number below `below` */
  int: (below: number) => number
  chance: (of: number) => boolean
  pick: <T>(from: readonly T[]) => T
}

/** Mulberry32. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const int = (below: number) => Math.floor(next() * below)
  return { int, chance: (of) => next() < of, pick: (from) => from[int(from.length)] as never }
}

/** One to a few changes of the kinds that find things: bits, pieces that go, come twice or are another's, known words. */
export function mutate(
  random: Random,
  input: Buffer,
  others: readonly Buffer[],
  words: readonly string[],
): Buffer {
  let bytes = Buffer.from(input)
  for (let left = 1 + random.int(4); left > 0; left--) {
    const at = random.int(bytes.length + 1)
    const to = Math.min(bytes.length, at + random.int(24))
    const join = (middle: Buffer) => Buffer.concat([bytes.subarray(0, at), middle, bytes.subarray(to)])
    switch (random.int(7)) {
      case 0:
        if (at < bytes.length) bytes[at] = (bytes[at] as number) ^ (1 << random.int(8))
        break
      case 1:
        bytes = join(Buffer.alloc(0))
        break
      case 2:
        bytes = Buffer.concat([bytes.subarray(0, to), bytes.subarray(at, to), bytes.subarray(to)])
        break
      case 3: {
        const other = random.pick(others)
        const from = random.int(other.length + 1)
        bytes = join(other.subarray(from, from + random.int(48)))
        break
      }
      case 4:
        bytes = join(Buffer.from([random.int(256)]))
        break
      default: {
        const word = Buffer.from(random.pick(words), 'latin1')
        bytes = random.chance(0.5)
          ? join(word)
          : Buffer.concat([bytes.subarray(0, at), word, bytes.subarray(at)])
      }
    }
    if (bytes.length > 1 << 16) bytes = bytes.subarray(0, 1 << 16)
  }
  return bytes
}
