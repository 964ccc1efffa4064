import { Worker } from 'node:worker_threads'
import { parseExact, parseStrict } from '../../mcp/strict-json.ts'
import { policyError } from '../../pdp/decision.ts'
import { type Identity, identityFromClaims } from '../../pdp/identity.ts'
import type { Judgement, Question } from '../../pep/ports.ts'
import { newId } from '../id.ts'
import { decided } from './judge.ts'
import { createStrikes, STRIKES } from './strikes.ts'
import { type FromWorker, PHASE, PROGRESS, type ToWorker, unpack, type WorkerData } from './worker.ts'

export type Pool = {
  judge: (question: Question) => Promise<Judgement>
  /**
   * Takes another policy: threads that are warm with it judge all that is not yet being judged.
   * @param swapped called in the moment from which on the new policy judges
   * @throws Error if its threads do not start; the policy that was there goes on
   */
  activate: (judging: Judging, swapped: () => void) => Promise<void>
  setKeys: (jwks: string) => void
  /** threads stopped because an evaluation passed its deadline, or that died */
  replaced: () => number
  close: () => Promise<void>
}

/** A policy, and how it is asked. */
export type Judging = Pick<WorkerData, 'module' | 'data' | 'settings'>

export type PoolSettings = {
  jwks: string | undefined
  /** milliseconds for one evaluation, from its start */
  deadline: number
  /** questions that may wait */
  queue: number
}

/** Questions in one message to the thread: enough to spare wake-ups, few enough that none waits long for its reply. */
const BATCH = 32
/** Milliseconds for a thread to start: one that does not come must not keep the next policy from being tried. */
const START_WITHIN = 60_000
/** Threads that stand by warm: as many as one identity may have stopped before it waits, less the one that judges. */
const SPARES = STRIKES - 1
/** Milliseconds after which a thread is started again that ended before it was ready; doubled each time. */
const RESTART = { first: 100, most: 30_000 }

type Job = {
  seq: number
  question: Question
  text: string
  attempts: number
  resolve: (judged: Judgement) => void
}
type Thread = {
  worker: Worker
  progress: BigInt64Array
  state: 'starting' | 'ready' | 'spoiled'
  /** undefined: it is ready; else why it is not */
  started: Promise<string | undefined>
}
/** Threads that judge by one policy. The first judges, the others stand by; fewer than all while one cannot start. */
type Crew = { judging: Judging; threads: Thread[]; failures: number }
type Next = { crew: Crew; taken: () => void; failed: (why: string) => void }

/**
 * One thread judges, others stand by warm. The deadline of an evaluation runs from its start, which the thread
 * writes into shared memory; when it passes, the thread is stopped, that question is denied, and the others move to
 * a spare. So they do while a thread that an abort has spoiled makes itself anew. Questions that come while a
 * message is away are sent together when it returns. Another policy comes with threads of its own, between two
 * messages: a question is answered by one policy, whole. Without a policy every question is `no_bundle`.
 */
