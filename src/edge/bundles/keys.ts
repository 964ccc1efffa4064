import { createPublicKey, type KeyObject } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import type { Section } from '../settings.ts'

export const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
] as const
export type Algorithm = (typeof ALGORITHMS)[number]

/** A key that verifies bundles; `pem` is its public part. */
export type VerifyKey = { algorithm: Algorithm; pem: string; scope: string }

const CURVES: Record<string, string> = { ES256: 'prime256v1', ES384: 'secp384r1', ES512: 'secp521r1' }

/** Out of `keys`, as OPA has it: `{key, algorithm, scope}`; `key` is PEM text or the path of a file with it. */
export function readKeys(root: Section): Record<string, VerifyKey> {
  const keys: Record<string, VerifyKey> = {}
  for (const [id, section] of root.named('keys')) {
    const algorithm = section.oneOf('algorithm', ALGORITHMS, 'RS256')
    const scope = section.string('scope', '')
    if (section.has('private_key'))
      section.fault(
        'private_key',
        'has no use here, where bundles are only verified; keep it where they are signed',
      )
    const given = section.string('key')
    const pem = given === '' ? undefined : pemOf(section, given, algorithm)
    if (pem !== undefined) keys[id] = { algorithm, pem, scope }
    section.done()
  }
  return keys
}

function pemOf(section: Section, given: string, algorithm: Algorithm): string | undefined {
  try {
    const text = !given.includes('-----BEGIN') && existsSync(given) ? readFileSync(given, 'utf8') : given
    const key = createPublicKey(text)
    const fault = keyFault(key, algorithm)
    if (fault !== undefined) section.fault('key', fault)
    return String(key.export({ type: 'spki', format: 'pem' }))
  } catch {
    section.fault('key', 'must be a public key or certificate as PEM, or the path of a file with one')
    return undefined
  }
}

function keyFault(key: KeyObject, algorithm: Algorithm): string | undefined {
  const curve = CURVES[algorithm]
  const details = key.asymmetricKeyDetails
  if (curve !== undefined)
    return details?.namedCurve === curve ? undefined : `is not a key on ${curve}, which ${algorithm} needs`
  if (key.asymmetricKeyType !== 'rsa') return `is not an RSA key, which ${algorithm} needs`
  return (details?.modulusLength ?? 0) >= 2048 ? undefined : 'has fewer than 2048 bits'
}
