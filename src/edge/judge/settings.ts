import type { Expected, Identity } from '../../pdp/identity.ts'
import { isLoopback } from '../http/address.ts'
import { readFileOf, type Section } from '../settings.ts'
import { readJwks } from './assertion.ts'
import type { KeySource } from './keys.ts'
import { type ReplaySettings, readReplay } from './replay.ts'

/** `plugins.mcp.identity`: whose assertions are believed, or who is believed to ask on a laptop. */
export type IdentitySettings =
  | { kind: 'pomerium'; expected: Expected; keys: KeySource; replay: ReplaySettings }
  | { kind: 'development'; identity: Identity }

export function readIdentity(section: Section): IdentitySettings {
  if (section.has('development')) {
    const development = section.section('development')
    const subject = development.string('subject')
    const email = development.optional('email')
    const groups = development.strings('groups')
    for (const key of ['jwks_url', 'jwks_file', 'jwks', 'issuer', 'audience', 'ca_file']) {
      if (section.has(key)) section.fault(key, 'has no meaning beside identity.development')
    }
    development.done()
    section.done()
    const identity: Identity = {
      source: 'configured',
      subject,
      groups,
      claims: {},
      ...(email !== undefined && { email }),
    }
    return { kind: 'development', identity }
  }
  const expected = {
    issuer: section.string('issuer'),
    audience: section.string('audience'),
    tolerance: section.duration('clock_tolerance', '30s', '0s', '60s') / 1000,
  }
  const keys = readKeySource(section)
  const replay = readReplay(section)
  section.done()
  return { kind: 'pomerium', expected, keys, replay }
}

function readKeySource(section: Section): KeySource {
  const [url, path, inline, ca] = [
    section.optional('jwks_url'),
    section.optional('jwks_file'),
    section.optional('jwks'),
    section.optional('ca_file'),
  ]
  if ([url, path, inline].filter((source) => source !== undefined).length !== 1) {
    section.fault(
      'jwks_url',
      'exactly one of jwks_url, jwks_file and jwks is required (or identity.development on a laptop)',
    )
  }
  if (ca !== undefined && url === undefined) section.fault('ca_file', 'has a meaning only with jwks_url')
  if (url !== undefined) {
    const parsed = URL.canParse(url) ? new URL(url) : undefined
    if (
      !parsed ||
      !(parsed.protocol === 'https:' || (parsed.protocol === 'http:' && isLoopback(parsed.hostname)))
    ) {
      section.fault('jwks_url', 'must be an https URL (http only to loopback)')
    }
    const pem = ca === undefined ? undefined : readFileOf(section, 'ca_file', ca)
    return { kind: 'url', url, ...(pem !== undefined && { ca: pem }) }
  }
  if (path !== undefined) {
    const text = readFileOf(section, 'jwks_file', path)
    if (text !== undefined && !readJwks(text)?.size)
      section.fault('jwks_file', 'has no usable ES256 or RS256 key')
    return { kind: 'file', path }
  }
  if (inline !== undefined && !readJwks(inline)?.size)
    section.fault('jwks', 'has no usable ES256 or RS256 key')
  return { kind: 'inline', jwks: inline ?? '' }
}
