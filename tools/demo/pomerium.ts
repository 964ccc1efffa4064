// NOT Pomerium: a stand-in for the part of it that signs who is asking, with a key made on the spot.
import { randomUUID } from 'node:crypto'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'

export type Person = { subject: string; email: string; name: string; groups: string[] }

/** The claims and their names as Pomerium 0.33 mints them; it names the route's host as issuer and audience. */
export const createStandIn = async (host: string) => {
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  const kid = 'stand-in'
  const mint = (person: Person): Promise<string> => {
    const { subject, email, name, groups } = person
    const now = Math.floor(Date.now() / 1000)
    return new SignJWT({ user: subject, email, name, groups, sid: `session-of-${subject}` })
      .setProtectedHeader({ alg: 'ES256', kid, typ: 'JWT' })
      .setIssuer(host)
      .setAudience(host)
      .setSubject(subject)
      .setJti(randomUUID())
      .setIssuedAt(now)
      .setExpirationTime(now + 300)
      .sign(privateKey)
  }
  return {
    mint,
    jwks: { keys: [{ ...(await exportJWK(publicKey)), kid, alg: 'ES256', use: 'sig' }] },
    /** What Pomerium does to a request on its way: adds who asks, and the token it holds for the upstream. */
    through:
      (person: Person, upstreamToken: string): typeof fetch =>
      async (input, init) => {
        const headers = new Headers(init?.headers)
        headers.set('x-pomerium-jwt-assertion', await mint(person))
        headers.set('authorization', `Bearer ${upstreamToken}`)
        return fetch(input, { ...init, headers })
      },
  }
}
