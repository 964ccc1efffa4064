import { parseExact } from '../../mcp/strict-json.ts'
import type { Identity } from '../../pdp/identity.ts'
import type { Judgement, Question } from '../../pep/ports.ts'
import { now, type Step, TooLate } from './progress.ts'
import { stoppedJudgement, verifiedIdentity } from './stopped.ts'
import { claimed, createStrikes, STRIKES } from './strikes.ts'
import { type Job, startThread, type Thread, type ThreadEvents } from './thread.ts'
import type { Answered, WorkerData } from './worker.ts'

export type Pool = {
  judge: (question: Question) => Promise<Judgement>
  /**
   * Takes another policy: threads that are warm with it judge all that is not yet being judged.
   * @param swapped called in the moment from which on the new policy judges
   * @throws Error if its threads do not start; the policy that was there goes on
   */
  activate: (judging: Judging, swapped: () => void) => Promise<void>
  setKeys: (jwks: string) => void
  /** evaluations that aborted or passed their deadline */
  failed: () => number
  /** threads that died, or were stopped in an evaluation that passed its deadline and did not end by itself */
  replaced: () => number
  close: () => Promise<void>
}

/** A policy, and how it is asked. */
export type Judging = Pick<WorkerData, 'module' | 'data' | 'settings'>

export type PoolSettings = {
  jwks: string | undefined
  /** milliseconds in which a question has its answer */
  deadline: number
  /** questions that may wait */
  queue: number
}

/** Questions in one message to the thread: enough to spare wake-ups, few enough that none waits long for its reply. */
const BATCH = 32
/** Milliseconds that the others wait for one evaluation, many times what one takes; then they go to a spare. */
const PATIENCE = 10
/** Milliseconds after its denial in which an evaluation ends itself, if it asks whether to go on; else it is stopped. */
const GRACE = 20
/** Threads that stand by warm: as many as one identity may have stopped before it waits, less the one that judges. */
const SPARES = STRIKES - 1
/** Milliseconds after which a thread is started again that ended before it was ready; doubled each time. */
const RESTART = { first: 100, most: 30_000 }

/** Threads that judge by one policy: all that are alive; fewer than there should be while one cannot start. */
type Crew = { judging: Judging; threads: Thread[]; failures: number }
type Next = { crew: Crew; taken: () => void; failed: (why: string) => void }

/**
 * One thread judges, others stand by warm. Questions that come while a message is away are sent together when it
 * returns. An evaluation that takes longer than `PATIENCE` is left alone with its thread, and all others go to a
 * spare; when it passes its deadline, that question is denied. The evaluation then ends itself, or is stopped with its
 * thread. All go to a spare, too, while a thread that an abort or its deadline has spoiled makes itself anew. Nobody has two threads at once, nor the last one after a strike.
 * Another policy comes with threads of its own; a question is answered by one policy, whole. Without a policy every
 * question is `no_bundle`.
 */
