import { DENIED, errorText } from '../mcp/error.ts'
import type { Era } from '../mcp/headers.ts'
import type { Request } from '../mcp/message.ts'
import type { JsonObject } from '../mcp/strict-json.ts'
import type { Decision } from '../pdp/decision.ts'

/** Our key in `_meta`; prefixes with `mcp` or `modelcontextprotocol` as second label are reserved (2026-07-28, `_meta`). */
export const META_DECISION = 'mcp-opa-sidecar/decision_id'

export type Denial = {
  server: string
  decision_id: string
  /** of the policy that decided */
  revision: string
  /** last resort for the reader, from `plugins.mcp.help` */
  help?: string
  /** the call was sent, and its result is withheld */
  sent?: boolean
}

/** What the agent reads. Reasons are the policy's words; nothing of the call is in it. */
export function denialText(decision: Decision, denial: Denial): string {
  const undecided = decision.reasons.some((reason) => reason.code === 'policy_error')
  const verdict = undecided ? 'The call could not be decided, so it was refused.' : 'Denied by policy.'
  const effect = denial.sent
    ? `the result from "${denial.server}" is withheld`
    : `the call was not sent to "${denial.server}"`
  const lines = [`${verdict} (This is not an error of the tool; ${effect}.)`]
  for (const reason of decision.reasons) lines.push(`Why: ${reason.title} [${reason.code}]`)
  if (decision.message !== undefined) lines.push(decision.message)
  const helps = new Set(decision.reasons.map((reason) => reason.help).filter((help) => help !== undefined))
  if (denial.help !== undefined) helps.add(denial.help)
  if (helps.size > 0) lines.push(`What would help: ${[...helps].join('; or ')}`)
  if (decision.retry === 'later')
    lines.push('It may be allowed later; the same call may be tried again then.')
  lines.push('Do not try other tools to the same end; tell the user.')
  lines.push(`Decision ${denial.decision_id} · policy ${denial.revision}`)
  return lines.join('\n')
}

/**
 * The answer to a denied request: a tool result that reaches the model, or a JSON-RPC error where a method has no
 * such form (policy contract, "What the caller sees").
 */
export function denialMessage(
  { method, id, params }: Request,
  era: Era,
  decision: Decision,
  denial: Denial,
): string {
  const text = denialText(decision, denial)
  // A client that asked for a task (2025-11-25) reads a result as the start of one.
  if (method !== 'tools/call' || (era === 'legacy' && params.task !== undefined)) {
    return errorText(id, DENIED, text, { decision_id: denial.decision_id, reasons: decision.reasons })
  }
  const result: JsonObject = {
    content: [{ type: 'text', text }],
    isError: true,
    _meta: { [META_DECISION]: denial.decision_id },
  }
  if (era === 'modern') result.resultType = 'complete'
  return JSON.stringify({ jsonrpc: '2.0', id, result })
}
