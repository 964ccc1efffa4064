import type { Random } from './random.ts'

/** What is fuzzed: where inputs come from, and what must hold for each. */
export type Target = {
  name: string
  seeds: Buffer[]
  /** pieces that mean something to the reader */
  words: string[]
  /** throws, or rejects, where a property does not hold */
  check: (input: Buffer, random: Random) => void | Promise<void>
  /** what must hold of all inputs together, and the end of what was started */
  close?: () => Promise<void>
}

export function hold(so: boolean, what: string): asserts so {
  if (!so) throw new Error(what)
}
