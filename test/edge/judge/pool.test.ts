import type { Worker } from 'node:worker_threads'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { createPool, type Judging, type Pool } from '../../../src/edge/judge/pool.ts'
import type { FromWorker } from '../../../src/edge/judge/worker.ts'
import type { Identity } from '../../../src/pdp/identity.ts'
import type { Judgement, Question } from '../../../src/pep/ports.ts'
import { alice, judgingOf, questionOf } from '../../support/judging.ts'
import { buildBundle, ENDLESS, mainPolicy, noOpa, STUCK } from '../../support/policy.ts'

/** What a policy can do to its evaluator, by the argument `how`. */
const RULES = `
default answer := {}
how := input.arguments.how
answer := {"allow": true} if how == "allow"
answer := {"allow": true, "reasons": [], "extra": 1} if how == "unknown key"
answer := {"allow": "true"} if how == "string"
answer := {"allow": true} if { how == "undefined"; input.nothing }
answer := {"allow": conflict} if how == "conflict"
conflict := true if input.arguments
conflict := false if input.arguments.how
answer := {"allow": count(${ENDLESS}) > 0} if how == "loop"
answer := {"allow": count(${STUCK}) == 0} if how == "stuck"
answer := {"allow": count(memory) > 0} if how == "memory"
memory := [s | some a in numbers.range(1, 100000); s := concat("", [input.arguments.text, sprintf("%d", [a])])]
`
const DEADLINE = 400
/** One that no test waits for. */
const LONG = 60_000

const bob: Identity = { ...alice, subject: 'bob' }
let n = 0
const question = (how: string, more: object = {}, who: Identity = alice): Question =>
  questionOf({ decision_id: `d-${++n}`, arguments: { how, ...more } }, who)
const allowed = (judged: Judgement) => judged.kind === 'decided' && judged.decision.allow
const codes = (judged: Judgement) =>
  judged.kind === 'decided' ? judged.decision.reasons.map((reason) => reason.code) : judged.kind
const faults = (judged: Judgement) => (judged.kind === 'unavailable' ? judged.fault : judged.kind)

