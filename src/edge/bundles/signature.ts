import { constants, createHash, createPublicKey, verify } from 'node:crypto'
import { isObject, type Json, type JsonObject, parseStrict } from '../../mcp/strict-json.ts'
import type { Files } from './archive.ts'
import { canonicalJson } from './canonical.ts'
import { isYaml, readDocument } from './document.ts'
import { BundleError } from './failure.ts'
import type { VerifyKey } from './keys.ts'

/** What a bundle must be signed with (OPA docs, "Bundles", "Signature verification"). */
export type Signing = {
  keys: Record<string, VerifyKey>
  /** the key, whatever the signature names */
  keyid: string | undefined
  scope: string | undefined
  /** patterns of files that need no signature, as Go's `filepath.Match` reads them */
  exclude: string[]
}

const SIGNATURES = '.signatures.json'
/** OPA also takes MD5 and SHA-1, in which two files can be made that have the same. */
const HASHES: Record<string, string> = {
  'SHA-224': 'sha224',
  'SHA-256': 'sha256',
  'SHA-384': 'sha384',
  'SHA-512': 'sha512',
  'SHA-512-224': 'sha512-224',
  'SHA-512-256': 'sha512-256',
}
const LIMITS = { bytes: 16 << 20, depth: 16, keys: 500_000, string: 16 << 20 }

/**
 * Every file is in the one signature, with its hash, and every file of the signature is there.
 * @returns the name of the key
 * @throws BundleError
 */
export function checkSignature(name: string, files: Files, signing: Signing): string {
  const no = (text: string) => new BundleError('signature', `bundle ${name}: ${text}`)
  const bytes = files.get(SIGNATURES)
  if (!bytes) throw no(`it is not signed (no ${SIGNATURES}), and keys are configured`)
  const document = parsed(bytes)
  if (!document) throw no(`${SIGNATURES} is not a JSON object`)
  if (!['', '_default', undefined].includes(document.plugin as string | undefined))
    throw no(`${SIGNATURES} names a plugin, of which there is none here`)
  const { signatures } = document
  if (!Array.isArray(signatures) || signatures.length !== 1 || typeof signatures[0] !== 'string')
    throw no(`${SIGNATURES} must hold exactly one signature`)
  const { key, signed } = signedFiles(signatures[0], signing, no)
  const excluded = signing.exclude.map(globOf)
  for (const [file, content] of files) {
    if (file === SIGNATURES) continue
    if (excluded.some((glob) => glob.test(file))) {
      signed.delete(file)
      continue
    }
    const entry = signed.get(file)
    if (!entry) throw no(`${file} is not in its signature`)
    signed.delete(file)
    const hash = HASHES[entry.algorithm]
    if (hash === undefined)
      throw no(`${file} is hashed with ${entry.algorithm || 'nothing'}, which is refused`)
    const found = createHash(hash)
      .update(hashed(name, file, content))
      .digest('hex')
    if (found !== entry.hash.toLowerCase()) throw no(`${file} is not what was signed`)
  }
  const [missing] = signed.keys()
  if (missing !== undefined) throw no(`${missing} is in its signature and is missing`)
  return key
}

type Entry = { hash: string; algorithm: string }
type No = (text: string) => BundleError

function signedFiles(token: string, signing: Signing, no: No): { key: string; signed: Map<string, Entry> } {
  const parts = token.split('.')
  if (parts.length !== 3 || !parts.every((part) => /^[A-Za-z0-9_-]+$/.test(part)))
    throw no('its signature is not a compact JWT')
  const [head = '', body = '', signature = ''] = parts
  const header = parsed(Buffer.from(head, 'base64url'))
  const payload = parsed(Buffer.from(body, 'base64url'))
  if (!header || !payload) throw no('its signature is not a JWT with JSON objects in it')
  if (header.crit !== undefined) throw no('its signature has extensions that are not understood')
  const text = (value: Json | undefined) => (typeof value === 'string' && value !== '' ? value : undefined)
  const id = signing.keyid ?? text(header.kid) ?? text(payload.keyid)
  if (id === undefined) throw no('its signature names no key; say which in signing.keyid')
  const key = Object.hasOwn(signing.keys, id) ? signing.keys[id] : undefined
  if (!key) throw no(`it is signed with the key ${JSON.stringify(id)}, which is not in keys`)
  // The algorithm is the configured key's, never what the signature says.
  if (header.alg !== key.algorithm)
    throw no(`it is signed with ${String(header.alg)}, and the key ${id} is for ${key.algorithm}`)
  if (!holds(key, Buffer.from(`${head}.${body}`), Buffer.from(signature, 'base64url')))
    throw no(`its signature does not hold with the key ${id}`)
  const scope = signing.scope ?? key.scope
  if ((payload.scope ?? '') !== scope)
    throw no(`its signature has another scope than ${JSON.stringify(scope)}`)
  const files = new Map<string, Entry>()
  for (const file of Array.isArray(payload.files) ? payload.files : []) {
    if (!isObject(file) || typeof file.name !== 'string' || typeof file.hash !== 'string')
      throw no('its signature has an entry that is no file')
    if (files.has(file.name)) throw no(`its signature has ${file.name} twice`)
    files.set(file.name, { hash: file.hash, algorithm: String(file.algorithm ?? '') })
  }
  return { key: id, signed: files }
}

function holds({ algorithm, pem }: VerifyKey, data: Buffer, signature: Buffer): boolean {
  const hash = `sha${algorithm.slice(2)}`
  const key = createPublicKey(pem)
  try {
    return verify(hash, data, { key, ...PADDING[algorithm.slice(0, 2) as 'RS' | 'PS' | 'ES'] }, signature)
  } catch {
    return false
  }
}

const PADDING = {
  RS: { padding: constants.RSA_PKCS1_PADDING },
  PS: { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO },
  ES: { dsaEncoding: 'ieee-p1363' },
} as const

/** Documents are hashed by what they say, so that another layout of the same is the same. */
function hashed(name: string, file: string, content: Uint8Array): Uint8Array | string {
  const base = file.split('/').at(-1) ?? ''
  if (isYaml(base)) return canonicalJson(JSON.stringify(readDocument(name, file, content)))
  if (base !== 'data.json' && base !== '.manifest') return content
  const text = Buffer.from(content).toString('utf8')
  try {
    return canonicalJson(text)
  } catch {
    throw new BundleError('malformed', `bundle ${name}: ${file} is not JSON`)
  }
}

function parsed(bytes: Uint8Array): JsonObject | undefined {
  const read = parseStrict(Buffer.from(bytes).toString('utf8'), LIMITS)
  return read.ok && isObject(read.value) ? read.value : undefined
}

/** Go's `filepath.Match`: `*` and `?` do not pass a slash, and a pattern matches whole paths. */
function globOf(pattern: string): RegExp {
  let source = ''
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i] as string
    const closing = char === '[' ? pattern.indexOf(']', i + 2) : -1
    if (char === '*') source += '[^/]*'
    else if (char === '?') source += '[^/]'
    else if (closing > 0) {
      source += pattern.slice(i, closing + 1)
      i = closing
    } else source += escaped(char === '\\' ? (pattern[++i] ?? '\\') : char)
  }
  return new RegExp(`^${source}$`, 'u')
}

const escaped = (char: string) => char.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')
