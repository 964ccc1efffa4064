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
import { array, type Builtin, isArray, number, object, text } from './operand.ts'
import { compare, Num, OperandError, RegoObject, Unanswerable, type Value } from './value.ts'

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

/** The members of a header that a verification looks at. */
function membersOf(header: RegoObject): { alg: string; kid: string; cty: string } {
  const word = (name: string): string => {
    const found = header.get(name)
    if (found !== undefined && typeof found !== 'string') throw new OperandError(`${name}: must be a string`)
    return found ?? ''
  }
  word('typ')
  return { alg: word('alg'), kid: word('kid'), cty: word('cty') }
}

/** The key that the token names, or else any whose algorithm is the token's or is not said. */
function anyHolds(
  keys: Key[],
  { alg, kid }: { alg: string; kid: string },
  check: (key: KeyObject) => boolean,
) {
  const holds = ({ key }: Key) => key !== undefined && check(key)
  const named = kid === '' ? undefined : keys.find((key) => key.kid === kid)
  return named ? holds(named) : keys.some((key) => (key.alg === '' || key.alg === alg) && holds(key))
}

const signedBy = (token: Token): Buffer => Buffer.from(`${token.header}.${token.payload}`)

const verifyWith =
  (check: Verify): Builtin =>
  ([value, certificate]) => {
    const token = tokenOf(value)
    const keys = keysOf(text(certificate))
    const signature = bytesOf(token.signature)
    const header = headerOf(token)
    const members = membersOf(header)
    if (header.get('crit') !== undefined) throw new Unanswerable('io.jwt: a header with crit')
    return anyHolds(keys, members, (key) => check(key, signedBy(token), signature))
  }

const rsa =
  (hash: string, padding: number): Verify =>
  (key, signed, signature) =>
    key.asymmetricKeyType === 'rsa' &&
    verify(hash, signed, { key, padding, saltLength: constants.RSA_PSS_SALTLEN_AUTO }, signature)

/** Bytes of one half of a signature, by curve. */
const SIZES: Record<string, number> = { prime256v1: 32, secp384r1: 48, secp521r1: 66 }

