import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { isObject, type Json, parseStrict } from '../../mcp/strict-json.ts'
import {
  type Expected,
  type IdentityFault,
  type IdentityResult,
  identityFromClaims,
} from '../../pdp/identity.ts'

/** Pomerium signs with the algorithm of its key: EC P-256 or RSA (`pkg/cryptutil/jose.go`). Nothing else is taken. */
type Algorithm = 'ES256' | 'RS256'
export type Keys = ReadonlyMap<string, { algorithm: Algorithm; key: KeyObject }>

/** The keys of a JWK Set (RFC 7517) that may sign assertions; undefined if the document is not one. */
export function readJwks(text: string): Keys | undefined {
  const parsed = parseStrict(text)
  if (!parsed.ok || !isObject(parsed.value) || !Array.isArray(parsed.value.keys)) return undefined
  const keys = new Map<string, { algorithm: Algorithm; key: KeyObject }>()
  for (const jwk of parsed.value.keys) {
    const entry = readJwk(jwk)
    if (!entry) continue
    // Two keys of one id: which of them a token means is not known.
    if (keys.has(entry.kid)) return undefined
    keys.set(entry.kid, entry)
  }
  return keys
}

function readJwk(jwk: Json): { kid: string; algorithm: Algorithm; key: KeyObject } | undefined {
  if (!isObject(jwk) || typeof jwk.kid !== 'string' || jwk.kid === '') return undefined
  if (jwk.use !== undefined && jwk.use !== 'sig') return undefined
  const algorithm =
    jwk.kty === 'EC' && jwk.crv === 'P-256' ? 'ES256' : jwk.kty === 'RSA' ? 'RS256' : undefined
  if (!algorithm || (jwk.alg !== undefined && jwk.alg !== algorithm)) return undefined
  // Only the public members: a private key in the document is not taken up.
  const { kty, crv, x, y, n, e } = jwk
  try {
    const key = createPublicKey({
      format: 'jwk',
      key: (algorithm === 'ES256' ? { kty, crv, x, y } : { kty, n, e }) as Record<string, string>,
    })
    if (algorithm === 'RS256' && (key.asymmetricKeyDetails?.modulusLength ?? 0) < 2048) return undefined
    return { kid: jwk.kid, algorithm, key }
  } catch {
    return undefined
  }
}

/** Bytes of an assertion that are looked at; one with 500 groups is about 20 KiB. */
const LONGEST = 32 << 10
const COMPACT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/
const HEADER = new Set(['alg', 'kid', 'typ'])

/**
 * Identity from one compact JWS (RFC 7515), by keys that are pinned. The header picks none but by `kid`, and the
 * algorithm is the key's.
 * @param now seconds since the epoch
 */
export function verifyAssertion(
  assertion: string,
  keys: Keys,
  expected: Expected,
  now: number,
): IdentityResult {
  const no = (fault: IdentityFault): IdentityResult => ({ ok: false, fault })
  if (assertion.length > LONGEST || !COMPACT.test(assertion)) return no('assertion_malformed')
  const [header, payload, signature] = assertion.split('.').map(decode)
  if (!header || !payload || !signature) return no('assertion_malformed')
  const head = parseStrict(header.toString('utf8'))
  if (!head.ok || !isObject(head.value)) return no('assertion_malformed')
  const { alg, kid, typ } = head.value
  // `jwk`, `jku`, `x5c`, `crit` and whatever else might point to another key.
  if (!Object.keys(head.value).every((name) => HEADER.has(name))) return no('assertion_malformed')
  if (alg !== 'ES256' && alg !== 'RS256') return no('assertion_algorithm')
  if (typeof kid !== 'string' || (typ !== undefined && typ !== 'JWT')) return no('assertion_malformed')
  const entry = keys.get(kid)
  if (!entry) return no('assertion_unknown_key')
  if (entry.algorithm !== alg) return no('assertion_algorithm')
  if (alg === 'ES256' && signature.length !== 64) return no('assertion_signature')
  const signed = Buffer.from(assertion.slice(0, assertion.lastIndexOf('.')), 'latin1')
  const encoded = alg === 'ES256' ? derSignature(signature) : signature
  if (!verify('sha256', signed, entry.key, encoded)) return no('assertion_signature')
  const text = decodeText(payload)
  const claims = text === undefined ? undefined : parseStrict(text)
  if (!claims?.ok) return no('assertion_claims')
  return identityFromClaims(claims.value, expected, now)
}

/**
 * `r` and `s` of 32 bytes each (RFC 7518, 3.4) in the form that OpenSSL reads (RFC 3279, 2.2.3). `node:crypto` does it
 * too, but its way there by `dsaEncoding` takes a fifth of the whole verification.
 */
export function derSignature(raw: Buffer): Buffer {
  const body = [...derInteger(raw.subarray(0, 32)), ...derInteger(raw.subarray(32, 64))]
  return Buffer.from([0x30, body.length, ...body])
}

/** An unsigned number of at most 32 bytes, in as few bytes as it needs. */
function derInteger(number: Buffer): number[] {
  let from = 0
  while (from < number.length - 1 && number[from] === 0) from++
  const bytes = [...number.subarray(from)]
  if ((bytes[0] as number) >= 0x80) bytes.unshift(0)
  return [0x02, bytes.length, ...bytes]
}

/** The bytes of one part; undefined unless this is their one base64url spelling. */
function decode(part: string): Buffer | undefined {
  const bytes = Buffer.from(part, 'base64url')
  return bytes.toString('base64url') === part ? bytes : undefined
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function decodeText(bytes: Buffer): string | undefined {
  try {
    return utf8.decode(bytes)
  } catch {
    return undefined
  }
}
