import { decisionEvent, type Origin, revisionOf, stripped } from '../../log/event.ts'
import { applyMask, readDrop, readMask } from '../../log/policy-mask.ts'
import type { JsonObject } from '../../mcp/strict-json.ts'
import { type Decision, policyError, readDecision } from '../../pdp/decision.ts'
import { type Expected, type Identity, ownerOf, sameOwner } from '../../pdp/identity.ts'
import { type Input, keyedDigest } from '../../pdp/input.ts'
import { readVisible } from '../../pdp/visible.ts'
import type { Judgement, Question } from '../../pep/ports.ts'
import { type Keys, verifyAssertion } from './assertion.ts'
import type { Evaluator } from './evaluator.ts'
import { TooLate } from './progress.ts'

export const VISIBLE = 'mcp/main/visible'
/** OPA's reserved names, without a leading slash as entrypoints are. */
export const MASK = 'system/log/mask'
export const DROP = 'system/log/drop'

export type JudgeSettings = {
  /** undefined where only configured identities are believed */
  expected: Expected | undefined
  origin: Origin
  /** the entrypoint of decisions */
  path: string
  digestKey: Uint8Array
  /** records have pseudonyms under it in place of identities */
  identityKey?: Uint8Array
  /** whether the policy has OPA's `system/log/mask` */
  masks: boolean
  /** digests of policy and data, for events */
  digests: JsonObject
}
export type JudgePorts = {
  keys: () => Keys | undefined
  evaluator: Evaluator
  /** milliseconds since the epoch */
  now: () => number
  newId: () => string
  /** told before an evaluation starts, with the identity verified */
  evaluating: () => void
}

/** All that one message needs of this thread, in one call: verify, compare, evaluate, write the event. */
export function createJudge(settings: JudgeSettings, ports: JudgePorts): (question: Question) => Judgement {
  return (question) => {
    const who = identify(settings, ports, question)
    if ('kind' in who) return who
    const { identity, jti, expires } = who
    const assertion = jti !== undefined && expires !== undefined ? { assertion: { jti, expires } } : {}
    if (question.owner && !sameOwner(question.owner, ownerOf(identity)))
      return { kind: 'foreign_session', identity }
    if (question.ask === 'identity') return { kind: 'identified', identity, ...assertion }

    const input: Input = { ...question.draft, identity }
    ports.evaluating()
    const started = process.hrtime.bigint()
    const answer = evaluate(ports.evaluator, question.ask === 'visible' ? VISIBLE : settings.path, input)
    const eval_ns = Number(process.hrtime.bigint() - started)
    if (question.ask === 'visible') {
      const visible = readVisible(answer.answers, question.draft.items?.length ?? 0)
      return visible
        ? { kind: 'visible', visible: [...visible] }
        : { kind: 'unavailable', fault: 'visible_undecided' }
    }
    const decision = readDecision(answer.answers)
    const judged = (
      by: Decision,
      why: { error?: string; brief?: boolean },
      evaluator?: Evaluator,
    ): Judgement => {
      const more = { eval_ns, ...(jti && { jti }), ...why }
      return { ...decided(settings, ports, question, input, by, more, evaluator), ...assertion }
    }
    try {
      if (answer.error instanceof TooLate) throw answer.error
      const error =
        answer.error?.message ?? (decision ? undefined : 'the policy gave no decision of the contract’s form')
      return judged(decision ?? policyError(), error ? { error } : {}, ports.evaluator)
    } catch (thrown) {
      // What is recorded is judged under the same deadline.
      if (!(thrown instanceof TooLate)) throw thrown
      return judged(policyError(), { error: thrown.message, brief: true })
    }
  }
}

/**
 * A decision with its record. Also for a question whose evaluation had to be stopped from outside.
 * @param evaluator of the policy that masks; without it, or after it failed, an event that a mask concerns is stripped
 * @throws TooLate where the mask passes the deadline
 */
export function decided(
  settings: JudgeSettings,
  ports: Pick<JudgePorts, 'now' | 'newId'>,
  question: Question,
  input: Input,
  decision: Decision,
  more: { eval_ns: number; error?: string; jti?: string; brief?: boolean },
  evaluator?: Evaluator,
): Judgement {
  const { trace, rpc_id, draft } = question
  const facts = {
    decision_id: draft.decision_id,
    event_id: ports.newId(),
    time_ms: ports.now(),
    ...trace,
    ...(rpc_id !== undefined && { rpc_id }),
  }
  const digest = (text: string) => keyedDigest(settings.digestKey, text)
  let drop = false
  const line = decisionEvent(settings.origin, facts, settings.path, input, decision, {
    ...more,
    ...(settings.identityKey && { identityKey: settings.identityKey }),
    digest,
    digests: settings.digests,
    mask: (event) => {
      const droppable = decision.allow && decision.audit === 'best_effort'
      if (droppable) drop = evaluator?.entrypoints.includes(DROP) === true && dropped(evaluator, event)
      return masked(settings, evaluator, event, digest)
    },
  })
  const revision = revisionOf(settings.origin)
  return { kind: 'decided', identity: input.identity, decision, line: drop ? undefined : line, revision }
}

/** An error is no answer: what cannot be asked is not dropped. */
function dropped(evaluator: Evaluator, event: JsonObject): boolean {
  try {
    return readDrop(evaluator.evaluate(DROP, event))
  } catch (thrown) {
    if (thrown instanceof TooLate) throw thrown
    return false
  }
}

function masked(
  settings: JudgeSettings,
  evaluator: Evaluator | undefined,
  event: JsonObject,
  digest: (text: string) => string,
): JsonObject {
  if (!settings.masks) return event
  if (!evaluator || evaluator.spoiled()) return stripped(event, 'the mask was not evaluated', digest)
  try {
    const rules = readMask(evaluator.evaluate(MASK, event))
    return rules ? applyMask(event, rules) : stripped(event, 'the mask has an invalid rule', digest)
  } catch (thrown) {
    if (thrown instanceof TooLate) throw thrown
    return stripped(event, thrown instanceof Error ? thrown.message : 'the mask failed', digest)
  }
}

function identify(
  settings: JudgeSettings,
  ports: JudgePorts,
  { who }: Question,
): { identity: Identity; jti?: string; expires?: number } | Judgement {
  if ('identity' in who) return { identity: who.identity }
  const keys = ports.keys()
  if (!keys || !settings.expected) return { kind: 'unavailable', fault: 'keys_unavailable' }
  const result = verifyAssertion(who.assertion, keys, settings.expected, Math.floor(ports.now() / 1000))
  return result.ok ? result : { kind: 'unidentified', fault: result.fault }
}

function evaluate(
  evaluator: Evaluator,
  entrypoint: string,
  input: Input,
): { answers?: unknown; error?: Error } {
  try {
    return { answers: evaluator.evaluate(entrypoint, input) }
  } catch (thrown) {
    return { error: thrown instanceof Error ? thrown : new Error('the evaluation failed') }
  }
}
