import { Worker } from 'node:worker_threads'
import type { Judgement, Question } from '../../pep/ports.ts'
import { createProgress, type Progress } from './progress.ts'
import type { FromWorker, ToWorker, WorkerData } from './worker.ts'

/** A question on its way to its answer. */
export type Job = {
  seq: number
  question: Question
  text: string
  /** when, by `now` of the progress */
  asked: bigint
  /** it waits for its own identity's, which does not count against it */
  held?: boolean
  attempts: number
  /** its evaluation passed its deadline, and it has its answer */
  denied?: true
  /** who claims to ask, once somebody wanted to know */
  owner?: string
  resolve: (judged: Judgement) => void
}

/** A judging thread, as the main thread sees it. */
export type Thread = {
  progress: Progress
  /** `slow`: the question it is at takes long, and it has been left alone with it. `spoiled`: it makes itself anew */
  state: 'starting' | 'ready' | 'busy' | 'slow' | 'spoiled'
  /** sent to it and not answered yet, in the order in which it takes them up */
  jobs: Job[]
  watch: NodeJS.Timeout | undefined
  /** undefined: it is ready; else why it is not */
  started: Promise<string | undefined>
  post: (message: ToWorker) => void
  stop: () => Promise<unknown>
}

export type ThreadEvents = {
  /** `first`: it has started; else it has made anew what was spoiled */
  ready: (thread: Thread, first: boolean) => void
  answer: (thread: Thread, message: Exclude<FromWorker, { ready: true }>) => void
  /** by itself, or by an error that nothing in it caught */
  ended: (thread: Thread, why: string) => void
}

/** Milliseconds for a thread to start: one that does not come must not keep the next policy from being tried. */
const START_WITHIN = 60_000

export function startThread(data: Omit<WorkerData, 'progress'>, on: ThreadEvents): Thread {
  const progress = createProgress(data.deadline)
  const worker = new Worker(new URL('./worker.ts', import.meta.url), {
    workerData: { ...data, progress: progress.shared } satisfies WorkerData,
    resourceLimits: { maxOldGenerationSizeMb: 192, maxYoungGenerationSizeMb: 16 },
  })
  const thread: Thread = {
    progress,
    state: 'starting',
    jobs: [],
    watch: undefined,
    started: Promise.resolve(undefined),
    post: (message) => worker.postMessage(message),
    stop: () => {
      clearTimeout(thread.watch)
      return worker.terminate().catch(() => undefined)
    },
  }
  thread.started = new Promise((resolve) => {
    const late = setTimeout(() => {
      resolve(`the judging thread did not start within ${START_WITHIN} ms`)
      void thread.stop()
    }, START_WITHIN)
    const ended = (why: string) => {
      clearTimeout(late)
      resolve(why)
      on.ended(thread, why)
    }
    worker.on('message', (message: FromWorker) => {
      if (!('ready' in message)) return on.answer(thread, message)
      clearTimeout(late)
      const first = thread.state === 'starting'
      thread.state = 'ready'
      resolve(undefined)
      on.ready(thread, first)
    })
    worker.once('error', (error) => ended(error.message))
    worker.once('exit', () => ended('the judging thread ended'))
  })
  return thread
}
