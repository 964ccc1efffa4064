/**
 * One reading of JSON (RFC 8259, I-JSON RFC 7493): a text that two parsers could read differently is refused,
 * never repaired. Pure.
 */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }
export type JsonObject = { [key: string]: Json }

/** Why a text was refused; stable, for records and tests. */
export type JsonFault =
  | 'too_large'
  | 'invalid_utf8'
  | 'byte_order_mark'
  | 'too_deep'
  | 'too_many_keys'
  | 'syntax'
  | 'duplicate_key'
  | 'ambiguous_key'
  | 'forbidden_key'
  | 'unsafe_number'
  | 'lone_surrogate'
  | 'string_too_long'

export type JsonLimits = {
  /** bytes of the whole text */
  bytes: number
  depth: number
  /** object keys in the whole text */
  keys: number
  /** UTF-16 units of one string */
  string: number
}

export const DEFAULT_JSON_LIMITS: JsonLimits = { bytes: 1 << 20, depth: 64, keys: 50_000, string: 512 << 10 }

export type JsonResult = { ok: true; value: Json } | { ok: false; fault: JsonFault }

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Reads `bytes` as exactly one JSON value. Linear in their number; bounds are checked before anything is built. */
export function parseStrictBytes(bytes: Uint8Array, limits: JsonLimits = DEFAULT_JSON_LIMITS): JsonResult {
  if (bytes.length > limits.bytes) return fail('too_large')
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch {
    return fail('invalid_utf8')
  }
  return parseStrict(text, limits)
}

export function parseStrict(text: string, limits: JsonLimits = DEFAULT_JSON_LIMITS): JsonResult {
  if (text.length > limits.bytes) return fail('too_large')
  if (text.charCodeAt(0) === 0xfeff) return fail('byte_order_mark')
  const shape = measure(text, limits)
  if (typeof shape === 'string') return fail(shape)
  let value: Json
  try {
    value = shape.escapedKeys ? parseExact(text) : JSON.parse(text)
  } catch {
    return fail('syntax')
  }
  const seen = { keys: 0 }
  const fault = inspect(value, limits, seen)
  if (fault) return fail(fault)
  // Each key in the text has one colon outside strings; JSON.parse keeps one of two equal keys.
  if (seen.keys !== shape.colons) return fail('duplicate_key')
  return { ok: true, value }
}

const fail = (fault: JsonFault): JsonResult => ({ ok: false, fault })

/** No key starts with it that is not one of ours: those that do are put aside like keys with escapes. */
const ASIDE = '\ue000'

/**
 * JSON.parse with the keys that the text has. V8 takes a key with escapes for another one that it met before in an
 * object of the same shape (nodejs/node#63785), so such keys are read under other names and put back.
 * @throws SyntaxError
 */
export function parseExact(text: string): Json {
  if (!text.includes('\\')) return JSON.parse(text)
  const keys: string[] = []
  const parts: string[] = []
  let copied = 0
  for (let open = text.indexOf('"'); open >= 0; ) {
    const end = endOfString(text, open)
    if (end < 0) break
    const token = text.slice(open, end + 1)
    if (isKey(text, end) && (token[1] === ASIDE || token.includes('\\'))) {
      parts.push(text.slice(copied, open), `"${ASIDE}${keys.length}"`)
      keys.push(JSON.parse(token))
      copied = end + 1
    }
    open = text.indexOf('"', end + 1)
  }
  if (keys.length === 0) return JSON.parse(text)
  return putBack(JSON.parse(parts.join('') + text.slice(copied)), keys)
}

function isKey(text: string, end: number): boolean {
  let at = end + 1
  while (text[at] === ' ' || text[at] === '\n' || text[at] === '\t' || text[at] === '\r') at++
  return text[at] === ':'
}

function putBack(value: Json, keys: string[]): Json {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((item) => putBack(item, keys))
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key[0] === ASIDE ? (keys[Number(key.slice(1))] ?? key) : key,
      putBack(inner, keys),
    ]),
  )
}

