import type { Chain } from '../../log/chain.ts'
import type { Writer } from './writer.ts'

/** When the file of a log is closed and the next begun. */
export type Rotation = {
  due: () => boolean
  /** lines wait until it is over */
  underWay: () => boolean
  begin: () => void
  /** Lets lines go on into the old file for now. */
  giveUp: () => void
}

/** Milliseconds until it is tried again. */
const AGAIN = 5_000

/**
 * @param after how large or, in milliseconds, how old a file gets
 * @param over told when lines go on, in whichever file
 */
export function createRotation(
  writer: Writer,
  chain: Chain,
  after: { segmentBytes: number; segmentAge: number },
  { now, elapsed }: { now: () => number; elapsed: () => number },
  { failed, over }: { failed: (why: string) => void; over: () => void },
): Rotation {
  /** one attempt: it may come back when it was given up, and another made */
  let current: object | undefined
  let from = 0
  const rotate = async () => {
    const attempt = {}
    current = attempt
    // A file is whole on disk before the next is begun, so that a hole between two is never an accident.
    while (writer.synced().seq < chain.seq() && !writer.suspect()) {
      await writer.toDisk()
      if (current !== attempt) return
    }
    try {
      if (!writer.suspect()) writer.beginFile()
    } catch (failure) {
      failed((failure as Error).message)
      from = elapsed() + AGAIN
    }
    current = undefined
    over()
  }
  return {
    due() {
      if (writer.suspect() || writer.foreign() || elapsed() < from) return false
      const { first, bytes, opened } = writer.current()
      // Until the next is begun, the file before it cannot be deleted.
      if (!writer.hasHead(writer.current())) return chain.seq() >= first
      // More than the line that each begins with.
      return chain.seq() > first && (bytes >= after.segmentBytes || now() - opened >= after.segmentAge)
    },
    underWay: () => current !== undefined,
    begin: () => void rotate(),
    giveUp() {
      current = undefined
      from = elapsed() + AGAIN
    },
  }
}
