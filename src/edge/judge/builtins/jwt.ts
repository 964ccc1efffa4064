import {
  constants,
  createHmac,
  createPublicKey,
  type KeyObject,
  timingSafeEqual,
  verify,
  X509Certificate,
} from 'node:crypto'
import { textOf } from './encoding.ts'
import { readJson } from './json-text.ts'
import { type Builtin, text } from './operand.ts'
import { OperandError, RegoObject, Unanswerable, type Value } from './value.ts'

/** JSON Web Tokens in compact form (RFC 7515, 7519), as OPA's `io.jwt.decode` and `io.jwt.verify_*` take them. */
type Token = { header: string; payload: string; signature: string }

function tokenOf(value: Value | undefined): Token {
  const [header = '', payload = '', signature = '', ...rest] = text(value).split('.')
  if (text(value).split('.').length !== 3 || rest.length > 0) throw new OperandError('a JWT has three parts')
  return { header, payload, signature }
}

/** base64url, with or without its padding. */
function bytesOf(part: string): Buffer {
  let padded = part
  if (!part.endsWith('=')) {
    const over = part.length % 4
    if (over === 1) throw new OperandError('illegal base64url')
    padded += '='.repeat((4 - over) % 4)
  }
  // Go passes over line ends within, which no token has.
  if (/[\r\n]/.test(padded)) throw new Unanswerable('io.jwt: a line end within a token')
  if (padded.length % 4 !== 0 || !/^[A-Za-z0-9_-]*={0,2}$/.test(padded))
    throw new OperandError('illegal base64url')
  return Buffer.from(padded, 'base64url')
}

function objectOf(part: string): RegoObject {
  const found = readJson(textOf(bytesOf(part), 'io.jwt'))
  if (!(found instanceof RegoObject)) throw new OperandError('not an object')
  return found
}

function headerOf(token: Token): RegoObject {
  const header = objectOf(token.header)
  if (header.get('enc') !== undefined) throw new OperandError('a JWE is not supported')
  return header
}

