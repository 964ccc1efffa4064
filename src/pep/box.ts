import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto'
import { type Json, parseStrict } from '../mcp/strict-json.ts'

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

export type BoxOptions = {
  /** UTF-16 units of a token that is looked at */
  longest?: number
  /** the same text gives the same token: the nonce is made of it (the idea is that of RFC 5297) */
  stable?: boolean
}

/**
 * @param secret any length, e.g. `plugins.mcp.session_key`
 * @param purpose a token of one purpose opens for no other; `bound` says the same of what it must be presented with
 */
export function createBox(secret: Uint8Array, purpose: string, options: BoxOptions = {}): Box {
  const { longest = MAX_TOKEN, stable = false } = options
  const derive = (what: string) => Buffer.from(hkdfSync('sha256', secret, '', `mcp-opa-sidecar ${what}`, 32))
  const key = derive(purpose)
  const nonceKey = derive(`${purpose} nonce`)
  const nonceOf = (text: string) =>
    stable ? createHmac('sha256', nonceKey).update(text).digest().subarray(0, NONCE) : randomBytes(NONCE)
  return {
    seal(text, bound = '') {
      const nonce = nonceOf(JSON.stringify([text, bound]))
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(bound))
      const sealed = Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
      return PREFIX + sealed.toString('base64url')
    },
    open(token, bound = '') {
      if (!token.startsWith(PREFIX) || token.length > longest) return undefined
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

/** The values of a list that was sealed as JSON; none of what is no list. */
export function readValues(text: string | undefined): Json[] {
  const parsed = text === undefined ? undefined : parseStrict(text)
  return parsed?.ok && Array.isArray(parsed.value) ? parsed.value : []
}
