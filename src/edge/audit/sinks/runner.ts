import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import type { DeadLetters } from './dead-letters.ts'
import {
  type Answer,
  type Batching,
  idOf,
  kindOf,
  type Line,
  lineOf,
  type Sink,
  type Source,
} from './sink.ts'

export type SinkState = {
  name: string
  type: string
  /** whether the last batch was taken; undefined before there was one */
  up: boolean | undefined
  /** what came back last, when it was not taken */
  error: string | undefined
  status: number | undefined
  /** of all taken since the start */
  events: number
  bytes: number
  chunks: number
  /** requests that were not taken */
  failed: number
  retries: number
  deadLetters: number
  /** what of the spool is not taken yet; `since`: when the oldest of it was recorded, in milliseconds since the epoch */
  behind: { lines: number; bytes: number; since: number | undefined }
}

export type Runner = {
  state: () => SinkState
  /**
   * Sends what is there without waiting for more, for at most so many milliseconds, then lets go.
   * @returns whether all of it was taken
   */
  stop: (within: number) => Promise<boolean>
}

export type RunnerSettings = {
  batching: Batching
  /** milliseconds: the wait after the first failure, doubled with each up to the most; `slow` is for faults of settings */
  backoff: { least: number; most: number; slow: number }
  /** kinds of events that are sent; undefined: all */
  events?: ReadonlySet<string>
}

/** Characters that are parsed and projected in one go: decisions are made on the same event loop. */
const SLICE = 32 << 10

/** Milliseconds that a sink has to let go of what it holds, when it may do no more. */
const LET_GO = 1_000

/** What an operator is told of, beside the metrics. */
export type Told = { kind: Answer['kind'] | 'dead_letter'; said: string; event_id?: string }

/**
 * Carries records from the spool to a sink: in order, one batch at a time, each until it is taken, what is never taken to
 * the dead letters. The cursor moves when a batch is done with, so a process that dies sends the last batch again; each
 * event has its `event_id`. Nothing is held but the batch in hand, however long a sink is away.
 */
