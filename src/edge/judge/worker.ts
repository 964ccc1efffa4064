import { parentPort, workerData } from 'node:worker_threads'
import { parseExact } from '../../mcp/strict-json.ts'
import type { Question } from '../../pep/ports.ts'
import { newId } from '../id.ts'
import { type Keys, readJwks } from './assertion.ts'
import { createEvaluator } from './evaluator.ts'
import { createJudge, type JudgeSettings, VISIBLE } from './judge.ts'
import { createProgress, TooLate } from './progress.ts'

/** What a judging thread is started with. */
export type WorkerData = {
  module: WebAssembly.Module
  /** `data`, as JSON */
  data: string
  settings: JudgeSettings
  jwks: string | undefined
  /** milliseconds in which a question has its answer; an evaluation ends itself in time, if it asks whether to go on */
  deadline: number
  progress: SharedArrayBuffer
}

export type ToWorker = { jobs: [seq: number, asked: bigint, question: string][] } | { jwks: string }
export type FromWorker =
  | { ready: true }
  /** One of the questions that were sent together: nobody waits for the evaluation of the next. */
  | { answer: Answered }
  /**
   * The end of a message, mostly with its last answer. What has none by then is not answered here: it was handed
   * over, or the evaluator is spoiled.
   */
  | { answer: Answered | undefined; spoiled: boolean }
export type Answered = [seq: number, judgement: string, line: string | undefined]

/**
 * Milliseconds. An evaluation that took long may have much memory to give back, and all of the process waits while the
 * kernel takes it: its denial goes out first.
 */
const LONG = 10
const AFTERWARDS = 25

const port = parentPort
if (port) run(workerData as WorkerData)

function run(given: WorkerData): void {
  const progress = createProgress(given.deadline, given.progress)
  let current: [seq: number, asked: bigint] | undefined
  const evaluator = createEvaluator(given.module, JSON.parse(given.data), () => {
    if (current && progress.late()) throw new TooLate(given.deadline)
  })
  let keys: Keys | undefined = given.jwks === undefined ? undefined : readJwks(given.jwks)
  const judge = createJudge(given.settings, {
    keys: () => keys,
    evaluator,
    now: Date.now,
    newId,
    evaluating() {
      if (current) progress.evaluating(...current)
    },
  })
  // The first evaluations compile the code and take many times as long.
  for (const entrypoint of [given.settings.path, VISIBLE]) {
    for (let i = 0; i < 20; i++) {
      try {
        evaluator.evaluate(entrypoint, { identity: { groups: [] }, items: [] })
      } catch {
        // A policy that cannot answer this still answers real questions with what it has.
        evaluator.restore()
      }
    }
  }

  const anew = () => {
    evaluator.restore()
    port?.postMessage({ ready: true } satisfies FromWorker)
  }

  port?.on('message', (message: ToWorker) => {
    if ('jwks' in message) {
      keys = readJwks(message.jwks)
      return
    }
    let answer: Answered | undefined
    for (const [seq, asked, text] of message.jobs) {
      // Sent before the next one is taken up: whoever hands over the rest relies on it.
      if (answer) port?.postMessage({ answer } satisfies FromWorker)
      answer = undefined
      if (!progress.begin(seq, asked)) break
      current = [seq, asked]
      const judged = judge(parseExact(text) as unknown as Question)
      if (judged.kind === 'decided') {
        const { line, ...rest } = judged
        answer = [seq, JSON.stringify(rest), line]
      } else answer = [seq, JSON.stringify(judged), undefined]
      if (evaluator.spoiled()) break
    }
    const took = progress.step().ms
    progress.idle()
    current = undefined
    const spoiled = evaluator.spoiled()
    port?.postMessage({ answer, spoiled } satisfies FromWorker)
    if (!spoiled) return
    // Meanwhile a spare judges, if one is free.
    if (took < LONG) anew()
    else setTimeout(anew, AFTERWARDS)
  })
  port?.postMessage({ ready: true } satisfies FromWorker)
}
