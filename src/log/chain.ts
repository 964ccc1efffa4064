import { finishLine, type OpenLine } from './event.ts'
import { createTree, leafHash } from './merkle.ts'

/** The lines of a log: numbered without a hole, each with the hash of the one before it, all of them in one tree. */
export type Chain = {
  /** the number of the last line, which is the size of the tree */
  seq: () => number
  /** the hash of the last line; undefined before the first */
  last: () => Buffer | undefined
  root: () => Buffer
  /** what is to be kept of the tree, from left to right */
  parts: () => Buffer[]
  /** Lines as they are to be stored, one at least. They are not of the chain before `taken`: writing them may fail. */
  link: (lines: OpenLine[]) => {
    bytes: Buffer /** bytes of the last line */
    last: number
    taken: () => void
  }
}

/** @param from the chain as it was left: the size and the parts of its tree, and the hash of its last line */
export function createChain(from: { size: number; parts: Buffer[]; last: Buffer | undefined }): Chain {
  const tree = createTree(from.size, from.parts)
  let last = from.last
  return {
    seq: tree.size,
    last: () => last,
    root: tree.root,
    parts: tree.parts,
    link(lines) {
      let seq = tree.size()
      let before = last
      const leaves: Buffer[] = []
      const texts = lines.map((line) => {
        const text = Buffer.from(finishLine(line, ++seq, before), 'utf8')
        before = leafHash(text.subarray(0, -1))
        leaves.push(before)
        return text
      })
      return {
        bytes: Buffer.concat(texts),
        last: texts.at(-1)?.length ?? 0,
        taken() {
          for (const leaf of leaves) tree.append(leaf)
          last = before
        },
      }
    },
  }
}