const decode: Builtin = ([value], call) => {
  const token = tokenOf(value)
  const header = headerOf(token)
  const payload = bytesOf(token.payload)
  const cty = header.get('cty')
  if (cty !== undefined && typeof cty !== 'string')
    throw new Unanswerable('io.jwt.decode: cty is not a string')
  if (cty === 'JWT') return decode([textOf(payload, 'io.jwt').replace(/^["']+|["']+$/g, '')], call)
  return [header, objectOf(token.payload), bytesOf(token.signature).toString('hex')]
}

type Key = { kid: string; alg: string; key: KeyObject | undefined }

const ALGORITHMS = /^(RS|PS|ES|HS)(256|384|512)$|^EdDSA$/

/** One PEM certificate or public key, a JWK or a JWK Set (RFC 7517). */
function keysOf(of: string): Key[] {
  if (of.includes('-----BEGIN')) return [{ kid: '', alg: '', key: pemKey(of) }]
  const parsed = readJson(of)
  if (!(parsed instanceof RegoObject)) throw new OperandError('not a JWK')
  const listed = parsed.get('keys')
  const all = listed === undefined ? [parsed] : Array.isArray(listed) ? listed : undefined
  if (!all) throw new OperandError('not a JWK Set')
  return all.map(jwkKey).filter(({ alg }) => alg === '' || ALGORITHMS.test(alg))
}

function pemKey(of: string): KeyObject {
  const found =
    /^-----BEGIN (CERTIFICATE|PUBLIC KEY)-----\r?\n[A-Za-z0-9+/=\r\n]+-----END \1-----\r?\n?$/.exec(of)
  if (!found) throw new Unanswerable('io.jwt: a PEM that is not one certificate or public key')
  try {
    return found[1] === 'CERTIFICATE' ? new X509Certificate(of).publicKey : createPublicKey(of)
  } catch {
    throw new Unanswerable('io.jwt: a PEM that is not read here')
  }
}

function jwkKey(jwk: Value): Key {
  if (!(jwk instanceof RegoObject)) throw new OperandError('not a JWK')
  const word = (name: string): string => {
    const found = jwk.get(name)
    if (found !== undefined && typeof found !== 'string')
      throw new Unanswerable(`io.jwt: ${name} of a JWK is no string`)
    return found ?? ''
  }
  const { kty, d, ...rest } = Object.fromEntries(
    ['kty', 'd', 'crv', 'x', 'y', 'n', 'e'].map((name) => [name, word(name)]),
  )
  const named = { kid: word('kid'), alg: word('alg') }
  if (kty === 'oct') return { ...named, key: undefined }
  if (d !== '') throw new Unanswerable('io.jwt: a private key')
  try {
    const members = Object.fromEntries(Object.entries(rest).filter(([, member]) => member !== ''))
    return {
      ...named,
      key: createPublicKey({ format: 'jwk', key: { kty, ...members } as Record<string, string> }),
    }
  } catch {
    throw new Unanswerable('io.jwt: a JWK that is not read here')
  }
}

type Verify = (key: KeyObject, signed: Buffer, signature: Buffer) => boolean

const verifyWith =
  (check: Verify): Builtin =>
  ([value, certificate]) => {
    const token = tokenOf(value)
    const keys = keysOf(text(certificate))
    const signature = bytesOf(token.signature)
    const header = headerOf(token)
    const word = (name: string): string => {
      const found = header.get(name)
      if (found !== undefined && typeof found !== 'string')
        throw new OperandError(`${name}: must be a string`)
      return found ?? ''
    }
    const [alg, kid] = ['alg', 'kid', 'typ', 'cty'].map(word) as [string, string]
    if (header.get('crit') !== undefined) throw new Unanswerable('io.jwt: a header with crit')
    const signed = Buffer.from(`${token.header}.${token.payload}`)
    const holds = (key: KeyObject | undefined) => key !== undefined && check(key, signed, signature)
    const named = kid === '' ? undefined : keys.find((key) => key.kid === kid)
    if (named) return holds(named.key)
    return keys.some((key) => (key.alg === '' || key.alg === alg) && holds(key.key))
  }

const rsa =
  (hash: string, padding: number): Verify =>
  (key, signed, signature) =>
    key.asymmetricKeyType === 'rsa' &&
    verify(hash, signed, { key, padding, saltLength: constants.RSA_PSS_SALTLEN_AUTO }, signature)

const ecdsa =
  (hash: string): Verify =>
  (key, signed, signature) => {
    if (key.asymmetricKeyType !== 'ec') return false
    // Go takes the two halves whatever their size, with the curve of the key.
    const half = Math.floor(signature.length / 2)
    const size = { prime256v1: 32, secp384r1: 48, secp521r1: 66 }[key.asymmetricKeyDetails?.namedCurve ?? '']
    if (size === undefined) throw new Unanswerable('io.jwt: a curve that is not read here')
    const sized = (part: Buffer): Buffer | undefined => {
      const short = part.subarray(part.findIndex((byte) => byte !== 0))
      return part.every((byte) => byte === 0) || short.length > size
        ? undefined
        : Buffer.concat([Buffer.alloc(size - short.length), short])
    }
    const [r, s] = [sized(signature.subarray(0, half)), sized(signature.subarray(half))]
    return (
      r !== undefined &&
      s !== undefined &&
      verify(hash, signed, { key, dsaEncoding: 'ieee-p1363' }, Buffer.concat([r, s]))
    )
  }

const eddsa: Verify = (key, signed, signature) =>
  key.asymmetricKeyType === 'ed25519' && verify(null, signed, key, signature)

const hmac =
  (hash: string): Builtin =>
  ([value, secret]) => {
    const key = text(secret)
    const token = tokenOf(value)
    const wanted = createHmac(hash, key).update(`${token.header}.${token.payload}`).digest()
    const signature = bytesOf(token.signature)
    return signature.length === wanted.length && timingSafeEqual(signature, wanted)
  }

const BITS = ['256', '384', '512']
const each = (name: string, make: (hash: string) => Builtin): [string, Builtin][] =>
  BITS.map((bits) => [`io.jwt.verify_${name}${bits}`, make(`sha${bits}`)])

export const JWT: Record<string, Builtin> = {
  'io.jwt.decode': decode,
  'io.jwt.verify_eddsa': verifyWith(eddsa),
  ...Object.fromEntries([
    ...each('hs', hmac),
    ...each('rs', (hash) => verifyWith(rsa(hash, constants.RSA_PKCS1_PADDING))),
    ...each('ps', (hash) => verifyWith(rsa(hash, constants.RSA_PKCS1_PSS_PADDING))),
    ...each('es', (hash) => verifyWith(ecdsa(hash))),
  ]),
}
