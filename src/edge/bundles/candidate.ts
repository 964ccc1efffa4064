import { candidateEvent, type OpenLine, type Origin, withCandidate } from '../../log/event.ts'
import type { Decision } from '../../pdp/decision.ts'
import type { Judgement, Question } from '../../pep/ports.ts'
import type { Section } from '../settings.ts'

/**
 * Out of `plugins.mcp.candidate`: by the name of a bundle, the name of the one that is tried in its place. What is named
 * as a trial is fetched like any other bundle and decides nothing.
 */
export function readCandidate(mcp: Section, bundles: string[]): Record<string, string> {
  if (!mcp.has('candidate')) return {}
  const section = mcp.section('candidate')
  const instead = section.map('bundles')
  section.done()
  if (Object.keys(instead).length === 0)
    section.fault('bundles', 'must name a bundle and the one that is tried in its place, as {mcp: mcp-next}')
  const trials = Object.values(instead)
  for (const [name, trial] of Object.entries(instead)) {
    for (const one of [name, trial])
      if (!bundles.includes(one)) section.fault(`bundles.${name}`, `${one} is not in bundles`)
    if (trials.includes(name)) section.fault(`bundles.${name}`, 'is itself tried in the place of another')
  }
  return instead
}

/** What the candidate would have answered; `reasons` without what a policy says about values. */
export type CandidateAnswer = { allow: boolean; reasons: { code: string; title: string }[]; revision: string }

export type CandidatePorts = {
  /** the candidate's own threads */
  ask: (question: Question) => Promise<Judgement>
  record: (line: OpenLine) => void
  origin: () => Origin
  /** an answer that is there, and whether it is the other one */
  compared: (of: { method: string; tool: string | undefined }, flip: Flip | undefined) => void
  failed: (why: string) => void
  newId: () => string
  now: () => number
}
export type Flip = 'allow_to_deny' | 'deny_to_allow'

/**
 * Asks the candidate beside the policy in force, in threads of its own, and waits for nothing: where its answer is there
 * in time it goes into the record of the decision, else into one of its own. Whatever becomes of it changes no answer.
 */
export function besideCandidate(
  judge: (question: Question) => Promise<Judgement>,
  ports: CandidatePorts,
): (question: Question) => Promise<Judgement> {
  return async (question) => {
    if (question.ask !== 'decision') return judge(question)
    // Asked first, so that it is first in its thread as well.
    const judging = judge(question)
    let trial: Judgement | undefined
    // Never rejects: nobody listens to it while the enforced answer is awaited.
    const trying = ports.ask(question).then(
      (judged) => {
        trial = judged
        return judged
      },
      (): Judgement => ({ kind: 'unavailable', fault: 'queue_full' }),
    )
    const judged = await judging
    if (judged.kind !== 'decided') return judged
    if (trial) {
      const answer = compare(ports, question, judged.decision, trial)
      return answer && judged.line !== undefined
        ? { ...judged, line: withCandidate(judged.line, answer) }
        : judged
    }
    void trying.then((late) => {
      const answer = compare(ports, question, judged.decision, late)
      // Nothing is written of what the policy drops.
      if (!answer || judged.line === undefined) return
      const facts = { decision_id: question.draft.decision_id, event_id: ports.newId(), time_ms: ports.now() }
      const { allow, reasons } = judged.decision
      const enforced = { allow, reasons: reasons.map(({ code, title }) => ({ code, title })) }
      ports.record(
        candidateEvent(ports.origin(), { ...facts, ...question.trace }, { candidate: answer, enforced }),
      )
    })
    return judged
  }
}

/** Counts; @returns the candidate's answer, undefined where it had none */
function compare(
  ports: CandidatePorts,
  { draft }: Question,
  decision: Decision,
  trial: Judgement,
): CandidateAnswer | undefined {
  if (trial.kind !== 'decided') {
    ports.failed(trial.kind === 'unavailable' ? trial.fault : trial.kind)
    return undefined
  }
  const { allow, reasons } = trial.decision
  if (reasons.some((reason) => reason.code === 'policy_error')) {
    ports.failed('policy_error')
    return undefined
  }
  const known = draft.tool !== undefined && draft.tool.declared !== 'unknown'
  const flip: Flip | undefined =
    allow === decision.allow ? undefined : allow ? 'deny_to_allow' : 'allow_to_deny'
  ports.compared({ method: draft.method, tool: known ? draft.tool?.name : undefined }, flip)
  return {
    allow,
    reasons: reasons.map(({ code, title }) => ({ code, title })),
    revision: trial.revision ?? '',
  }
}
