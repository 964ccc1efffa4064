import type { Worker } from 'node:worker_threads'
import { afterAll, describe, expect, test } from 'vitest'
import { createPool, type Judging } from '../../../src/edge/judge/pool.ts'
import type { Identity } from '../../../src/pdp/identity.ts'
import type { Judgement } from '../../../src/pep/ports.ts'
import { createRandom } from '../../../tools/fuzz/random.ts'
import { alice, judgingOf, questionOf } from '../../support/judging.ts'
import { buildBundle, ENDLESS, mainPolicy, noOpa, STUCK } from '../../support/policy.ts'

/** An answer says of which question and of which policy it is. */
const RULES = `
default answer := {}
how := input.arguments.how
me := sprintf("%d %s", [data.policy, input.decision_id])
answer := {"allow": true, "reasons": [{"code": "quick", "title": me}]} if how == "quick"
answer := {"allow": false, "reasons": [{"code": "slow", "title": me}]} if { how == "slow"; sum(numbers.range(1, input.arguments.n)) > 0 }
answer := {"allow": conflict} if how == "abort"
conflict := true if input.arguments
conflict := false if input.arguments.how
answer := {"allow": count(${ENDLESS}) > 0} if how == "loop"
answer := {"allow": count(${STUCK}) == 0} if how == "stuck"
`
/** Long beside what a machine that has much else to do takes for a quick one. */
const DEADLINE = 1_000
const QUESTIONS = 400
const KINDS = ['quick', 'slow', 'abort', 'loop', 'stuck'] as const
type Asked = { id: string; how: (typeof KINDS)[number]; who: string; least: number }

describe.skipIf(noOpa)('whatever happens meanwhile', async () => {
  const bundle = noOpa ? undefined : await buildBundle({ 'mcp/main/main.rego': mainPolicy(RULES) })
  afterAll(() => bundle?.dispose())

  test.each([
    { seed: 1, kills: 0 },
    { seed: 2, kills: 3 },
  ])(
    'each question has one answer: its own, of one policy (%o)',
    async ({ seed, kills }) => {
      const random = createRandom(seed)
      const given = await judgingOf(bundle?.path ?? '')
      const judging = (policy: number): Judging => ({ ...given, data: JSON.stringify({ policy }) })
      const workers: Worker[] = []
      const keep = (worker: Worker) => void workers.push(worker)
      process.on('worker', keep)
      const alive = () => workers.filter(({ threadId }) => threadId !== -1)
      const pool = await createPool({ jwks: undefined, deadline: DEADLINE, queue: 1000 }, judging(0))
      const pause = () => new Promise((resolve) => setTimeout(resolve, random.int(30)))
      let policy = 0
      let killed = 0
      let answers = 0
      let spoilt = 0

      const check = ({ id, how, who, least }: Asked, judged: Judgement) => {
        answers++
        const said = `${id} ${how} of ${who}: ${JSON.stringify(judged).slice(0, 300)}`
        if (judged.kind === 'unavailable') {
          if (how === 'quick' && who.startsWith('innocent')) spoilt++
          // What three policies in turn did not come to the end of is refused.
          else if (killed === 0 && how !== 'loop' && how !== 'stuck')
            expect(judged.fault, said).toBe('suspended')
          return
        }
        if (judged.kind !== 'decided') throw new Error(said)
        expect(judged.identity.subject, said).toBe(who)
        const { allow, reasons } = judged.decision
        expect(allow && how !== 'quick', said).toBe(false)
        if (reasons[0]?.code === 'policy_error') {
          if (how === 'quick' || how === 'slow') spoilt++
          return
        }
        expect(reasons[0]?.code, said).toBe(how)
        expect(allow, said).toBe(how === 'quick')
        const [by, of] = (reasons[0]?.title ?? '').split(' ')
        expect(of, said).toBe(id)
        expect(Number(by), said).toBeGreaterThanOrEqual(least)
      }

      const ask = async (id: string): Promise<void> => {
        const how = random.chance(0.8) ? 'quick' : random.pick(KINDS)
        const guilty = how === 'abort' || how === 'loop' || how === 'stuck' || random.chance(0.1)
        const who = `${guilty ? 'guilty' : 'innocent'} ${random.int(guilty ? 2 : 20)}`
        const asked: Asked = { id, how, who, least: policy }
        const identity: Identity = { ...alice, subject: who }
        const question = questionOf(
          { decision_id: id, arguments: { how, n: random.int(30_000) + 1 } },
          identity,
        )
        check(asked, await pool.judge(question))
      }

      const changes = (async () => {
        for (let i = 1; i <= 4; i++) {
          await pause()
          const turned = pool.activate(judging(i), () => {
            policy = i
          })
          // A thread that is ended from outside may be one of those that start.
          await (kills > 0 ? turned.catch(() => undefined) : turned)
        }
      })()
      const all: Promise<void>[] = []
      for (let i = 0; i < QUESTIONS; i++) {
        all.push(ask(`d-${i}`))
        if (random.chance(0.2)) await pause()
        if (killed < kills && random.chance(0.02)) {
          killed++
          void random.pick(alive())?.terminate()
        }
      }
      await Promise.all([changes, ...all])
      expect(answers).toBe(QUESTIONS)
      // What a thread was at that was ended is denied, and what could not be asked anew.
      if (killed === 0) expect(spoilt).toBe(0)
      await expect.poll(() => alive().length, { timeout: 15_000 }).toBe(3)
      await pool.close()
      process.off('worker', keep)
      expect(alive()).toEqual([])
    },
    60_000,
  )
})