const ecdsa =
  (hash: string): Verify =>
  (key, signed, signature) => {
    if (key.asymmetricKeyType !== 'ec') return false
    // Go takes the two halves whatever their size, with the curve of the key.
    const half = Math.floor(signature.length / 2)
    const size = SIZES[key.asymmetricKeyDetails?.namedCurve ?? '']
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

function macHolds(hash: string, secret: string, token: Token, signature: Buffer): boolean {
  const wanted = createHmac(hash, secret).update(signedBy(token)).digest()
  return signature.length === wanted.length && timingSafeEqual(signature, wanted)
}

const hmac =
  (hash: string): Builtin =>
  ([value, secret]) => {
    const key = text(secret)
    const token = tokenOf(value)
    return macHolds(hash, key, token, bytesOf(token.signature))
  }

const BITS = ['256', '384', '512']
const each = (name: string, make: (hash: string) => Builtin): [string, Builtin][] =>
  BITS.map((bits) => [`io.jwt.verify_${name}${bits}`, make(`sha${bits}`)])

const CURVES: Record<string, string> = { ES256: 'prime256v1', ES384: 'secp384r1', ES512: 'secp521r1' }

/** Whether the signature holds under the algorithm that the token names itself. */
function holdsAs(alg: string, key: KeyObject, signed: Buffer, signature: Buffer): boolean {
  const [, family = '', bits = ''] = /^(RS|PS|ES)(256|384|512)$/.exec(alg) ?? []
  if (alg === 'EdDSA') return eddsa(key, signed, signature)
  if (family === 'RS') return rsa(`sha${bits}`, constants.RSA_PKCS1_PADDING)(key, signed, signature)
  if (family === 'PS') return rsa(`sha${bits}`, constants.RSA_PKCS1_PSS_PADDING)(key, signed, signature)
  if (family !== 'ES' || key.asymmetricKeyType !== 'ec') return false
  const curve = key.asymmetricKeyDetails?.namedCurve ?? ''
  if (curve !== CURVES[alg])
    throw new Unanswerable(`io.jwt.decode_verify: ${alg} with a key of another curve`)
  const size = 2 * (SIZES[curve] ?? 0)
  return signature.length === size && ecdsa(`sha${bits}`)(key, signed, signature)
}

type Constraints = {
  keys: Key[] | undefined
  secret: string
  alg: string
  iss: string
  aud: string
  time: Num
}

function constraintsOf(value: Value | undefined, now: () => bigint): Constraints {
  const given = object(value)
  const found: Constraints = { keys: undefined, secret: '', alg: '', iss: '', aud: '', time: new Num(-1) }
  for (const [name, of] of given.entries) {
    if (typeof name !== 'string') throw new Unanswerable('io.jwt.decode_verify: a constraint that is no word')
    if (name === 'cert') found.keys = keysOf(text(of))
    else if (name === 'secret' || name === 'alg' || name === 'iss' || name === 'aud') found[name] = text(of)
    else if (name === 'time') found.time = number(of)
    else throw new OperandError(`unknown token validation constraint: ${name}`)
  }
  const timed = given.get('time') !== undefined
  if (timed && !(Number(found.time.text) >= 0)) throw new OperandError('time must not be negative')
  if (Number(found.keys !== undefined) + Number(found.secret !== '') !== 1)
    throw new OperandError('one of cert and secret')
  if (!timed) found.time = new Num(now())
  return found
}

/** A critical parameter that OPA does not know makes a token invalid (RFC 7515, 4.1.11). */
function isCritical(header: RegoObject): boolean {
  const crit = header.get('crit')
  if (crit === undefined) return false
  const names = array(crit)
  if (names.length === 0) throw new OperandError('crit: must be a nonempty list')
  if (!names.every((name) => typeof name === 'string')) throw new Unanswerable('io.jwt: a crit of no strings')
  return names.some((name) => !KNOWN.has(name as string) && header.get(name) !== undefined)
}

const KNOWN = new Set(['alg', 'kid', 'typ', 'cty', 'crit'])
const UNVERIFIED: Value = [false, new RegoObject([]), new RegoObject([])]

const decodeVerify: Builtin = ([value, given], { now }) => {
  const constraints = constraintsOf(given, now)
  for (let of = value; ; ) {
    const token = tokenOf(of)
    const header = headerOf(token)
    const members = membersOf(header)
    if (members.alg === '' || isCritical(header)) return UNVERIFIED
    if (constraints.alg !== '' && constraints.alg !== members.alg) return UNVERIFIED
    const signature = bytesOf(token.signature)
    const { keys, secret } = constraints
    const verified = keys
      ? anyHolds(keys, members, (key) => holdsAs(members.alg, key, signedBy(token), signature))
      : /^HS(256|384|512)$/.test(members.alg) &&
        macHolds(`sha${members.alg.slice(2)}`, secret, token, signature)
    if (!verified) return UNVERIFIED
    if (members.cty.toLowerCase() === 'jwt') {
      of = textOf(bytesOf(token.payload), 'io.jwt')
      continue
    }
    const payload = objectOf(token.payload)
    return claimsHold(payload, constraints) ? [true, header, payload] : UNVERIFIED
  }
}

function claimsHold(payload: RegoObject, { iss, aud, time }: Constraints): boolean {
  const claimed = (name: string) => payload.get(name)
  const issuer = claimed('iss')
  if (iss !== '') {
    if (issuer !== undefined && typeof issuer !== 'string') throw new Unanswerable('io.jwt: iss is no string')
    if (issuer !== iss) return false
  }
  const audience = claimed('aud')
  if (
    audience === undefined ? aud !== '' : !(audience === aud || (isArray(audience) && audience.includes(aud)))
  )
    return false
  const seconds = new Num(Number(time.text) / 1e9)
  const limit = (name: string): Num | undefined => {
    const found = claimed(name)
    if (found !== undefined && !(found instanceof Num))
      throw new OperandError(`${name} value must be a number`)
    return found
  }
  const exp = limit('exp')
  if (exp && compare(seconds, exp) >= 0) return false
  const nbf = limit('nbf')
  return !nbf || compare(seconds, nbf) >= 0
}

export const JWT: Record<string, Builtin> = {
  'io.jwt.decode': decode,
  'io.jwt.decode_verify': decodeVerify,
  'io.jwt.verify_eddsa': verifyWith(eddsa),
  ...Object.fromEntries([
    ...each('hs', hmac),
    ...each('rs', (hash) => verifyWith(rsa(hash, constants.RSA_PKCS1_PADDING))),
    ...each('ps', (hash) => verifyWith(rsa(hash, constants.RSA_PKCS1_PSS_PADDING))),
    ...each('es', (hash) => verifyWith(ecdsa(hash))),
  ]),
}
