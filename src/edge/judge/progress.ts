/** What a judging thread is at, and for how many milliseconds it has been; `over`: since its deadline, negative before it. */
export type Step = { seq: number; phase: Phase; ms: number; over: number }
export type Phase = (typeof PHASES)[number]

/** Why a question is denied whose evaluation was ended. */
export class TooLate extends Error {
  override name = 'TooLate'
  /** @param deadline milliseconds */
  constructor(deadline: number) {
    super(`the evaluation did not end in time for the deadline of ${deadline} ms`)
  }
}

const PHASES = ['idle', 'verifying', 'evaluating'] as const
const STARTED = 0
const AT = 1
const UNTIL = 2
const HANDED = 4n
const PER_QUESTION = 8n
const pack = (seq: number, phase: Phase) => BigInt(seq) * PER_QUESTION + BigInt(PHASES.indexOf(phase))

/** The share of a deadline that an evaluation has. The rest is for the denial, so that whoever asked has it by then. */
const EVALUATION = 0.9

const IDLE: Step = { seq: 0, phase: 'idle', ms: 0, over: 0 }

/** Nanoseconds of one clock for all threads. */
export const now = (): bigint => process.hrtime.bigint()

/**
 * Where a judging thread is, in memory that it shares with the main thread, which can so look on while an evaluation
 * runs and never ends. The question, the phase and whether the rest was handed over are one word: it is whole.
 * What a question waited counts against its deadline, down to half of what an evaluation has: who asked waits for both.
 * @param deadline milliseconds
 */
export function createProgress(deadline: number, shared = new SharedArrayBuffer(24)) {
  const words = new BigInt64Array(shared)
  const at = () => Atomics.load(words, AT)
  const swap = (from: bigint, to: bigint) => Atomics.compareExchange(words, AT, from, to) === from
  const share = BigInt(Math.round(deadline * EVALUATION * 1e6))
  const start = (asked: bigint) => {
    const started = Atomics.store(words, STARTED, now())
    const [due, least] = [asked + share, started + share / 2n]
    Atomics.store(words, UNTIL, due > least ? due : least)
  }
  const since = (word: number) => Number(now() - Atomics.load(words, word)) / 1e6

  return {
    shared,

    /**
     * The thread takes up a question.
     * @param asked when, by `now`
     * @returns false if all after the last one was handed over: another has it
     */
    begin(seq: number, asked: bigint): boolean {
      const last = at()
      if (last & HANDED) return false
      start(asked)
      return swap(last, pack(seq, 'verifying'))
    },
    /** The identity of the question that was taken up is verified. */
    evaluating(seq: number, asked: bigint): void {
      start(asked)
      const verifying = pack(seq, 'verifying')
      if (!swap(verifying, pack(seq, 'evaluating')))
        Atomics.store(words, AT, pack(seq, 'evaluating') | HANDED)
    },
    idle(): void {
      Atomics.store(words, AT, 0n)
    },
    /** Whether the step has passed its deadline. */
    late: () => since(UNTIL) >= 0,

    /** What the main thread sees. */
    step(): Step {
      const word = at()
      const phase = PHASES[Number(word & 3n)] ?? 'idle'
      if (phase === 'idle') return IDLE
      return { seq: Number(word / PER_QUESTION), phase, ms: since(STARTED), over: since(UNTIL) }
    },
    /** The main thread takes back all but this step's question. @returns false if the thread has gone on meanwhile */
    handOver({ seq, phase }: Step): boolean {
      const word = pack(seq, phase)
      return swap(word, word | HANDED)
    },
  }
}
export type Progress = ReturnType<typeof createProgress>
