import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'

/** Text that only who has the key can read or make (AES-256-GCM), as the holder of a token sees it. */
export type Box = {
  seal: (text: string, bound?: string) => string
  /** undefined for what was not sealed by this key, for this purpose, or bound to something else */
  open: (token: string, bound?: string) => string | undefined
}

const PREFIX = 'v1.'
const NONCE = 12
const TAG = 16
/** Longer ones are none of ours; a header of 4 KiB is the most that is looked at. */
export const MAX_TOKEN = 4096

/**
 * @param secret any length, e.g. `plugins.mcp.session_key`
 * @param purpose a token of one purpose opens for no other; `bound` says the same of what it must be presented with
 */
export function createBox(secret: Uint8Array, purpose: string): Box {
  const key = Buffer.from(hkdfSync('sha256', secret, '', `mcp-opa-sidecar ${purpose}`, 32))
  return {
    seal(text, bound = '') {
      const nonce = randomBytes(NONCE)
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(bound))
      const sealed = Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
      return PREFIX + sealed.toString('base64url')
    },
    open(token, bound = '') {
      if (!token.startsWith(PREFIX) || token.length > MAX_TOKEN) return undefined
      const sealed = Buffer.from(token.slice(PREFIX.length), 'base64url')
      if (sealed.length < NONCE + TAG || PREFIX + sealed.toString('base64url') !== token) return undefined
      const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE))
      decipher.setAAD(Buffer.from(bound)).setAuthTag(sealed.subarray(-TAG))
      try {
        return decipher.update(sealed.subarray(NONCE, -TAG)).toString('utf8') + decipher.final('utf8')
      } catch {
        return undefined
      }
    },
  }
}
