import { isObject, type Json, type JsonObject } from '../mcp/strict-json.ts'

/** Who asks, as believed after verification. The shape is `input.identity` of the policy contract. */
export type Identity = {
  source: 'pomerium' | 'configured'
  subject: string
  groups: string[]
  email?: string
  name?: string
  issuer?: string
  audience?: string
  sid?: string
  claims: JsonObject
}

export type Expected = {
  /** exact; Pomerium writes `host` or `https://host/` by `jwt_issuer_format`, so either form of a host is accepted */
  issuer: string
  audience: string
  /** seconds that clocks may differ by */
  tolerance: number
}

export type IdentityFault =
  | 'assertion_missing'
  | 'assertion_repeated'
  | 'assertion_malformed'
  | 'assertion_algorithm'
  | 'assertion_unknown_key'
  | 'assertion_signature'
  | 'assertion_issuer'
  | 'assertion_audience'
  | 'assertion_expired'
  | 'assertion_not_yet_valid'
  | 'assertion_claims'
  | 'assertion_subject_empty'
  | 'keys_unavailable'
  | 'assertion_replayed'

export type IdentityResult =
  | { ok: true; identity: Identity; jti: string; expires: number }
  | { ok: false; fault: IdentityFault }

/** The longest life that is believed, in seconds; Pomerium mints 300. */
const MAX_LIFE = 3600

/**
 * Identity from the claims of an assertion whose signature holds.
 * Claims: Pomerium, `authorize/evaluator/headers_evaluator_evaluation.go` (eleven, always present).
 * @param now seconds since the epoch
 */
export function identityFromClaims(claims: Json, expected: Expected, now: number): IdentityResult {
  const no = (fault: IdentityFault): IdentityResult => ({ ok: false, fault })
  if (!isObject(claims)) return no('assertion_claims')
  const { iss, aud, exp, iat, nbf, sub, jti } = claims
  if (typeof iss !== 'string' || !issuerForms(expected.issuer).includes(iss)) return no('assertion_issuer')
  if (typeof aud !== 'string' || aud !== expected.audience) return no('assertion_audience')
  if (!isTime(exp) || !isTime(iat)) return no('assertion_claims')
  if (nbf !== undefined && !isTime(nbf)) return no('assertion_claims')
  if (exp + expected.tolerance <= now) return no('assertion_expired')
  if (Math.max(iat, nbf ?? 0) - expected.tolerance > now) return no('assertion_not_yet_valid')
  if (exp - iat > MAX_LIFE) return no('assertion_claims')
  if (typeof jti !== 'string' || jti === '') return no('assertion_claims')
  if (typeof sub !== 'string') return no('assertion_claims')
  if (sub === '') return no('assertion_subject_empty')
  const groups = claims.groups ?? []
  if (!Array.isArray(groups) || !groups.every((group) => typeof group === 'string'))
    return no('assertion_claims')

  const identity: Identity = {
    source: 'pomerium',
    subject: sub,
    groups,
    issuer: iss,
    audience: aud,
    claims: rest(claims),
  }
  for (const key of ['email', 'name', 'sid'] as const) {
    const value = claims[key]
    if (value === undefined || value === '') continue
    if (typeof value !== 'string') return no('assertion_claims')
    identity[key] = value
  }
  return { ok: true, identity, jti, expires: exp }
}

/** Identity is the same person, from the same issuer, at the same route. */
export type Owner = { issuer: string; subject: string; audience: string }
export const ownerOf = (identity: Identity): Owner => ({
  issuer: identity.issuer ?? '',
  subject: identity.subject,
  audience: identity.audience ?? '',
})
export const sameOwner = (a: Owner, b: Owner): boolean =>
  a.issuer === b.issuer && a.subject === b.subject && a.audience === b.audience

/** One text for one owner, as a key of tables. */
export const ownerKey = (owner: Owner): string =>
  JSON.stringify([owner.issuer, owner.subject, owner.audience])

/**
 * Whose an assertion claims to be, unverified: good only for looking up what would be used if it turns out to hold.
 */
export function claimedOwner(assertion: string): Owner | undefined {
  let claims: unknown
  try {
    // Not strictly: what two readers would take for two people is refused when it is verified.
    claims = JSON.parse(Buffer.from(assertion.split('.')[1] ?? '', 'base64url').toString('utf8'))
  } catch {
    return undefined
  }
  if (!isObject(claims)) return undefined
  const { iss, sub, aud } = claims
  if (typeof iss !== 'string' || typeof sub !== 'string' || typeof aud !== 'string') return undefined
  return { issuer: iss, subject: sub, audience: aud }
}

const isTime = (value: Json | undefined): value is number =>
  Number.isSafeInteger(value) && (value as number) > 0

function issuerForms(issuer: string): string[] {
  const host = /^https:\/\/([^/]+)\/$/.exec(issuer)?.[1] ?? issuer
  return [host, `https://${host}/`]
}

const NAMED = new Set(['iss', 'aud', 'exp', 'iat', 'nbf', 'sub', 'user', 'email', 'groups', 'sid', 'name'])

function rest(claims: JsonObject): JsonObject {
  const out: JsonObject = {}
  for (const [key, value] of Object.entries(claims)) if (!NAMED.has(key) && value !== '') out[key] = value
  return out
}