export function runSink(
  sink: Sink,
  source: Source,
  dead: DeadLetters,
  settings: RunnerSettings,
  say: (sink: Sink, told: Told) => void,
  random: () => number = Math.random,
): Runner {
  const { batching, backoff } = settings
  const ended = new AbortController()
  const { signal } = ended
  let stopping = false
  let gone = false
  let failures = 0
  let buried: string | undefined
  const state = {
    up: undefined as boolean | undefined,
    error: undefined as string | undefined,
    events: 0,
    bytes: 0,
    chunks: 0,
    failed: 0,
    retries: 0,
    deadLetters: 0,
  }

  /** Ends a wait early: at the stop, what can be sent is sent at once. */
  let rouse = new AbortController()
  const pause = async (ms: number) => {
    if (signal.aborted) return
    rouse = new AbortController()
    await sleep(ms, undefined, { signal: rouse.signal }).catch(() => undefined)
  }
  /** @returns whether there may be more */
  const wait = () => {
    rouse = new AbortController()
    return source.wait(undefined, rouse.signal)
  }

  /** Waits between a failure and the next attempt: full jitter, so that many sidecars do not come back at once. */
  const back = (answer: { after?: number; slow?: boolean }) => {
    state.retries++
    const ceiling = answer.slow ? backoff.slow : Math.min(backoff.most, backoff.least * 2 ** failures)
    failures++
    // A receiver may ask for patience; it may not ask for a day.
    const asked = Math.min(answer.after ?? 0, 10 * backoff.most)
    return pause(Math.max(asked, ceiling * (0.5 + random() / 2)))
  }

  const bury = async (line: Line, said: string, why = said) => {
    // The first of a row: a receiver that takes none must not fill the log too.
    if (said !== buried) say(sink, { kind: 'dead_letter', said, event_id: idOf(line) })
    buried = said
    while (!signal.aborted) {
      const fault = await dead.put(sink.name, line, why)
      if (fault === undefined) {
        state.deadLetters++
        return
      }
      // Nothing goes on before it is kept somewhere.
      state.up = false
      state.error = `dead letters: ${fault}`
      say(sink, { kind: 'retry', said: state.error })
      await back({})
    }
  }

  /** Until every line is taken or buried, or the runner ends. */
  const deliver = async (lines: Line[]) => {
    const parts = [lines]
    for (let part = parts.shift(); part && !signal.aborted && !gone; part = parts.shift()) {
      const answer = await sink.send(part, signal)
      if (signal.aborted && answer.kind !== 'accepted') return
      if (answer.kind === 'accepted') {
        taken(part)
        continue
      }
      if (answer.kind === 'too_large' && part.length > 1) {
        parts.unshift(...halves(part))
        continue
      }
      state.failed++
      state.up = false
      if (answer.said !== state.error) say(sink, { kind: answer.kind, said: answer.said })
      state.error = answer.said
      if (answer.kind === 'gone') gone = true
      else if (answer.kind === 'retry') {
        parts.unshift(part)
        await back(answer)
      } else if (answer.kind === 'partly') {
        const again = new Set(answer.again)
        taken(part.filter((_line, index) => !again.has(index) && !answer.refused.has(index)))
        for (const [index, why] of answer.refused) await bury(part[index] as Line, answer.said, why)
        if (again.size > 0) {
          state.up = false
          state.error = answer.said
          parts.unshift(part.filter((_line, index) => again.has(index)))
          await back(answer)
        }
      } else if (part.length === 1)
        await bury(part[0] as Line, answer.said, [answer.said, answer.detail].filter(Boolean).join(': '))
      else parts.unshift(...halves(part))
    }
  }
  const taken = (part: Line[]) => {
    if (part.length === 0) return
    state.up = true
    state.error = undefined
    failures = 0
    state.chunks++
    state.events += part.length
    state.bytes += part.reduce((sum, line) => sum + Buffer.byteLength(line.text) + 1, 0)
  }

  const fill = async () => {
    const limits = { lines: batching.count, bytes: batching.bytes }
    const first = await source.read(limits)
    const size = first.lines.reduce((sum, { text }) => sum + text.length, 0)
    if (first.lines.length === 0 || stopping || batching.period === 0) return first
    if (first.lines.length >= batching.count || size >= batching.bytes) return first
    await pause(batching.period)
    return source.read(limits)
  }
  const carry = async () => {
    while (!signal.aborted) {
      const last = stopping
      const read = await fill()
      if (read.lines.length === 0) {
        if (last) return
        // Nothing more will be written to a spool that is closed.
        if (!stopping && !(await wait()) && !stopping) return
        continue
      }
      const lines: Line[] = []
      let slice = 0
      for (const { text } of read.lines) {
        slice += text.length
        if (slice > SLICE) {
          slice = 0
          await setImmediate()
        }
        const line = lineOf(text)
        if (!line) await bury({ text, event: {} }, 'is no JSON object')
        else if (settings.events === undefined || settings.events.has(kindOf(line))) {
          sink.prepare?.(line)
          lines.push(line)
        }
      }
      if (lines.length > 0 && !gone) await deliver(lines)
      if (signal.aborted) return
      // One that has gone holds up neither the others nor what the spool may delete.
      await source.commit(read.next)
    }
  }
  const work = async () => {
    while (!signal.aborted) {
      try {
        return await carry()
      } catch (error) {
        // The spool could not be read, or the cursor not be written: what was sent is sent again.
        state.up = false
        state.error = (error as Error).message
        say(sink, { kind: 'retry', said: state.error })
        await back({})
      }
    }
  }
  const done = work()

  return {
    state: () => ({
      name: sink.name,
      type: sink.type,
      ...state,
      status: sink.status?.(),
      behind: source.lag(),
    }),
    async stop(within) {
      stopping = true
      rouse.abort()
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<false>((resolve) => {
        timer = setTimeout(() => resolve(false), within)
      })
      const clean = await Promise.race([done.then(() => !gone), late])
      clearTimeout(timer)
      ended.abort()
      rouse.abort()
      // A disk that does not answer must not keep the process.
      await Promise.race([done.then(sink.close), sleep(LET_GO, undefined, { ref: false })])
      return clean
    },
  }
}

const halves = (part: Line[]): Line[][] => {
  const middle = Math.ceil(part.length / 2)
  return [part.slice(0, middle), part.slice(middle)]
}
