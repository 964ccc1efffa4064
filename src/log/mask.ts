import type { Json, JsonObject } from '../mcp/strict-json.ts'

/** What a record may not hold, whatever the policy says: values that look like credentials, and very long ones. */
export type Masked = { value: JsonObject; masked: string[]; truncated: string[] }

const MASK = '***'
/** UTF-16 units of a string that are kept whole, and of a longer one's head. */
const LONGEST = 4096
const HEAD = 256
const DEEPEST = 20
const WIDEST = 1000
/** UTF-16 units of all strings of one value together. */
const BUDGET = 24_576
/** Beyond these a value is not copied at all: values in it, and UTF-16 units of its keys and of the pointers to them. */
const MOST_VALUES = 5_000
const MOST_NAMES = 65_536

/** `token`, `apiKey`, `user_password` …; not `max_tokens` or `author`. Matched on the key as lower snake case. */
const SECRET_KEY =
  /(?:^|_)(?:pass(?:word|wd|phrase)?|secrets?|token|api_?key|access_?key|private_?key|authorization|credentials?|cookie|session_?id|assertion|jwt|bearer)$/
/** GitHub, AWS, Slack, JWT, OpenAI-like, Google, PEM, bearer headers, userinfo in URLs. Linear patterns only. */
const SECRET_VALUE =
  /gh[opsur]_[A-Za-z0-9]{20}|github_pat_[A-Za-z0-9_]{20}|\bAKIA[A-Z0-9]{12}|\bxox[abeoprs]-[A-Za-z0-9-]{8}|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.|\bsk-[A-Za-z0-9_-]{16}|\bAIza[A-Za-z0-9_-]{20}|-----BEGIN [A-Z ]*PRIVATE KEY|\b[Bb]earer [A-Za-z0-9._~+/-]{8}|:\/\/[^\s/:@]{1,256}:[^\s/@]{1,256}@/

/**
 * A copy without secrets and within bounds, with JSON pointers of what was masked or cut; undefined where the value
 * has so many parts, or such long names, that a copy would be many times as long as what came.
 * @param digest stands for a cut value, so that two records can be compared
 */
export function scrub(value: JsonObject, at: string, digest: (text: string) => string): Masked | undefined {
  const masked: string[] = []
  const truncated: string[] = []
  let budget = BUDGET
  let values = 0
  let names = 0
  const tooMuch = () => values > MOST_VALUES || names > MOST_NAMES
  const note = (list: string[], pointer: string) => {
    names += pointer.length
    list.push(pointer)
  }
  const cut = (text: string, pointer: string): Json => {
    note(truncated, pointer)
    const head = SECRET_VALUE.test(text.slice(0, HEAD * 2)) ? MASK : text.slice(0, HEAD).toWellFormed()
    return { _truncated: true, bytes: Buffer.byteLength(text), hmac: digest(text), head }
  }
  const walk = (node: Json, pointer: string, depth: number): Json => {
    if (typeof node === 'string') {
      if (node.length > LONGEST || node.length > budget) return cut(node, pointer)
      budget -= node.length
      if (!SECRET_VALUE.test(node)) return node
      note(masked, pointer)
      return MASK
    }
    if (node === null || typeof node !== 'object') return node
    const entries = Array.isArray(node)
      ? node.map((item, i) => [String(i), item] as const)
      : Object.entries(node)
    if (depth > DEEPEST || entries.length > WIDEST) return cut(JSON.stringify(node), pointer)
    const out: JsonObject = {}
    for (const [key, inner] of entries) {
      values++
      names += key.length
      if (tooMuch()) return null
      const { secret, token, name } = aboutKey(key)
      const below = `${pointer}/${token}`
      if (!Array.isArray(node) && secret && inner !== null && typeof inner !== 'boolean') {
        note(masked, below)
        out[name] = MASK
      } else out[name] = walk(inner, below, depth + 1)
    }
    return Array.isArray(node) ? Object.values(out) : out
  }
  const copy = walk(value, at, 0) as JsonObject
  return tooMuch() ? undefined : { value: copy, masked, truncated }
}

/** A text that stands on its own in a record, e.g. an id that a client chose. */
export const scrubText = (text: string): string =>
  SECRET_VALUE.test(text) ? MASK : text.slice(0, HEAD).toWellFormed()

/** Whether a key names a secret, how a record writes it (it may be one itself), and how a JSON pointer does. */
type AboutKey = { secret: boolean; name: string; token: string }

/** The same few keys come in every message. The table is bounded, and starts anew when it is full. */
const keys = new Map<string, AboutKey>()
const KEYS = 2000
const LONGEST_KEY = 64

function aboutKey(key: string): AboutKey {
  const known = keys.get(key)
  if (known) return known
  const name = SECRET_VALUE.test(key) ? MASK : key
  const about = { secret: isSecretKey(key), name, token: name.replaceAll('~', '~0').replaceAll('/', '~1') }
  if (key.length <= LONGEST_KEY) {
    if (keys.size >= KEYS) keys.clear()
    keys.set(key, about)
  }
  return about
}

const isSecretKey = (key: string): boolean =>
  key.length <= 256 &&
  SECRET_KEY.test(
    key
      .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
      .replaceAll('-', '_')
      .toLowerCase(),
  )
