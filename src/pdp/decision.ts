import type { Method } from '../mcp/methods.ts'
import { isObject, type Json, type JsonObject } from '../mcp/strict-json.ts'

export type Reason = { code: string; title: string; help?: string; details?: JsonObject; severity?: string }

/** The answer of `mcp/main/decision`, after reading it strictly (policy contract, "decision"). */
export type Decision = {
  allow: boolean
  reasons: Reason[]
  dry_run?: { allow: boolean; reasons: Reason[] }
  message?: string
  retry?: 'never' | 'later'
  audit?: 'required' | 'best_effort'
  custom?: JsonObject
}

const KEYS = new Set(['allow', 'reasons', 'dry_run', 'message', 'retry', 'audit', 'custom'])
const REASON_KEYS = new Set(['code', 'title', 'help', 'details', 'severity'])

/**
 * A decision, or undefined for anything that is not exactly one: the caller denies.
 * @param answers what the evaluator returned: OPA's result set, empty when the rule is undefined
 */
export function readDecision(answers: unknown): Decision | undefined {
  const result = onlyResult(answers)
  if (!isObject(result)) return undefined
  if (!Object.keys(result).every((key) => KEYS.has(key))) return undefined
  const { allow, reasons, dry_run, message, retry, audit, custom } = result
  if (typeof allow !== 'boolean' || !isReasons(reasons)) return undefined
  if (dry_run !== undefined && !isDryRun(dry_run)) return undefined
  if (message !== undefined && typeof message !== 'string') return undefined
  if (retry !== undefined && retry !== 'never' && retry !== 'later') return undefined
  if (audit !== undefined && audit !== 'required' && audit !== 'best_effort') return undefined
  if (custom !== undefined && !isObject(custom)) return undefined
  return result as Decision
}

/** The one result of an evaluation; undefined if there is none or more. */
export function onlyResult(answers: unknown): Json | undefined {
  if (!Array.isArray(answers) || answers.length !== 1) return undefined
  return isObject(answers[0]) ? answers[0].result : undefined
}

function isDryRun(value: Json): boolean {
  if (!isObject(value) || typeof value.allow !== 'boolean') return false
  return isReasons(value.reasons) && Object.keys(value).length === 2
}

function isReasons(value: Json | undefined): value is Reason[] {
  return Array.isArray(value) && value.every(isReason)
}

function isReason(value: Json): boolean {
  if (!isObject(value) || !Object.keys(value).every((key) => REASON_KEYS.has(key))) return false
  const { code, title, help, details, severity } = value
  const text = (part: Json | undefined) => part === undefined || typeof part === 'string'
  if (typeof code !== 'string' || typeof title !== 'string') return false
  return text(help) && text(severity) && (details === undefined || isObject(details))
}

/** No decision could be had. The text does not say that repeating is useless, for it may not be. */
export const policyError = (): Decision => ({
  allow: false,
  reasons: [{ code: 'policy_error', title: 'The policy could not decide this call' }],
})

declare const made: unique symbol
/** The right to forward one message. Made here only, so that forwarding without it does not compile. */
export type Permit = { readonly decision_id: string; readonly [made]: true }

const permits = new WeakSet<Permit>()

/** A permit for what was allowed; undefined for anything else. */
export function permitDecided(decision: Decision, decision_id: string): Permit | undefined {
  return decision.allow === true ? make(decision_id) : undefined
}

/** A permit for a message that the method table passes without a question; undefined for any other. */
export function permitProtocol(method: Method | undefined, decision_id: string): Permit | undefined {
  return method?.treatment === 'protocol' ? make(decision_id) : undefined
}

/** Holds at run time what the type holds at compile time. */
export const isPermit = (permit: Permit): boolean => permits.has(permit)

function make(decision_id: string): Permit {
  const permit = Object.freeze({ decision_id }) as Permit
  permits.add(permit)
  return permit
}
