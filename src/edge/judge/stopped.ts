import { parseStrict } from '../../mcp/strict-json.ts'
import { policyError } from '../../pdp/decision.ts'
import { type Identity, identityFromClaims } from '../../pdp/identity.ts'
import type { Judgement, Question } from '../../pep/ports.ts'
import { newId } from '../id.ts'
import { decided, type JudgeSettings } from './judge.ts'

/**
 * The judgement of a question whose evaluation was not waited for.
 * @param identity undefined where its verification was not waited for either
 * @param ms how long it ran
 */
export function stoppedJudgement(
  settings: JudgeSettings,
  question: Question,
  identity: Identity | undefined,
  ms: number,
  why: string,
): Judgement {
  if (question.ask === 'visible') return { kind: 'unavailable', fault: 'visible_undecided' }
  if (!identity) return { kind: 'unavailable', fault: 'queue_full' }
  const ports = { now: Date.now, newId }
  const more = { eval_ns: Math.round(ms * 1e6), error: why, brief: true }
  return decided(settings, ports, question, { ...question.draft, identity }, policyError(), more)
}

/** Of a question whose assertion another thread has verified: it is read, and nothing else. */
export function verifiedIdentity({ expected }: JudgeSettings, { who }: Question): Identity | undefined {
  if ('identity' in who) return who.identity
  const claims = parseStrict(Buffer.from(who.assertion.split('.')[1] ?? '', 'base64url').toString('utf8'))
  if (!claims.ok || !expected) return undefined
  const read = identityFromClaims(claims.value, expected, Math.floor(Date.now() / 1000))
  return read.ok ? read.identity : undefined
}
