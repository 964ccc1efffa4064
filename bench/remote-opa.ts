import { Pool } from 'undici'
import { newId } from '../src/edge/id.ts'
import { type Keys, verifyAssertion } from '../src/edge/judge/assertion.ts'
import { decided, type JudgeSettings, VISIBLE } from '../src/edge/judge/judge.ts'
import { policyError, readDecision } from '../src/pdp/decision.ts'
import { type Identity, ownerOf, sameOwner } from '../src/pdp/identity.ts'
import type { Input } from '../src/pdp/input.ts'
import { readVisible } from '../src/pdp/visible.ts'
import type { Judgement, Question } from '../src/pep/ports.ts'

/**
 * What `judge.ts` does, with `evaluate` asked of an OPA server over HTTP (`POST /v1/data/<path>`) and the assertion
 * verified here. For the measurement only: it has no deadline and is no part of the sidecar.
 */
export function createRemoteJudge(
  settings: JudgeSettings,
  keys: Keys | undefined,
  opaUrl: string,
): (question: Question) => Promise<Judgement> {
  const pool = new Pool(opaUrl, { connections: 64, pipelining: 1 })
  const ports = { now: Date.now, newId }

  const evaluate = async (entrypoint: string, input: Input): Promise<unknown> => {
    const answer = await pool.request({
      method: 'POST',
      path: `/v1/data/${entrypoint}`,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ input }),
    })
    const body = await answer.body.json()
    if (answer.statusCode !== 200) throw new Error(`opa answered ${answer.statusCode}`)
    return [body]
  }

  return async (question) => {
    const who = identify(settings, keys, question)
    if ('kind' in who) return who
    const { identity, jti } = who
    if (question.owner && !sameOwner(question.owner, ownerOf(identity)))
      return { kind: 'foreign_session', identity }
    if (question.ask === 'identity') return { kind: 'identified', identity }
    const input: Input = { ...question.draft, identity }
    if (question.ask === 'visible') {
      const visible = readVisible(await evaluate(VISIBLE, input), question.draft.items?.length ?? 0)
      return visible
        ? { kind: 'visible', visible: [...visible] }
        : { kind: 'unavailable', fault: 'visible_undecided' }
    }
    const started = process.hrtime.bigint()
    const decision = readDecision(await evaluate(settings.path, input)) ?? policyError()
    const eval_ns = Number(process.hrtime.bigint() - started)
    return decided(settings, ports, question, input, decision, { eval_ns, ...(jti && { jti }) })
  }
}

function identify(
  { expected }: JudgeSettings,
  keys: Keys | undefined,
  { who }: Question,
): { identity: Identity; jti?: string } | Judgement {
  if ('identity' in who) return who
  if (!keys || !expected) return { kind: 'unavailable', fault: 'keys_unavailable' }
  const result = verifyAssertion(who.assertion, keys, expected, Math.floor(Date.now() / 1000))
  return result.ok ? result : { kind: 'unidentified', fault: result.fault }
}