export async function createPool(settings: PoolSettings, first?: Judging): Promise<Pool> {
  let { jwks } = settings
  const late = new TooLate(settings.deadline).message
  const patience = Math.min(PATIENCE, settings.deadline / 2)
  let seq = 0
  let failed = 0
  let replaced = 0
  let waiting: Job[] = []
  let closed = false
  let soon = false
  const strikes = createStrikes()

  /** All that run, of whatever crew. */
  const threads = new Set<Thread>()
  let crew: Crew | undefined
  let next: Next | undefined

  const start = (judging: Judging): Thread => {
    const thread = startThread({ ...judging, jwks, deadline: settings.deadline }, events)
    threads.add(thread)
    return thread
  }

  /** What they are in takes a moment to end. */
  const stopping = new Set<Promise<unknown>>()
  const stop = (thread: Thread) => {
    threads.delete(thread)
    const stopped = thread.stop().finally(() => stopping.delete(stopped))
    stopping.add(stopped)
  }

  const isOfCrew = (thread: Thread) => crew?.threads.includes(thread) === true

  const events: ThreadEvents = {
    ready(thread, first) {
      // One that was spoiled says nothing of those that cannot start.
      if (first && crew && isOfCrew(thread)) {
        crew.failures = 0
        fill(crew)
      }
      send()
    },
    answer(thread, message) {
      if (crew && isOfCrew(thread)) receive(crew, thread, message)
    },
    ended(thread, why) {
      threads.delete(thread)
      if (closed) return
      if (next?.crew.threads.includes(thread)) {
        const { failed } = next
        next = undefined
        failed(why)
      } else if (crew && isOfCrew(thread)) {
        if (thread.state !== 'starting') replaced++
        if (thread.jobs.length > 0) return replace(crew, thread, thread.progress.step(), why)
        crew.threads = crew.threads.filter((other) => other !== thread)
        again(crew, thread.state === 'starting')
      }
    },
  }

  /** One at a time: what starts takes its time from what is judged meanwhile. */
  const fill = (of: Crew) => {
    if (closed || of !== crew || of.threads.length > SPARES) return
    if (of.threads.some((thread) => thread.state === 'starting')) return
    of.threads.push(start(of.judging))
  }

  /** A thread in place of one that ended by itself: at once, but later and later if none becomes ready. */
  const again = (of: Crew, failed: boolean) => {
    if (!failed) {
      fill(of)
      return send()
    }
    const delay = of.failures === 0 ? 0 : Math.min(RESTART.first * 2 ** of.failures, RESTART.most)
    of.failures++
    setTimeout(fill, delay, of).unref()
    send()
  }

  /** Another policy takes over between two messages. What the old threads cannot end with is asked of the new ones. */
  const turn = () => {
    if (!next) return
    const old = crew?.threads ?? []
    const { taken } = next
    crew = next.crew
    next = undefined
    const left = old.flatMap((thread) => thread.jobs.filter((job) => !job.denied))
    for (const thread of old) stop(thread)
    taken()
    fill(crew)
    anew(left)
  }

  /** Evaluation is pure: what has no answer is asked again, before what came later. */
  const anew = (jobs: Job[]) => {
    waiting = [...jobs.filter((job) => ++job.attempts < 3), ...waiting]
    for (const job of jobs) if (job.attempts >= 3) job.resolve({ kind: 'unavailable', fault: 'queue_full' })
  }

  const send = () => {
    soon = false
    if (closed || crew?.threads.some(({ state }) => state === 'busy')) return
    turn()
    if (waiting.length === 0 || !crew) return
    const of = crew
    const free = of.threads.filter(({ state }) => state === 'ready')
    const [thread] = free
    if (!thread) {
      // None can start, nor comes back: nobody knows when there will be one.
      if (of.failures > 1 && of.threads.every(({ state }) => state === 'starting'))
        for (const job of waiting.splice(0)) job.resolve({ kind: 'unavailable', fault: 'queue_full' })
      return
    }
    const jobs = choose(of, free.length === 1)
    if (jobs.length === 0) return
    for (const job of jobs) {
      if (!job.held) continue
      job.asked = now()
      job.held = false
    }
    thread.jobs = jobs
    thread.state = 'busy'
    thread.post({ jobs: jobs.map((job) => [job.seq, job.asked, job.text]) })
    thread.watch = setTimeout(look, patience, of, thread)
  }

  const ownerOf = (job: Job): string => (job.owner ??= claimed(job.question.who))

  const struck = (identity: Identity | undefined) => {
    if (identity) failed++
    strikes.add(identity)
  }

  /** Who was suspended while these waited. */
  const bar = () => {
    waiting = waiting.filter((job) => {
      if (!strikes.suspended(ownerOf(job))) return true
      job.resolve({ kind: 'unavailable', fault: 'suspended' })
      return false
    })
  }

  /** What goes in the next message. `last`: no other thread is free. */
  const choose = (of: Crew, last: boolean): Job[] => {
    if (strikes.any()) bar()
    // Those before the last are answered, and nobody need wait for the news of that.
    const slow = new Set(
      of.threads.filter(({ state }) => state === 'slow').flatMap(({ jobs }) => jobs.slice(-1).map(ownerOf)),
    )
    // Where threads cannot start, nobody knows when there will be more than one.
    const kept = last && of.failures === 0
    if (slow.size === 0 && !(kept && strikes.any())) return waiting.splice(0, BATCH)
    const jobs: Job[] = []
    waiting = waiting.filter((job) => {
      const who = ownerOf(job)
      if (jobs.length === BATCH) return true
      if (slow.has(who) || (kept && strikes.struck(who))) {
        job.held = true
        return true
      }
      jobs.push(job)
      return false
    })
    return jobs
  }

  const receive = (by: Crew, thread: Thread, message: Parameters<ThreadEvents['answer']>[1]) => {
    const job = message.answer && answered(thread, message.answer)
    if (!('spoiled' in message)) return
    clearTimeout(thread.watch)
    if (message.spoiled && job) struck(verifiedIdentity(by.judging.settings, job.question))
    thread.state = message.spoiled ? 'spoiled' : 'ready'
    waiting = [...thread.jobs.splice(0), ...waiting]
    send()
  }

  const answered = (thread: Thread, [of, text, line]: Answered): Job | undefined => {
    const at = thread.jobs.findIndex((job) => job.seq === of)
    const [job] = at < 0 ? [] : thread.jobs.splice(at, 1)
    if (!job || job.denied) return undefined
    const judged = parseExact(text) as unknown as Judgement
    if (judged.kind === 'decided') judged.line = line as typeof judged.line
    job.resolve(judged)
    return job
  }

  /** Looks at a thread that has questions: whether it has been at one of them for too long. */
  const look = (by: Crew, thread: Thread) => {
    const step = thread.progress.step()
    if (thread.state === 'busy' && step.ms >= patience && thread.progress.handOver(step))
      leave(thread, step.seq)
    // Another policy took over in that moment: what it was at is asked of that one.
    if (!threads.has(thread)) return
    const { over } = step
    if (thread.state === 'slow' && over >= 0) deny(by, thread, step, late)
    if (thread.state === 'slow' && over >= GRACE) {
      replaced++
      return replace(by, thread, step, late)
    }
    const left = thread.state !== 'slow' ? patience - step.ms : over < 0 ? -over : GRACE - over
    thread.watch = setTimeout(look, Math.max(1, left), by, thread)
  }

  /** Alone with the question it is at. Those before it have their answer, on its way here. */
  const leave = (thread: Thread, at: number) => {
    const rest = thread.jobs.splice(thread.jobs.findIndex((job) => job.seq === at) + 1)
    thread.state = 'slow'
    waiting = [...rest, ...waiting]
    send()
  }

  /** Whatever the thread still says of it. */
  const deny = (by: Crew, { jobs }: Thread, { seq: at, phase, ms }: Step, why: string) => {
    const job = phase === 'idle' ? undefined : jobs.find(({ seq }) => seq === at)
    if (!job || job.denied) return
    job.denied = true
    const { settings: how } = by.judging
    const identity = phase === 'evaluating' ? verifiedIdentity(how, job.question) : undefined
    struck(identity)
    job.resolve(stoppedJudgement(how, job.question, identity, ms, why))
  }

  const replace = (by: Crew, thread: Thread, step: Step, why: string) => {
    stop(thread)
    by.threads = by.threads.filter((other) => other !== thread)
    deny(by, thread, step, why)
    anew(thread.jobs.filter((job) => !job.denied))
    // Else one that could not start is started again in its time.
    if (by.failures === 0) fill(by)
    send()
  }

  const pool: Pool = {
    judge: (question) =>
      new Promise((resolve) => {
        if (!crew && !closed) return resolve({ kind: 'unavailable', fault: 'no_bundle' })
        if (closed || waiting.length >= settings.queue)
          return resolve({ kind: 'unavailable', fault: 'queue_full' })
        const job: Job = {
          seq: ++seq,
          question,
          text: JSON.stringify(question),
          asked: now(),
          attempts: 0,
          resolve,
        }
        if (strikes.any() && strikes.suspended(ownerOf(job)))
          return resolve({ kind: 'unavailable', fault: 'suspended' })
        waiting.push(job)
        // After all that this turn of the loop has read, so that it goes in one message.
        if (!soon) setImmediate(send)
        soon = true
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
      for (const thread of threads) thread.post({ jwks: to })
    },
    failed: () => failed,
    replaced: () => replaced,
    async close() {
      closed = true
      const left = [...[...threads].flatMap((thread) => thread.jobs), ...waiting]
      for (const job of left) job.resolve({ kind: 'unavailable', fault: 'queue_full' })
      await Promise.all([...[...threads].map((thread) => thread.stop()), ...stopping])
    },
  }
  if (first) await pool.activate(first, () => undefined)
  return pool
}
