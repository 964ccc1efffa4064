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
