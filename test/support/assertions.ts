import {
  createHash,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  randomUUID,
  sign as signBytes,
} from 'node:crypto'

export const ISSUER = 'mcp.example.com'
export const AUDIENCE = 'mcp.example.com'

type Person = { sub: string; user: string; email: string; groups: string[]; sid: string; name: string }
const person = (sub: string, email: string, groups: string[], name: string): Person => ({
  sub,
  user: sub,
  email,
  groups,
  sid: `sid-${sub}`,
  name,
})

/** Spread one into `mint`: `mint(people.mona)`. The bot is a service account: Pomerium gives it neither e-mail nor name. */
export const people = {
  alice: person('alice-sub-1', 'alice@example.com', ['engineering'], 'Alice Example'),
  mona: person('mona-sub-2', 'mona@example.com', ['engineering', 'maintainers'], 'Mona Example'),
  bot: person('svc:pr-bot', '', [], ''),
}

export type Issuer = {
  kid: string
  /** the JWK Set with the one public key, as JSON */
  jwks: string
  jwk: JsonWebKey & { kid: string; alg: string; use: string }
  publicKey: KeyObject
  privateKey: KeyObject
  /** an assertion with Pomerium's eleven claims, of alice unless overridden; a claim that is `undefined` is left out */
  mint: (claims?: Record<string, unknown>, header?: Record<string, unknown>) => string
  /** signs any text as header and payload, for what no honest issuer would write */
  sign: (header: string, payload: string | Buffer) => string
}

/** An issuer as Pomerium is one, with a key of its own. */
export function createIssuer({
  algorithm = 'ES256',
  kid,
  bits = 2048,
}: {
  algorithm?: 'ES256' | 'RS256'
  kid?: string
  bits?: number
} = {}): Issuer {
  const { publicKey, privateKey } =
    algorithm === 'ES256'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : generateKeyPairSync('rsa', { modulusLength: bits })
  const bare = publicKey.export({ format: 'jwk' })
  const id = kid ?? thumbprint(bare)
  const jwk = { use: 'sig', kid: id, alg: algorithm, ...bare }

  const sign = (header: string, payload: string | Buffer): string => {
    const signed = `${encode(header)}.${encode(payload)}`
    const key = algorithm === 'ES256' ? ({ key: privateKey, dsaEncoding: 'ieee-p1363' } as const) : privateKey
    return `${signed}.${signBytes('sha256', Buffer.from(signed), key).toString('base64url')}`
  }
  return {
    kid: id,
    jwks: jwksOf(jwk),
    jwk,
    publicKey,
    privateKey,
    sign,
    mint(claims = {}, header = {}) {
      const now = Math.floor(Date.now() / 1000)
      const iat = typeof claims.iat === 'number' ? claims.iat : now
      const all = {
        aud: AUDIENCE,
        exp: iat + 300,
        iat,
        iss: ISSUER,
        jti: randomUUID(),
        ...people.alice,
        ...claims,
      }
      return sign(JSON.stringify({ alg: algorithm, kid: id, typ: 'JWT', ...header }), JSON.stringify(all))
    },
  }
}

/** A JWK Set of the keys of several issuers. */
export const jwksOf = (...keys: object[]): string => JSON.stringify({ keys })

export const encode = (text: string | Buffer): string => Buffer.from(text as string).toString('base64url')

/** RFC 7638, in hexadecimal as Pomerium writes it. */
function thumbprint({ crv, e, kty, n, x, y }: JsonWebKey): string {
  const members = kty === 'EC' ? { crv, kty, x, y } : { e, kty, n }
  return createHash('sha256').update(JSON.stringify(members)).digest('hex')
}
