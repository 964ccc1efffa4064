import type { Chain } from '../../log/chain.ts'
import type { Checkpoint } from '../../log/note.ts'
import type { JsonObject } from '../../mcp/strict-json.ts'

/** When a log is signed, and what of it is to be kept beside the log. */
export type Signing = {
  /** whether lines came that are not signed, for long enough, or at the end of it all */
  due: (atTheEnd: boolean) => boolean
  /**
   * What a checkpoint of all lines says. It is none before it is `written`, as the next line.
   * @param head of a file: with what is to be kept of the tree, so that the file can be checked without those before it
   */
  next: (head: boolean) => { said: JsonObject; written: () => void }
  /** the newest that was signed */
  newest: () => Signed | undefined
  /** A signed checkpoint that is on disk now, if there is one that was not given yet. @param synced the last line that is */
  ready: (synced: number) => string | undefined
}
type Signed = Pick<Checkpoint, 'size' | 'root'>

/**
 * @param sign without it there are checkpoints at the start of each file, unsigned
 * @param every milliseconds between two, where lines came
 * @param newest as it was kept
 */
export function createSigning(
  chain: Chain,
  sign: ((size: number, root: Buffer) => string) | undefined,
  every: number,
  now: () => number,
  newest: Signed | undefined,
): Signing {
  let last = { at: now(), size: chain.seq() }
  let kept = newest
  /** those that are not on disk yet */
  let notes: { seq: number; note: string }[] = []
  return {
    // A clock that was set back by as much is as good a reason as time that has passed.
    due: (atTheEnd) =>
      sign !== undefined && chain.seq() > last.size && (atTheEnd || Math.abs(now() - last.at) >= every),
    next(head) {
      const size = chain.seq()
      const root = chain.root()
      const parts = chain.parts().map((part) => part.toString('base64'))
      const note = sign?.(size, root)
      return {
        said: {
          tree: { size, root: root.toString('base64'), ...(head && { parts }) },
          ...(note !== undefined && { note }),
        },
        written() {
          if (note === undefined) return
          notes = [...notes, { seq: size + 1, note }]
          kept = { size, root }
          // The line of a checkpoint alone is none that needs another.
          last = { at: now(), size: size + 1 }
        },
      }
    },
    newest: () => kept,
    ready(synced) {
      const ready = notes.findLast(({ seq }) => seq <= synced)
      if (ready) notes = notes.filter(({ seq }) => seq > synced)
      return ready?.note
    },
  }
}
