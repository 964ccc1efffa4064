import { isObject, parseStrict } from '../mcp/strict-json.ts'
import type { Owner } from '../pdp/identity.ts'
import { type Client, readClient } from '../pdp/input.ts'
import { createBox } from './box.ts'
import { createPlaces, type Places } from './place.ts'

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
  /** the lists whose changes the server said it would tell: `tools`, `prompts`, `resources` */
  lists?: string[]
}

export type Sealer = {
  seal: (session: Session) => string
  open: (token: string) => Session | undefined
  places: Places
}

/** @param secret any length, e.g. `plugins.mcp.session_key` */
export function createSealer(secret: Uint8Array): Sealer {
  const box = createBox(secret, 'session')
  return {
    seal(session) {
      const { issuer, subject, audience } = session.owner
      const { upstream, version, client = null, issued, lists = [] } = session
      return box.seal(JSON.stringify([upstream, issuer, subject, audience, version, client, issued, lists]))
    },
    open(token) {
      const text = box.open(token)
      return text === undefined ? undefined : readSession(text)
    },
    places: createPlaces(secret),
  }
}

function readSession(text: string): Session | undefined {
  const parsed = parseStrict(text)
  if (!parsed.ok || !Array.isArray(parsed.value)) return undefined
  const [upstream, issuer, subject, audience, version, info, issued, lists] = parsed.value
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
  if (Array.isArray(lists)) session.lists = lists.filter((one) => typeof one === 'string')
  return session
}
