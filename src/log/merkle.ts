import { hash } from 'node:crypto'

/**
 * The Merkle tree of RFC 6962, 2.1, over the stored bytes of lines, grown from left to right. All that has to be kept
 * of it are the roots of its whole parts: for n leaves, one for each bit of n that is set.
 */
export type Tree = {
  size: () => number
  append: (leaf: Buffer) => void
  root: () => Buffer
  /** what is to be kept, from left to right */
  parts: () => Buffer[]
}

const sha256 = (prefix: number, ...parts: Uint8Array[]): Buffer =>
  hash('sha256', Buffer.concat([Buffer.of(prefix), ...parts]), 'buffer')

export const leafHash = (line: Uint8Array): Buffer => sha256(0, line)
export const nodeHash = (left: Uint8Array, right: Uint8Array): Buffer => sha256(1, left, right)

export function createTree(size = 0, kept: Buffer[] = []): Tree {
  let count = size
  const parts = [...kept]
  return {
    size: () => count,
    append(leaf) {
      let node = leaf
      for (let rest = count; rest % 2 === 1; rest = Math.floor(rest / 2))
        node = nodeHash(parts.pop() as Buffer, node)
      parts.push(node)
      count++
    },
    root: () => rootOf(parts),
    parts: () => [...parts],
  }
}

const rootOf = (parts: Buffer[]): Buffer =>
  parts.length === 0
    ? hash('sha256', Buffer.alloc(0), 'buffer')
    : parts.slice(0, -1).reduceRight((right, left) => nodeHash(left, right), parts.at(-1) as Buffer)

/** How many parts a tree of this size has. */
export function partsOf(size: number): number {
  let count = 0
  for (let rest = size; rest > 0; rest = Math.floor(rest / 2)) count += rest % 2
  return count
}

/** The hash of leaves `from` to `to` (without `to`): what is known of them, or the two halves that RFC 6962 makes. */
export function rangeHash(
  from: number,
  to: number,
  known: (from: number, to: number) => Buffer | undefined,
): Buffer {
  const there = known(from, to)
  if (there) return there
  if (to - from < 2) throw new Error(`leaf ${from} is not known`)
  const middle = from + halfOf(to - from)
  return nodeHash(rangeHash(from, middle, known), rangeHash(middle, to, known))
}

/** The largest power of two that is less than n. */
function halfOf(n: number): number {
  let half = 1
  while (half * 2 < n) half *= 2
  return half
}

/** The audit path of a leaf in a tree of `size` (RFC 6962, 2.1.1), from the leaf up. */
export function inclusionProof(
  index: number,
  size: number,
  known: (from: number, to: number) => Buffer | undefined,
): Buffer[] {
  const path: Buffer[] = []
  let [from, to] = [0, size]
  while (to - from > 1) {
    const middle = from + halfOf(to - from)
    if (index < middle) {
      path.unshift(rangeHash(middle, to, known))
      to = middle
    } else {
      path.unshift(rangeHash(from, middle, known))
      from = middle
    }
  }
  return path
}

/** The root that an audit path leads to; undefined if it is not as long as such a path is. */
export function rootFrom(leaf: Buffer, index: number, size: number, path: Buffer[]): Buffer | undefined {
  const sides: ('left' | 'right')[] = []
  let [from, to] = [0, size]
  while (to - from > 1) {
    const middle = from + halfOf(to - from)
    sides.unshift(index < middle ? 'right' : 'left')
    if (index < middle) to = middle
    else from = middle
  }
  if (index >= size || sides.length !== path.length) return undefined
  return path.reduce(
    (node, other, i) => (sides[i] === 'left' ? nodeHash(other, node) : nodeHash(node, other)),
    leaf,
  )
}

/** The leaves that each part of a tree stands for, from left to right. */
export function rangesOf(size: number): [from: number, to: number][] {
  const ranges: [number, number][] = []
  let from = 0
  for (let bit = 2 ** 52; bit >= 1; bit /= 2) {
    if (Math.floor(size / bit) % 2 === 0) continue
    ranges.push([from, from + bit])
    from += bit
  }
  return ranges
}
