import { Worker } from 'node:worker_threads'
import { parseExact, parseStrict } from '../../mcp/strict-json.ts'
import { policyError } from '../../pdp/decision.ts'
import { claimedOwner, type Identity, identityFromClaims, ownerKey, ownerOf } from '../../pdp/identity.ts'
import type { Judgement, Question } from '../../pep/ports.ts'
import { newId } from '../id.ts'
import { decided } from './judge.ts'
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
/** An identity whose evaluations were stopped, or aborted, this often in this many milliseconds waits as long. */
const STRIKES = 3
const STRIKE_WINDOW = 60_000
/** Milliseconds for a thread to start: one that does not come must not keep the next policy from being tried. */
const START_WITHIN = 60_000

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
  ready: boolean
  /** undefined: it is ready; else why it is not */
  started: Promise<string | undefined>
}
/** Two threads that judge by one policy; one takes the other's place while the pair stays the same. */
type Pair = { judging: Judging; active: Thread; spare: Thread }
type Next = Pair & { taken: () => void; failed: (why: string) => void }

/**
 * One thread judges, a second stands by warm. The deadline of an evaluation runs from its start, which the thread
 * writes into shared memory; when it passes, the thread is stopped, that question is denied, and the others move to
 * the spare. So they do while a thread that an abort has spoiled makes itself anew. Questions that come while a
 * message is away are sent together when it returns. Another policy comes with two threads of its own, between two
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
  const strikes = new Map<string, number[]>()

  const threads = new Set<Thread>()
  let pair: Pair | undefined
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
      ready: false,
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
          thread.ready = true
          resolve(undefined)
          send()
        } else if (thread === pair?.active) receive(pair, message)
      })
      worker.once('error', (error) => ended(error.message))
      worker.once('exit', () => ended('the judging thread ended'))
    })
    return thread
  }

  /** Between two messages, so that no question is answered by two policies. */
  const turn = () => {
    if (!next || away.length > 0) return
    const old = pair
    const { taken, judging, active, spare } = next
    next = undefined
    pair = { judging, active, spare }
    for (const thread of old ? [old.active, old.spare] : []) stop(thread)
    taken()
  }

  const stop = (thread: Thread) => {
    threads.delete(thread)
    thread.worker.terminate().catch(() => undefined)
  }

  const send = () => {
    if (away.length > 0 || closed) return
    turn()
    if (waiting.length === 0 || !pair) return
    if (!pair.active.ready && pair.spare.ready) [pair.active, pair.spare] = [pair.spare, pair.active]
    const { active } = pair
    if (!active.ready) return
    away = waiting.splice(0, BATCH)
    Atomics.store(active.progress, PROGRESS.at, 0n)
    active.worker.postMessage({ jobs: away.map((job) => [job.seq, job.text]) } satisfies ToWorker)
    watch = setTimeout(check, settings.deadline, pair)
  }

  const receive = (by: Pair, { answers, spoiled }: Extract<FromWorker, { answers: unknown }>) => {
    clearTimeout(watch)
    const jobs = new Map(away.map((job) => [job.seq, job]))
    away = []
    const done = answers.map(([of, text, line]) => {
      const judged = parseExact(text) as unknown as Judgement
      if (judged.kind === 'decided') judged.line = line as typeof judged.line
      const job = jobs.get(of)
      jobs.delete(of)
      return { job, judged }
    })
    if (spoiled) {
      by.active.ready = false
      const culprit = done.at(-1)?.job
      if (culprit) strike(verifiedIdentity(by, culprit.question))
      waiting = [...jobs.values(), ...waiting]
    }
    send()
    for (const { job, judged } of done) job?.resolve(judged)
  }

  /** How long the present step has run; the clock of `hrtime` is one for all threads. */
  const elapsed = ({ active }: Pair) =>
    Number(process.hrtime.bigint() - Atomics.load(active.progress, PROGRESS.started)) / 1e6

  const check = (by: Pair) => {
    const { phase } = unpack(Atomics.load(by.active.progress, PROGRESS.at))
    const left = phase === PHASE.idle ? settings.deadline : settings.deadline - elapsed(by)
    if (left > 0) watch = setTimeout(check, Math.max(1, left), by)
    else replace(by, `the evaluation passed its deadline of ${settings.deadline} ms`)
  }

  const lost = (thread: Thread, why: string) => {
    if (closed) return
    if (next && (thread === next.active || thread === next.spare)) {
      const { failed } = next
      next = undefined
      failed(why)
    } else if (pair && thread === pair.active) replace(pair, why)
    else if (pair && thread === pair.spare) pair.spare = start(pair.judging)
  }

  const replace = (by: Pair, why: string) => {
    clearTimeout(watch)
    replaced++
    const { seq: at, phase } = unpack(Atomics.load(by.active.progress, PROGRESS.at))
    const jobs = away
    away = []
    stop(by.active)
    by.active = by.spare
    by.spare = start(by.judging)
    const culprit = phase === PHASE.idle ? undefined : jobs.find((job) => job.seq === at)
    // Evaluation is pure: what was in the same message is asked again, before what came later.
    const again = jobs.filter((job) => job !== culprit && ++job.attempts < 3)
    for (const job of jobs)
      if (job !== culprit && !again.includes(job)) job.resolve({ kind: 'unavailable', fault: 'queue_full' })
    waiting = [...again, ...waiting]
    if (culprit) culprit.resolve(stopped(by, culprit.question, phase === PHASE.evaluating, why))
    send()
  }

  /** The judgement of a question whose evaluation was stopped. The identity is believed only past its verification. */
  const stopped = (by: Pair, question: Question, verified: boolean, why: string): Judgement => {
    const identity = verified ? verifiedIdentity(by, question) : undefined
    strike(identity)
    if (question.ask === 'visible') return { kind: 'unavailable', fault: 'visible_undecided' }
    if (!identity) return { kind: 'unavailable', fault: 'queue_full' }
    const ports = { now: Date.now, newId }
    const more = { eval_ns: settings.deadline * 1e6, error: why, brief: true }
    return decided(by.judging.settings, ports, question, { ...question.draft, identity }, policyError(), more)
  }

  const strike = (identity: Identity | undefined) => {
    if (!identity) return
    const key = ownerKey(ownerOf(identity))
    const times = [...(strikes.get(key) ?? []), performance.now()].slice(-STRIKES)
    // Moved to the end: who struck last is forgotten last.
    strikes.delete(key)
    strikes.set(key, times)
    if (strikes.size > 1000) strikes.delete(strikes.keys().next().value ?? '')
  }

  const verifiedIdentity = (by: Pair, { who }: Question): Identity | undefined => {
    if ('identity' in who) return who.identity
    const claims = parseStrict(Buffer.from(who.assertion.split('.')[1] ?? '', 'base64url').toString('utf8'))
    const { expected } = by.judging.settings
    if (!claims.ok || !expected) return undefined
    const read = identityFromClaims(claims.value, expected, Math.floor(Date.now() / 1000))
    return read.ok ? read.identity : undefined
  }

  const suspended = ({ who }: Question): boolean => {
    if (strikes.size === 0) return false
    const owner = 'identity' in who ? ownerOf(who.identity) : claimedOwner(who.assertion)
    const times = owner && strikes.get(ownerKey(owner))
    return times?.length === STRIKES && performance.now() - (times[0] ?? 0) < STRIKE_WINDOW
  }

  const pool: Pool = {
    judge: (question) =>
      new Promise((resolve) => {
        if (!pair && !closed) return resolve({ kind: 'unavailable', fault: 'no_bundle' })
        if (closed || waiting.length >= settings.queue)
          return resolve({ kind: 'unavailable', fault: 'queue_full' })
        if (suspended(question)) return resolve({ kind: 'unavailable', fault: 'suspended' })
        waiting.push({ seq: ++seq, question, text: JSON.stringify(question), attempts: 0, resolve })
        // After all that this turn of the loop has read, so that it goes in one message.
        if (away.length === 0 && waiting.length === 1) setImmediate(send)
      }),
    async activate(judging, swapped) {
      const made: Thread[] = []
      const begin = async (): Promise<Thread> => {
        const thread = start(judging)
        made.push(thread)
        const why = await thread.started
        if (why !== undefined) throw new Error(why)
        return thread
      }
      try {
        // One after the other: what is warmed up takes its time from what is judged meanwhile.
        const active = await begin()
        const spare = await begin()
        await new Promise<void>((resolve, reject) => {
          const taken = () => {
            swapped()
            resolve()
          }
          next = { judging, active, spare, taken, failed: (why) => reject(new Error(why)) }
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