export async function createPool(settings: PoolSettings, first?: Judging): Promise<Pool> {
  let { jwks } = settings
  let seq = 0
  let replaced = 0
  let away: Job[] = []
  let waiting: Job[] = []
  let watch: NodeJS.Timeout | undefined
  let closed = false
  const strikes = createStrikes()

  const threads = new Set<Thread>()
  let crew: Crew | undefined
  let next: Next | undefined

  const start = (judging: Judging): Thread => {
    const progress = new SharedArrayBuffer(8 * PROGRESS.slots)
    const worker = new Worker(new URL('./worker.ts', import.meta.url), {
      workerData: { ...judging, jwks, progress } satisfies WorkerData,
      resourceLimits: { maxOldGenerationSizeMb: 192, maxYoungGenerationSizeMb: 16 },
    })
    const thread: Thread = {
      worker,
      progress: new BigInt64Array(progress),
      state: 'starting',
      started: Promise.resolve(undefined),
    }
    threads.add(thread)
    thread.started = new Promise((resolve) => {
      const late = setTimeout(() => {
        resolve(`the judging thread did not start within ${START_WITHIN} ms`)
        void worker.terminate()
      }, START_WITHIN)
      const ended = (why: string) => {
        clearTimeout(late)
        threads.delete(thread)
        resolve(why)
        lost(thread, why)
      }
      worker.on('message', (message: FromWorker) => {
        if ('ready' in message) {
          clearTimeout(late)
          const began = thread.state === 'starting'
          thread.state = 'ready'
          // One that an abort had spoiled says nothing of those that cannot start.
          if (began && crew?.threads.includes(thread)) {
            crew.failures = 0
            fill(crew)
          }
          resolve(undefined)
          send()
        } else if (crew && thread === crew.threads[0]) receive(crew, thread, message)
      })
      worker.once('error', (error) => ended(error.message))
      worker.once('exit', () => ended('the judging thread ended'))
    })
    return thread
  }

  /** Between two messages, so that no question is answered by two policies. */
  const turn = () => {
    if (!next || away.length > 0) return
    const old = crew
    const { taken } = next
    crew = next.crew
    next = undefined
    for (const thread of old?.threads ?? []) stop(thread)
    taken()
    fill(crew)
  }

  /** One at a time: what starts takes its time from what is judged meanwhile. */
  const fill = (of: Crew) => {
    if (closed || of.threads.length > SPARES) return
    if (of.threads.some((thread) => thread.state === 'starting')) return
    of.threads.push(start(of.judging))
  }

  const stop = (thread: Thread) => {
    threads.delete(thread)
    thread.worker.terminate().catch(() => undefined)
  }

  const send = () => {
    if (away.length > 0 || closed) return
    turn()
    if (waiting.length === 0 || !crew) return
    const { threads: all } = crew
    const active = all.find((thread) => thread.state === 'ready')
    if (!active) {
      // None can start, nor comes back: nobody knows when there will be one.
      if (crew.failures > 1 && all.every((thread) => thread.state === 'starting'))
        for (const job of waiting.splice(0)) job.resolve({ kind: 'unavailable', fault: 'queue_full' })
      return
    }
    crew.threads = [active, ...all.filter((thread) => thread !== active)]
    away = waiting.splice(0, BATCH)
    Atomics.store(active.progress, PROGRESS.at, 0n)
    active.worker.postMessage({ jobs: away.map((job) => [job.seq, job.text]) } satisfies ToWorker)
    watch = setTimeout(check, settings.deadline, crew, active)
  }

  const receive = (by: Crew, active: Thread, message: Extract<FromWorker, { answer: unknown }>) => {
    const [of, text, line] = message.answer
    const judged = parseExact(text) as unknown as Judgement
    if (judged.kind === 'decided') judged.line = line as typeof judged.line
    const at = away.findIndex((job) => job.seq === of)
    const [job] = at < 0 ? [] : away.splice(at, 1)
    if ('spoiled' in message) {
      clearTimeout(watch)
      if (message.spoiled) {
        active.state = 'spoiled'
        if (job) strikes.add(verifiedIdentity(by, job.question))
        waiting = [...away, ...waiting]
      }
      away = []
      send()
    }
    job?.resolve(judged)
  }

  /** How long the present step has run; the clock of `hrtime` is one for all threads. */
  const elapsed = ({ progress }: Thread) =>
    Number(process.hrtime.bigint() - Atomics.load(progress, PROGRESS.started)) / 1e6

  const check = (by: Crew, active: Thread) => {
    const { phase } = unpack(Atomics.load(active.progress, PROGRESS.at))
    const left = phase === PHASE.idle ? settings.deadline : settings.deadline - elapsed(active)
    if (left > 0) watch = setTimeout(check, Math.max(1, left), by, active)
    else replace(by, active, `the evaluation passed its deadline of ${settings.deadline} ms`)
  }

  const lost = (thread: Thread, why: string) => {
    if (closed) return
    if (next?.crew.threads.includes(thread)) {
      const { failed } = next
      next = undefined
      failed(why)
    } else if (crew?.threads.includes(thread)) {
      if (away.length > 0 && thread === crew.threads[0]) return replace(crew, thread, why)
      crew.threads = crew.threads.filter((other) => other !== thread)
      again(crew, thread.state === 'starting')
    }
  }

  /** A thread in place of one that ended by itself: at once, but later and later if none becomes ready. */
  const again = (of: Crew, failed: boolean) => {
    if (!failed) return fill(of)
    const delay = of.failures === 0 ? 0 : Math.min(RESTART.first * 2 ** of.failures, RESTART.most)
    of.failures++
    setTimeout(() => {
      if (of === crew) fill(of)
    }, delay).unref()
    send()
  }

  const replace = (by: Crew, active: Thread, why: string) => {
    clearTimeout(watch)
    replaced++
    const { seq: at, phase } = unpack(Atomics.load(active.progress, PROGRESS.at))
    const jobs = away
    away = []
    stop(active)
    by.threads = by.threads.filter((thread) => thread !== active)
    // Else one that could not start is started again in its time.
    if (by.failures === 0) fill(by)
    const culprit = phase === PHASE.idle ? undefined : jobs.find((job) => job.seq === at)
    // Evaluation is pure: what was in the same message is asked again, before what came later.
    const anew = jobs.filter((job) => job !== culprit && ++job.attempts < 3)
    for (const job of jobs)
      if (job !== culprit && !anew.includes(job)) job.resolve({ kind: 'unavailable', fault: 'queue_full' })
    waiting = [...anew, ...waiting]
    if (culprit) culprit.resolve(stopped(by, culprit.question, phase === PHASE.evaluating, why))
    send()
  }

  /** The judgement of a question whose evaluation was stopped. The identity is believed only past its verification. */
  const stopped = (by: Crew, question: Question, verified: boolean, why: string): Judgement => {
    const identity = verified ? verifiedIdentity(by, question) : undefined
    strikes.add(identity)
    if (question.ask === 'visible') return { kind: 'unavailable', fault: 'visible_undecided' }
    if (!identity) return { kind: 'unavailable', fault: 'queue_full' }
    const ports = { now: Date.now, newId }
    const more = { eval_ns: settings.deadline * 1e6, error: why, brief: true }
    return decided(by.judging.settings, ports, question, { ...question.draft, identity }, policyError(), more)
  }

  const verifiedIdentity = (by: Crew, { who }: Question): Identity | undefined => {
    if ('identity' in who) return who.identity
    const claims = parseStrict(Buffer.from(who.assertion.split('.')[1] ?? '', 'base64url').toString('utf8'))
    const { expected } = by.judging.settings
    if (!claims.ok || !expected) return undefined
    const read = identityFromClaims(claims.value, expected, Math.floor(Date.now() / 1000))
    return read.ok ? read.identity : undefined
  }

  const pool: Pool = {
    judge: (question) =>
      new Promise((resolve) => {
        if (!crew && !closed) return resolve({ kind: 'unavailable', fault: 'no_bundle' })
        if (closed || waiting.length >= settings.queue)
          return resolve({ kind: 'unavailable', fault: 'queue_full' })
        if (strikes.suspended(question.who)) return resolve({ kind: 'unavailable', fault: 'suspended' })
        waiting.push({ seq: ++seq, question, text: JSON.stringify(question), attempts: 0, resolve })
        // After all that this turn of the loop has read, so that it goes in one message.
        if (away.length === 0 && waiting.length === 1) setImmediate(send)
      }),
    async activate(judging, swapped) {
      const made: Thread[] = []
      try {
        // One after the other: what is warmed up takes its time from what is judged meanwhile. Where nothing is yet,
        // nobody need wait for a spare.
        for (let i = 0; i < (crew ? 2 : 1); i++) {
          const thread = start(judging)
          made.push(thread)
          const why = await thread.started
          if (why !== undefined) throw new Error(why)
        }
        if (made.some((thread) => !threads.has(thread))) throw new Error('a judging thread ended')
        await new Promise<void>((resolve, reject) => {
          const taken = () => {
            swapped()
            resolve()
          }
          next = {
            crew: { judging, threads: made, failures: 0 },
            taken,
            failed: (why) => reject(new Error(why)),
          }
          if (closed) reject(new Error('the judging threads are stopped'))
          else send()
        })
      } catch (error) {
        next = undefined
        for (const thread of made) stop(thread)
        throw error
      }
    },
    setKeys(to) {
      jwks = to
      for (const thread of threads) thread.worker.postMessage({ jwks: to } satisfies ToWorker)
    },
    replaced: () => replaced,
    async close() {
      closed = true
      clearTimeout(watch)
      for (const job of [...away, ...waiting]) job.resolve({ kind: 'unavailable', fault: 'queue_full' })
      await Promise.all([...threads].map((thread) => thread.worker.terminate()))
    },
  }
  if (first) await pool.activate(first, () => undefined)
  return pool
}
