import { generateKeyPairSync, type KeyObject, randomUUID, sign } from 'node:crypto'

export type Algorithm = 'ES256' | 'RS256'
export const HOST = 'mcp.example.com'
/** Different people, as many lists are remembered by the sidecar. */
const PEOPLE = 8

/** Assertions as Pomerium mints them, a fresh one for each request, made before they are needed. */
export type Mint = {
  jwks: string
  /** makes `count` new ones, valid from now on */
  fill: (algorithm: Algorithm, count: number) => Promise<void>
  next: (algorithm: Algorithm) => string
  /** one to be carried past those who do not read it */
  any: string
  /** how often one had to be used again, because more requests were sent than were made */
  reused: () => number
}

export async function createMint(): Promise<Mint> {
  const pairs = {
    ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  }
  const algorithms = Object.keys(pairs) as Algorithm[]
  const keys = algorithms.map((alg) => ({
    ...pairs[alg].publicKey.export({ format: 'jwk' }),
    kid: alg,
    alg,
    use: 'sig',
  }))
  const made: Record<Algorithm, string[]> = { ES256: [], RS256: [] }
  const at: Record<Algorithm, number> = { ES256: 0, RS256: 0 }
  let again = 0
  return {
    jwks: JSON.stringify({ keys }),
    async fill(algorithm, count) {
      made[algorithm] = []
      at[algorithm] = 0
      while (made[algorithm].length < count) {
        const from = made[algorithm].length
        const group = Array.from({ length: Math.min(256, count - from) }, (_, i) =>
          mint(algorithm, pairs[algorithm].privateKey, from + i),
        )
        made[algorithm].push(...(await Promise.all(group)))
      }
    },
    next(algorithm) {
      const all = made[algorithm]
      const n = at[algorithm]++
      if (n >= all.length) again++
      return all[n % all.length] as string
    },
    any: await mint('ES256', pairs.ES256.privateKey, 0),
    reused: () => again,
  }
}

/** The claims of Pomerium's `authorize/evaluator/headers_evaluator_evaluation.go`. */
function mint(algorithm: Algorithm, key: KeyObject, n: number): Promise<string> {
  const iat = Math.floor(Date.now() / 1000)
  const person = `00000000-0000-4000-8000-00000000000${n % PEOPLE}`
  const claims = {
    iss: HOST,
    aud: HOST,
    jti: randomUUID(),
    iat,
    exp: iat + 300,
    sub: person,
    user: person,
    email: `person${n % PEOPLE}@acme.com`,
    groups: ['engineering', 'everyone', 'payments'],
    sid: `session-${n % PEOPLE}`,
    name: `Person ${n % PEOPLE}`,
  }
  const text = `${part({ alg: algorithm, kid: algorithm, typ: 'JWT' })}.${part(claims)}`
  const how = algorithm === 'ES256' ? ({ key, dsaEncoding: 'ieee-p1363' } as const) : key
  return new Promise((resolve, reject) => {
    sign('sha256', Buffer.from(text), how, (error, signature) => {
      if (error) reject(error)
      else resolve(`${text}.${signature.toString('base64url')}`)
    })
  })
}

const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
