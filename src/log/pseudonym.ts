import { isObject, type JsonObject } from '../mcp/strict-json.ts'
import { keyedDigest } from '../pdp/input.ts'

/** Who somebody is, where records may not say so: the same for the same name and key, and of use to nobody else. */
export const pseudonym = (key: Uint8Array, name: string): string => keyedDigest(key, name)

/** A name as it is recorded. @param key undefined: as it is */
export const recordedName = (key: Uint8Array | undefined, name: string): string =>
  key === undefined ? name : pseudonym(key, name)

const NAMES = ['subject', 'email', 'name', 'sid'] as const

/**
 * An input whose identity is pseudonyms. Groups, issuer and audience stay, as rules are about them; what other claims
 * say of a person nobody knows, so they go.
 */
export function pseudonymous(input: JsonObject, key: Uint8Array): { value: JsonObject; masked: string[] } {
  const { identity } = input
  if (!isObject(identity)) return { value: input, masked: [] }
  const names = NAMES.filter((name) => typeof identity[name] === 'string')
  const digests = Object.fromEntries(names.map((name) => [name, pseudonym(key, String(identity[name]))]))
  const claimed = isObject(identity.claims) && Object.keys(identity.claims).length > 0
  return {
    value: { ...input, identity: { ...identity, ...digests, ...(claimed && { claims: {} }) } },
    masked: [...names, ...(claimed ? ['claims'] : [])].map((name) => `/input/identity/${name}`),
  }
}
