import { isObject, type Json, type JsonObject } from '../../mcp/strict-json.ts'
import { readDecision } from '../../pdp/decision.ts'

/**
 * A bundle's own vectors, `data.config.canaries`: by name `{input, allow, code?}`. Each is a question that the policy
 * must answer so before it may be active. What a vector leaves out of its input is filled in as for a plain call, of the
 * tool that was reviewed where it is pinned.
 * @param ask the policy; what it throws is a fault
 * @returns what does not hold, one line each
 */
export function checkCanaries(ask: (input: JsonObject) => unknown, data: JsonObject, now: Date): string[] {
  const canaries = isObject(data.config) ? data.config.canaries : undefined
  if (canaries === undefined) return []
  if (!isObject(canaries)) return ['config.canaries is not a map of vectors by name']
  return Object.entries(canaries).flatMap(([name, canary]) => {
    const fault = faultOf(ask, canary, now, data)
    return fault === undefined ? [] : [`canary ${JSON.stringify(name)} ${fault}`]
  })
}

const KEYS = ['input', 'allow', 'code']

function faultOf(
  ask: (input: JsonObject) => unknown,
  canary: Json,
  now: Date,
  data: JsonObject,
): string | undefined {
  if (!isObject(canary) || !isObject(canary.input) || typeof canary.allow !== 'boolean')
    return 'must be {input: {…}, allow: true or false, code?: …}'
  const { input, allow, code } = canary
  const unknown = Object.keys(canary).find((key) => !KEYS.includes(key))
  if (unknown !== undefined) return `has ${JSON.stringify(unknown)}, which means nothing`
  if (code !== undefined && typeof code !== 'string') return 'has a code that is no string'
  let answer: unknown
  try {
    answer = ask(filled(input, now, data))
  } catch (thrown) {
    return `could not be evaluated: ${thrown instanceof Error ? thrown.message : String(thrown)}`
  }
  const decision = readDecision(answer)
  if (!decision) return 'was given no decision of the contract’s form'
  const codes = decision.reasons.map((reason) => reason.code)
  const why = codes.length > 0 ? ` (${codes.join(', ')})` : ''
  if (decision.allow !== allow)
    return `must be ${allow ? 'allowed and is denied' : 'denied and is allowed'}${why}`
  if (code !== undefined && !codes.includes(code)) return `must have the reason ${code}${why}`
  return undefined
}

function filled(input: JsonObject, now: Date, data: JsonObject): JsonObject {
  const identity = isObject(input.identity) ? input.identity : {}
  return {
    decision_id: 'canary',
    time: now.toISOString(),
    time_ms: now.getTime(),
    protocol_version: '2025-11-25',
    direction: 'to_server',
    kind: 'request',
    method: 'tools/call',
    params: {},
    http: {},
    ...input,
    ...(isObject(input.tool) && {
      tool: { declared: 'unknown', ...pinned(data, input.server, input.tool.name), ...input.tool },
    }),
    identity: { source: 'pomerium', groups: [], claims: {}, ...identity },
  }
}

/** `data.config.pins[server][tool]`: a digest, alone or beside its definition. */
function pinned(data: JsonObject, server: Json | undefined, tool: Json | undefined): JsonObject {
  const within = (of: Json | undefined, key: Json | undefined) =>
    isObject(of) && typeof key === 'string' && Object.hasOwn(of, key) ? of[key] : undefined
  const pin = within(within(within(data.config, 'pins'), server), tool)
  const digest = isObject(pin) ? pin.digest : pin
  return typeof digest === 'string' ? { declared: 'pinned', digest } : {}
}
