import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { isObject, parseStrict } from '../mcp/strict-json.ts'
import type { Owner } from '../pdp/identity.ts'
import { type Client, readClient } from '../pdp/input.ts'

/**
 * A session as the client holds it: sealed, so that it survives a restart, replicas need only the key, and nobody
 * can use an id that we did not seal for them.
 */
export type Session = {
  /** the upstream's own session id; empty where the upstream has none */
  upstream: string
  owner: Owner
  version: string
  client?: Client
  /** milliseconds since the epoch */
  issued: number
}

export type Sealer = { seal: (session: Session) => string; open: (token: string) => Session | undefined }

const PREFIX = 'v1.'
const NONCE = 12
const TAG = 16
/** Longer ones are none of ours; a header of 4 KiB is the most that is looked at. */
const MAX_TOKEN = 4096

/** @param secret any length, e.g. `plugins.mcp.session_key` */
export function createSealer(secret: Uint8Array): Sealer {
  const key = Buffer.from(hkdfSync('sha256', secret, '', 'mcp-opa-sidecar session', 32))
  return {
    seal(session) {
      const { issuer, subject, audience } = session.owner
      const body = [
        session.upstream,
        issuer,
        subject,
        audience,
        session.version,
        session.client ?? null,
        session.issued,
      ]
      const nonce = randomBytes(NONCE)
      const cipher = createCipheriv('aes-256-gcm', key, nonce)
      const sealed = Buffer.concat([
        nonce,
        cipher.update(JSON.stringify(body), 'utf8'),
        cipher.final(),
        cipher.getAuthTag(),
      ])
      return PREFIX + sealed.toString('base64url')
    },
    open(token) {
      if (!token.startsWith(PREFIX) || token.length > MAX_TOKEN) return undefined
      const sealed = Buffer.from(token.slice(PREFIX.length), 'base64url')
      if (sealed.length < NONCE + TAG || PREFIX + sealed.toString('base64url') !== token) return undefined
      const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE))
      decipher.setAuthTag(sealed.subarray(-TAG))
      try {
        const text = decipher.update(sealed.subarray(NONCE, -TAG)).toString('utf8') + decipher.final('utf8')
        return readSession(text)
      } catch {
        return undefined
      }
    },
  }
}

function readSession(text: string): Session | undefined {
  const parsed = parseStrict(text)
  if (!parsed.ok || !Array.isArray(parsed.value)) return undefined
  const [upstream, issuer, subject, audience, version, info, issued] = parsed.value
  const strings = [upstream, issuer, subject, audience, version]
  if (!strings.every((part) => typeof part === 'string') || typeof issued !== 'number') return undefined
  const session: Session = {
    upstream: upstream as string,
    owner: { issuer: issuer as string, subject: subject as string, audience: audience as string },
    version: version as string,
    issued,
  }
  const client = isObject(info) ? readClient(info) : undefined
  if (client) session.client = client
  return session
}
