/** Those who are answered when a line is on disk, or when it is not to be waited for any more. */
export type AwaitingDisk = {
  any: () => boolean
  add: (seq: number, done: (durable: boolean) => void) => void
  /** @param seq the last line that is on disk */
  reached: (seq: number) => void
  /** whether one waits for longer than it may */
  overdue: () => boolean
  refuseOverdue: () => void
  refuseAll: () => void
}

/**
 * @param patience milliseconds that one waits
 * @param elapsed milliseconds on a clock that nobody sets
 */
export function createAwaitingDisk(patience: number, elapsed: () => number): AwaitingDisk {
  type Entry = { seq: number; since: number; done: (durable: boolean) => void }
  let waiting: Entry[] = []
  const answer = (which: (entry: Entry) => boolean, durable: boolean) => {
    const ready = waiting.filter(which)
    waiting = waiting.filter((entry) => !which(entry))
    for (const { done } of ready) done(durable)
  }
  const late = ({ since }: Entry) => elapsed() - since > patience
  return {
    any: () => waiting.length > 0,
    add: (seq, done) => waiting.push({ seq, since: elapsed(), done }),
    reached: (last) => answer(({ seq }) => seq <= last, true),
    overdue: () => waiting.some(late),
    refuseOverdue: () => answer(late, false),
    refuseAll: () => answer(() => true, false),
  }
}
