/** What a judging thread is at. `ms`: how long the present step has run, 0 when idle. */
export type Step = { seq: number; phase: Phase; ms: number }
export type Phase = (typeof PHASES)[number]

/** Why a question is denied whose evaluation was ended. */
export class TooLate extends Error {
  override name = 'TooLate'
  /** @param deadline milliseconds */
  constructor(deadline: number) {
    super(`the evaluation passed its deadline of ${deadline} ms`)
  }
}

const PHASES = ['idle', 'verifying', 'evaluating'] as const
const STARTED = 0
const AT = 1
const HANDED = 4n
const PER_QUESTION = 8n
const pack = (seq: number, phase: Phase) => BigInt(seq) * PER_QUESTION + BigInt(PHASES.indexOf(phase))

/**
 * Where a judging thread is, in memory that it shares with the main thread, which can so look on while an evaluation
 * runs and never ends. The question, the phase and whether the rest was handed over are one word: it is whole.
 */
export function createProgress(shared = new SharedArrayBuffer(16)) {
  const words = new BigInt64Array(shared)
  const at = () => Atomics.load(words, AT)
  const swap = (from: bigint, to: bigint) => Atomics.compareExchange(words, AT, from, to) === from
  // The clock of `hrtime` is one for all threads.
  const now = () => Atomics.store(words, STARTED, process.hrtime.bigint())

  return {
    shared,

    /** The thread takes up a question. @returns false if all after the last one was handed over: another has it */
    begin(seq: number): boolean {
      const last = at()
      if (last & HANDED) return false
      now()
      return swap(last, pack(seq, 'verifying'))
    },
    /** The identity of the question that was taken up is verified. */
    evaluating(seq: number): void {
      now()
      const verifying = pack(seq, 'verifying')
      if (!swap(verifying, pack(seq, 'evaluating')))
        Atomics.store(words, AT, pack(seq, 'evaluating') | HANDED)
    },
    idle(): void {
      Atomics.store(words, AT, 0n)
    },

    /** What the main thread sees. */
    step(): Step {
      const word = at()
      const phase = PHASES[Number(word & 3n)] ?? 'idle'
      if (phase === 'idle') return { seq: 0, phase, ms: 0 }
      const ms = Number(process.hrtime.bigint() - Atomics.load(words, STARTED)) / 1e6
      return { seq: Number(word / PER_QUESTION), phase, ms }
    },
    /** The main thread takes back all but this step's question. @returns false if the thread has gone on meanwhile */
    handOver({ seq, phase }: Step): boolean {
      const word = pack(seq, phase)
      return swap(word, word | HANDED)
    },
  }
}
export type Progress = ReturnType<typeof createProgress>