const QUOTE = 0x22
const BACKSLASH = 0x5c

/** Depth, number of keys and whether any is escaped, before anything is parsed. Grammar is left to JSON.parse. */
function measure(text: string, limits: JsonLimits): JsonFault | { colons: number; escapedKeys: boolean } {
  let depth = 0
  let colons = 0
  let escapedKeys = false
  let slash = text.indexOf('\\')
  let last = { open: 0, end: 0 }
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c === QUOTE) {
      const end = endOfString(text, i)
      if (end < 0) return 'syntax'
      last = { open: i, end }
      i = end
    } else if (c === 0x7b || c === 0x5b) {
      if (++depth > limits.depth) return 'too_deep'
    } else if (c === 0x7d || c === 0x5d) depth--
    else if (c === 0x3a) {
      if (++colons > limits.keys) return 'too_many_keys'
      if (slash >= 0 && slash < last.open) slash = text.indexOf('\\', last.open)
      if (slash >= 0 && slash < last.end) escapedKeys = true
    }
  }
  return { colons, escapedKeys }
}

/** Index of the quote that closes the string opened at `open`, or -1. */
function endOfString(text: string, open: number): number {
  let from = open + 1
  for (;;) {
    const quote = text.indexOf('"', from)
    if (quote < 0) return -1
    let escapes = 0
    while (quote - escapes > from && text.charCodeAt(quote - 1 - escapes) === BACKSLASH) escapes++
    if (escapes % 2 === 0) return quote
    from = quote + 1
  }
}

/** What the grammar allows and readers disagree on. */
function inspect(value: Json, limits: JsonLimits, seen: { keys: number }): JsonFault | undefined {
  if (typeof value === 'string') return inspectString(value, limits)
  if (typeof value === 'number') return isSafeNumber(value) ? undefined : 'unsafe_number'
  if (typeof value !== 'object' || value === null) return undefined
  if (Array.isArray(value)) {
    for (const item of value) {
      const fault = inspect(item, limits, seen)
      if (fault) return fault
    }
    return undefined
  }
  const keys = Object.keys(value)
  seen.keys += keys.length
  const fault = inspectKeys(keys, limits)
  if (fault) return fault
  for (const key of keys) {
    const inner = inspect(value[key] as Json, limits, seen)
    if (inner) return inner
  }
  return undefined
}

function inspectString(text: string, limits: JsonLimits): JsonFault | undefined {
  if (text.length > limits.string) return 'string_too_long'
  return text.isWellFormed() ? undefined : 'lone_surrogate'
}

/** Doubles beyond 2^53 are rounded by some readers and kept by others; overflow becomes Infinity, then `null`. */
const isSafeNumber = (n: number) => Number.isFinite(n) && Math.abs(n) <= Number.MAX_SAFE_INTEGER

/** Keys of this alphabet are equal under case folding only if they are equal. */
const UNFOLDED = /^[a-z0-9_.:/$@ -]*$/

function inspectKeys(keys: string[], limits: JsonLimits): JsonFault | undefined {
  let plain = true
  for (const key of keys) {
    if (key.length > limits.string) return 'string_too_long'
    if (UNFOLDED.test(key)) {
      if (key === '__proto__') return 'forbidden_key'
      continue
    }
    plain = false
    if (key.includes('\0')) return 'forbidden_key'
    const fault = inspectString(key, limits)
    if (fault) return fault
  }
  if (plain || keys.length < 2) return undefined
  return new Set(keys.map(foldKey)).size === keys.length ? undefined : 'ambiguous_key'
}

/** Keys that a case-insensitive reader takes for one another fold to the same text (ASCII and Unicode, with NFKC). */
export const foldKey = (key: string): string =>
  ASCII.test(key) ? key.toLowerCase() : key.normalize('NFKC').toUpperCase().toLowerCase().normalize('NFKC')

/** NFKC leaves it as it is, and it has no letter that two others fold to. */
const ASCII = /^[\0-\x7f]*$/

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