describe.skipIf(noOpa)('the judging threads', async () => {
  const bundle = noOpa ? undefined : await buildBundle({ 'mcp/main/main.rego': mainPolicy(RULES) })
  const lax = noOpa
    ? undefined
    : await buildBundle({ 'mcp/main/main.rego': mainPolicy('answer := {"allow": true}') })
  const pools: Pool[] = []
  const policy = (path = bundle?.path ?? '') => judgingOf(path)
  const start = async ({
    queue = 1000,
    deadline = DEADLINE,
    judging = undefined as Judging | undefined,
  } = {}) => {
    const pool = await createPool({ jwks: undefined, deadline, queue }, judging ?? (await policy()))
    pools.push(pool)
    return pool
  }
  /** All of its threads stand by. */
  const startWarm = async (how: Parameters<typeof start>[0]) => {
    let ready = 0
    const count = (worker: Worker) =>
      void worker.on('message', (message: FromWorker) => {
        if ('ready' in message) ready++
      })
    process.on('worker', count)
    try {
      const pool = await start(how)
      await expect.poll(() => ready, { timeout: 15_000 }).toBe(3)
      return pool
    } finally {
      process.off('worker', count)
    }
  }
  // What one has left to do must not be counted in the next.
  afterEach(() => Promise.all(pools.splice(0).map((pool) => pool.close())))
  afterAll(async () => {
    await bundle?.dispose()
    await lax?.dispose()
  })

  test('decide', async () => {
    const pool = await start()
    expect(allowed(await pool.judge(question('allow')))).toBe(true)
    expect(allowed(await pool.judge(question('anything')))).toBe(false)
  })

  test.each(['unknown key', 'string', 'conflict', 'memory'])(
    'I4: %s is a denial with policy_error, and the next answer is right',
    async (how) => {
      const pool = await start()
      const judged = await pool.judge(question(how, { text: 'x'.repeat(20_000) }))
      expect(codes(judged)).toEqual(['policy_error'])
      expect(judged.kind === 'decided' && judged.line).toContain('"error":{')
      expect(allowed(await pool.judge(question('allow')))).toBe(true)
    },
  )

  test('2,000 aborts among other questions change no answer (the stack of an instance would not survive 600)', async () => {
    const pool = await start({ queue: 10_000 })
    const answers = await Promise.all(
      Array.from({ length: 4000 }, (_, i) =>
        pool.judge(
          i % 2
            ? question('conflict', {}, { ...alice, subject: `someone ${i}` })
            : question(i % 4 ? 'allow' : 'no'),
        ),
      ),
    )
    expect(answers.map(allowed)).toEqual(answers.map((_judged, i) => i % 4 === 2))
  })

  test.each([
    { how: 'loop', ends: 'by itself', replaced: 0 },
    { how: 'stuck', ends: 'with its thread', replaced: 1 },
  ])(
    '$how is a denial at its deadline, and ends $ends; what was asked with it is answered',
    async ({ how, replaced }) => {
      const pool = await startWarm({})
      const began = performance.now()
      const others = Array.from({ length: 20 }, () => pool.judge(question('allow')))
      const loop = pool.judge(question(how))
      const later = Array.from({ length: 20 }, () => pool.judge(question('allow')))
      const judged = await loop
      expect(codes(judged)).toEqual(['policy_error'])
      expect(judged.kind === 'decided' && judged.line).toContain('in time for the deadline')
      for (const answer of await Promise.all([...others, ...later])) expect(allowed(answer)).toBe(true)
      // The last tenth is for the denial.
      expect(performance.now() - began).toBeGreaterThanOrEqual(DEADLINE * 0.9)
      expect(pool.replaced()).toBe(replaced)
      expect(pool.failed()).toBe(1)
      expect(allowed(await pool.judge(question('allow')))).toBe(true)
    },
  )

  test('nothing runs on once it is closed', async () => {
    const workers: Worker[] = []
    const keep = (worker: Worker) => void workers.push(worker)
    process.on('worker', keep)
    const pool = await startWarm({})
    expect(codes(await pool.judge(question('stuck')))).toEqual(['policy_error'])
    await expect.poll(() => pool.replaced(), { timeout: 5_000, interval: 1 }).toBe(1)
    await pool.close()
    process.off('worker', keep)
    expect(workers.length).toBeGreaterThanOrEqual(3)
    expect(workers.filter(({ threadId }) => threadId !== -1)).toEqual([])
  })

  test('an evaluation that takes long holds up nobody: not what was sent with it, nor what comes later', async () => {
    const pool = await start({ deadline: LONG })
    let settled = false
    void pool.judge(question('loop')).finally(() => {
      settled = true
    })
    const ask = () => pool.judge(question('allow', {}, bob))
    for (const judged of await Promise.all(Array.from({ length: 40 }, ask)))
      expect(allowed(judged)).toBe(true)
    for (let i = 0; i < 40; i++) expect(allowed(await ask())).toBe(true)
    expect(settled).toBe(false)
    expect(pool.replaced()).toBe(0)
  })

  test('who has an answer on its way does not wait for the evaluation after it', async () => {
    const pool = await startWarm({ deadline: LONG })
    let settled = false
    const first = pool.judge(question('allow', {}, bob))
    void pool.judge(question('loop')).finally(() => {
      settled = true
    })
    const second = pool.judge(question('allow', {}, bob))
    // Busy for so long, this thread looks at the other before it hears of the first answer.
    setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300))
    for (const judged of await Promise.all([first, second])) expect(allowed(judged)).toBe(true)
    expect(settled).toBe(false)
  })

  test('one identity has one thread at a time, and others are judged meanwhile', async () => {
    const pool = await startWarm({ deadline: 2_000 })
    const loops: Judgement[] = []
    const ends: number[] = []
    for (let i = 0; i < 3; i++)
      void pool.judge(question('loop')).then((judged) => {
        loops.push(judged)
        ends.push(performance.now())
      })
    const meanwhile = new Set<number>()
    while (loops.length < 2) {
      expect(allowed(await pool.judge(question('allow', {}, bob)))).toBe(true)
      meanwhile.add(loops.length)
    }
    // Had they run side by side, there would have been no time between the first and the second.
    expect([...meanwhile].slice(0, 2)).toEqual([0, 1])
    expect(loops.map(codes)).toEqual([['policy_error'], ['policy_error']])
    // What it waits for its own does not count against it: else there would be half of that between them.
    const [first, second] = ends as [number, number]
    expect(second - first).toBeGreaterThan(1_500)
  })

  test('after a strike nobody gets the last thread', async () => {
    const pool = await start({ deadline: LONG })
    await pool.judge(question('conflict'))
    const slow = ['carol', 'dave'].map((subject) => pool.judge(question('loop', {}, { ...alice, subject })))
    let settled = false
    const suspect = pool.judge(question('allow')).finally(() => {
      settled = true
    })
    for (let i = 0; i < 20; i++) expect(allowed(await pool.judge(question('allow', {}, bob)))).toBe(true)
    expect(settled).toBe(false)
    await pool.activate(await policy(lax?.path), () => undefined)
    for (const judged of await Promise.all([...slow, suspect])) expect(allowed(judged)).toBe(true)
  })

  test('what a thread is at when another policy comes is asked of that policy', async () => {
    const pool = await start({ deadline: LONG })
    const loop = pool.judge(question('loop'))
    // It has been left alone with its thread once another is answered.
    await pool.judge(question('allow', {}, bob))
    await pool.activate(await policy(lax?.path), () => undefined)
    expect(allowed(await loop)).toBe(true)
    expect(pool.replaced()).toBe(0)
  })

  test('a policy that comes in the moment in which an evaluation is left alone: it counts once', async () => {
    const begun: Worker[] = []
    let loop: Promise<Judgement> | undefined
    let asks = false
    const ask = (worker: Worker) => {
      if (begun.push(worker) < 2 || !asks) return
      asks = false
      // On its way to the old policy just before the new one could take over.
      worker.prependOnceListener('message', () => {
        loop = pool.judge(question('stuck'))
      })
    }
    process.on('worker', ask)
    const judging = await policy()
    const pool = await start({ judging })
    try {
      await expect.poll(() => begun.length, { timeout: 15_000 }).toBe(3)
      begun.length = 0
      asks = true
      await pool.activate({ ...judging }, () => undefined)
    } finally {
      process.off('worker', ask)
    }
    expect(codes((await loop) as Judgement)).toEqual(['policy_error'])
    // By the time that this has ended, all that could come of the first has.
    expect(codes(await pool.judge(question('stuck', {}, bob)))).toEqual(['policy_error'])
    await expect.poll(() => pool.replaced(), { timeout: 5_000 }).toBe(2)
    expect(codes(await pool.judge(question('conflict')))).toEqual(['policy_error'])
    // Two strikes.
    expect(allowed(await pool.judge(question('allow')))).toBe(true)
  })

  test('threads that cannot start are started later and later; without one each question is refused at once', async () => {
    const judging = await policy()
    const starts: number[] = []
    const started = () => starts.push(performance.now())
    process.on('worker', started)
    try {
      const pool = await start({ judging })
      await expect.poll(() => starts.length, { timeout: 15_000 }).toBe(3)
      starts.length = 0
      judging.data = 'no JSON'
      // Each ends one of those that were warm; the last question finds none.
      for (let i = 0; pool.replaced() < 3 && i < 10; i++)
        await pool.judge(question('stuck', {}, { ...alice, subject: `someone ${i}` }))
      expect(await pool.judge(question('allow'))).toEqual({ kind: 'unavailable', fault: 'queue_full' })
      await expect.poll(() => starts.length, { timeout: 15_000 }).toBeGreaterThanOrEqual(5)
      const gaps = starts.slice(1).map((at, i) => at - (starts[i] ?? 0))
      // The first follows at once; then 200, 400, 800 ms at least, whatever the threads need to fail. A busy machine
      // tells of a start a little after it.
      expect(gaps[1]).toBeGreaterThan(100)
      expect(gaps[2]).toBeGreaterThan(300)
      expect(gaps[3]).toBeGreaterThan(700)
    } finally {
      process.off('worker', started)
    }
  }, 60_000)

  test('a policy of which a thread ends while the next one starts is not taken', async () => {
    const begun: Worker[] = []
    let fatal = false
    const count = (worker: Worker) => {
      if (begun.push(worker) === 2 && fatal) void begun[0]?.terminate()
    }
    process.on('worker', count)
    const judging = await policy()
    const pool = await start({ judging })
    try {
      await expect.poll(() => begun.length, { timeout: 15_000 }).toBe(3)
      begun.length = 0
      fatal = true
      await expect(pool.activate({ ...judging }, () => undefined)).rejects.toThrow('ended')
    } finally {
      process.off('worker', count)
    }
    // The one that was there goes on.
    expect(allowed(await pool.judge(question('allow')))).toBe(true)
  })

  test('an identity whose evaluations abort three times waits; the next person is not made to pay', async () => {
    const pool = await start()
    for (let i = 0; i < 3; i++) {
      const [poison, innocent] = await Promise.all([
        pool.judge(question('conflict')),
        pool.judge(question('allow', {}, bob)),
      ])
      expect(codes(poison)).toEqual(['policy_error'])
      expect(allowed(innocent)).toBe(true)
    }
    expect(await pool.judge(question('allow'))).toEqual({ kind: 'unavailable', fault: 'suspended' })
    expect(allowed(await pool.judge(question('allow', {}, bob)))).toBe(true)
    expect(pool.replaced()).toBe(0)
  })

  test('so does all that it has asked before the third', async () => {
    const pool = await start()
    const poison = await Promise.all(Array.from({ length: 8 }, () => pool.judge(question('conflict'))))
    expect(poison.slice(0, 3).map(codes)).toEqual(Array(3).fill(['policy_error']))
    expect(poison.slice(3).map(faults)).toEqual(Array(5).fill('suspended'))
    expect(allowed(await pool.judge(question('allow', {}, bob)))).toBe(true)
  })

  test('an identity whose evaluations had to be stopped three times waits; others do not', async () => {
    const pool = await start()
    for (const how of ['loop', 'stuck', 'loop'])
      expect(codes(await pool.judge(question(how)))).toEqual(['policy_error'])
    expect(await pool.judge(question('allow'))).toEqual({ kind: 'unavailable', fault: 'suspended' })
    expect(allowed(await pool.judge(question('allow', {}, bob)))).toBe(true)
  })

  test('a queue that is full says so at once', async () => {
    const pool = await start({ queue: 5 })
    const answers = await Promise.all(Array.from({ length: 50 }, () => pool.judge(question('allow'))))
    expect(answers.filter((judged) => judged.kind === 'unavailable').length).toBeGreaterThan(0)
    expect(answers.filter(allowed).length).toBeGreaterThan(0)
    expect(answers.every((judged) => judged.kind === 'unavailable' || allowed(judged))).toBe(true)
  })

  test('an identity is not believed before its signature is', async () => {
    const pool = await start()
    expect(await pool.judge({ ...question('allow'), who: { assertion: 'a.b.c' } })).toEqual({
      kind: 'unavailable',
      fault: 'keys_unavailable',
    })
  })

  test('another identity’s session is foreign, before the policy is asked', async () => {
    const pool = await start()
    const owner = { issuer: '', subject: 'bob', audience: '' }
    expect(await pool.judge({ ...question('loop'), owner })).toMatchObject({ kind: 'foreign_session' })
  })

  test('visible answers for all items in one evaluation', async () => {
    const pool = await start()
    const asked = question('')
    asked.draft.items = ['a', 'hidden', 'b'].map((key) => ({ kind: 'tool', key }))
    expect(await pool.judge({ ...asked, ask: 'visible' })).toEqual({
      kind: 'visible',
      visible: [
        [0, true],
        [2, true],
      ],
    })
  })
})
