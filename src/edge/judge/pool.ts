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
  setKeys: (jwks: string) => void
  /** threads stopped because an evaluation passed its deadline, or that died */
  replaced: () => number
  close: () => Promise<void>
}

export type PoolSettings = Omit<WorkerData, 'progress'> & {
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

type Job = {
  seq: number
  question: Question
  text: string
  attempts: number
  resolve: (judged: Judgement) => void
}
type Thread = { worker: Worker; progress: BigInt64Array; ready: boolean; started: Promise<boolean> }

/**
 * One thread judges, a second stands by warm. The deadline of an evaluation runs from its start, which the thread
 * writes into shared memory; when it passes, the thread is stopped, that question is denied, and the others move to
 * the spare. So they do while a thread that an abort has spoiled makes itself anew. Questions that come while a
 * message is away are sent together when it returns.
 */
export async function createPool(settings: PoolSettings): Promise<Pool> {
  let { jwks } = settings
  let seq = 0
  let replaced = 0
  let away: Job[] = []
  let waiting: Job[] = []
  let watch: NodeJS.Timeout | undefined
  let closed = false
  const strikes = new Map<string, number[]>()

  const start = (): Thread => {
    const progress = new SharedArrayBuffer(8 * PROGRESS.slots)
    const { module, data, settings: judge } = settings
    const worker = new Worker(new URL('./worker.ts', import.meta.url), {
      workerData: { module, data, settings: judge, jwks, progress } satisfies WorkerData,
      resourceLimits: { maxOldGenerationSizeMb: 192, maxYoungGenerationSizeMb: 16 },
    })
    const thread: Thread = {
      worker,
      progress: new BigInt64Array(progress),
      ready: false,
      started: Promise.resolve(false),
    }
    thread.started = new Promise((resolve) => {
      worker.on('message', (message: FromWorker) => {
        if ('ready' in message) {
          thread.ready = true
          resolve(true)
          send()
        } else if (thread === active) receive(message)
      })
      worker.once('error', (error) => {
        resolve(false)
        lost(thread, error.message)
      })
      worker.once('exit', () => {
        resolve(false)
        lost(thread, 'the judging thread ended')
      })
    })
    return thread
  }

  let active = start()
  let spare = start()

  const send = () => {
    if (away.length > 0 || waiting.length === 0 || closed) return
    if (!active.ready && spare.ready) [active, spare] = [spare, active]
    if (!active.ready) return
    away = waiting.splice(0, BATCH)
    Atomics.store(active.progress, PROGRESS.at, 0n)
    active.worker.postMessage({ jobs: away.map((job) => [job.seq, job.text]) } satisfies ToWorker)
    watch = setTimeout(check, settings.deadline)
  }

  const receive = ({ answers, spoiled }: Extract<FromWorker, { answers: unknown }>) => {
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
      active.ready = false
      const culprit = done.at(-1)?.job
      if (culprit) strike(verifiedIdentity(culprit.question))
      waiting = [...jobs.values(), ...waiting]
    }
    send()
    for (const { job, judged } of done) job?.resolve(judged)
  }

  /** How long the present step has run; the clock of `hrtime` is one for all threads. */
  const elapsed = () =>
    Number(process.hrtime.bigint() - Atomics.load(active.progress, PROGRESS.started)) / 1e6

  const check = () => {
    const { phase } = unpack(Atomics.load(active.progress, PROGRESS.at))
    const left = phase === PHASE.idle ? settings.deadline : settings.deadline - elapsed()
    if (left > 0) watch = setTimeout(check, Math.max(1, left))
    else replace(`the evaluation passed its deadline of ${settings.deadline} ms`)
  }

  const lost = (thread: Thread, why: string) => {
    if (closed) return
    if (thread === active) replace(why)
    else if (thread === spare) spare = start()
  }

  const replace = (why: string) => {
    clearTimeout(watch)
    replaced++
    const failed = active
    const { seq: at, phase } = unpack(Atomics.load(failed.progress, PROGRESS.at))
    const jobs = away
    away = []
    active = spare
    spare = start()
    failed.worker.terminate().catch(() => undefined)
    const culprit = phase === PHASE.idle ? undefined : jobs.find((job) => job.seq === at)
    // Evaluation is pure: what was in the same message is asked again, before what came later.
    const again = jobs.filter((job) => job !== culprit && ++job.attempts < 3)
    for (const job of jobs)
      if (job !== culprit && !again.includes(job)) job.resolve({ kind: 'unavailable', fault: 'queue_full' })
    waiting = [...again, ...waiting]
    if (culprit) culprit.resolve(stopped(culprit.question, phase === PHASE.evaluating, why))
    send()
  }

  /** The judgement of a question whose evaluation was stopped. The identity is believed only past its verification. */
  const stopped = (question: Question, verified: boolean, why: string): Judgement => {
    const identity = verified ? verifiedIdentity(question) : undefined
    strike(identity)
    if (question.ask === 'visible') return { kind: 'unavailable', fault: 'visible_undecided' }
    if (!identity) return { kind: 'unavailable', fault: 'queue_full' }
    const ports = { now: Date.now, newId }
    const more = { eval_ns: settings.deadline * 1e6, error: why, brief: true }
    return decided(settings.settings, ports, question, { ...question.draft, identity }, policyError(), more)
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

  const verifiedIdentity = ({ who }: Question): Identity | undefined => {
    if ('identity' in who) return who.identity
    const claims = parseStrict(Buffer.from(who.assertion.split('.')[1] ?? '', 'base64url').toString('utf8'))
    const { expected } = settings.settings
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

  if (!(await active.started)) throw new Error('the judging thread did not start')
  await spare.started

  return {
    judge: (question) =>
      new Promise((resolve) => {
        if (closed || waiting.length >= settings.queue)
          return resolve({ kind: 'unavailable', fault: 'queue_full' })
        if (suspended(question)) return resolve({ kind: 'unavailable', fault: 'suspended' })
        waiting.push({ seq: ++seq, question, text: JSON.stringify(question), attempts: 0, resolve })
        // After all that this turn of the loop has read, so that it goes in one message.
        if (away.length === 0 && waiting.length === 1) setImmediate(send)
      }),
    setKeys(next) {
      jwks = next
      for (const thread of [active, spare]) thread.worker.postMessage({ jwks: next } satisfies ToWorker)
    },
    replaced: () => replaced,
    async close() {
      closed = true
      clearTimeout(watch)
      for (const job of [...away, ...waiting]) job.resolve({ kind: 'unavailable', fault: 'queue_full' })
      await Promise.all([active.worker.terminate(), spare.worker.terminate()])
    },
  }
}
