import { createHash, createHmac } from 'node:crypto'
import { type Builtin, object, text } from './operand.ts'
import { compareText, Num, OperandError, RegoObject, RegoSet, Unanswerable, type Value } from './value.ts'

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** OPA's strings may hold any bytes; these hold Unicode. */
export function textOf(bytes: Uint8Array, name: string): string {
  try {
    return utf8.decode(bytes)
  } catch {
    throw new Unanswerable(`${name}: bytes that are not UTF-8`)
  }
}

/** Go's `json.Marshal` also escapes what HTML would read as markup. */
export const jsonText = (of: string): string =>
  JSON.stringify(of).replace(
    /[<>&\u2028\u2029]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )

/** `json.Marshal` of `ast.JSON`: keys sorted, sets as lists, numbers as they are. */
export function marshal(value: Value, open = '', indent = ''): string {
  if (typeof value === 'string') return jsonText(value)
  if (value instanceof Num) return value.text
  const pretty = open !== ''
  const inner = open + indent
  const join = (parts: string[], [from, to]: string) => {
    if (parts.length === 0) return `${from}${to}`
    return pretty ? `${from}${inner}${parts.join(`,${inner}`)}${open}${to}` : `${from}${parts.join(',')}${to}`
  }
  const nested = (of: Value) => marshal(of, pretty ? inner : '', indent)
  if (value instanceof RegoSet) return join(value.items.map(nested), '[]')
  if (value instanceof RegoObject) {
    const entries = value.entries.map(([key, of]): [string, Value] => [
      typeof key === 'string' ? key : marshal(key),
      of,
    ])
    const last = [...new Map(entries)].sort(([a], [b]) => compareText(a, b))
    return join(
      last.map(([key, of]) => `${jsonText(key)}:${pretty ? ' ' : ''}${nested(of)}`),
      '{}',
    )
  }
  return Array.isArray(value) ? join(value.map(nested), '[]') : String(value)
}

const marshalWith: Builtin = ([value, options]) => {
  let [prefix, indent] = ['', '\t']
  let pretty: boolean | undefined
  let implied = false
  for (const [key, of] of object(options).entries) {
    if (key === 'pretty') {
      if (typeof of !== 'boolean') throw new OperandError('key pretty must be a boolean')
      pretty = of
      continue
    }
    if (key === 'prefix') prefix = text(of)
    else if (key === 'indent') indent = text(of)
    else throw new OperandError('unknown key')
    implied = true
  }
  if (!(pretty ?? implied)) return marshal(value as Value)
  return prefix + marshal(value as Value, `\n${prefix}`, indent)
}

/** Go's `url.QueryEscape`. */
export const queryEscape = (of: string): string =>
  encodeURIComponent(of)
    .replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%20', '+')

/** Go's `url.QueryUnescape`; undefined for a broken escape. */
export function queryUnescape(of: string, name: string): string | undefined {
  if (/%(?![0-9A-Fa-f]{2})/.test(of)) return undefined
  return percentDecoded(of.replaceAll('+', ' '), name)
}

export function percentDecoded(of: string, name: string): string {
  if (!of.includes('%')) return of
  const parts: Buffer[] = []
  let at = 0
  for (const found of of.matchAll(/(?:%[0-9A-Fa-f]{2})+/g)) {
    parts.push(Buffer.from(of.slice(at, found.index)), Buffer.from(found[0].replaceAll('%', ''), 'hex'))
    at = found.index + found[0].length
  }
  parts.push(Buffer.from(of.slice(at)))
  return textOf(Buffer.concat(parts), name)
}

const encodeObject: Builtin = ([value]) => {
  const values = object(value).entries.map(([key, of]): [string, string[]] => {
    const list = of instanceof RegoSet ? of.items : Array.isArray(of) ? of : [of]
    return [typeof key === 'string' ? key : marshal(key), list.map(text)]
  })
  return values
    .sort(([a], [b]) => compareText(a, b))
    .flatMap(([key, list]) => list.map((of) => `${queryEscape(key)}=${queryEscape(of)}`))
    .join('&')
}

/** Go's `url.ParseQuery`: an error anywhere is an error. */
const decodeObject: Builtin = ([value]) => {
  const found = new Map<string, string[]>()
  for (const pair of text(value).split('&')) {
    if (pair.includes(';')) throw new OperandError('invalid semicolon separator in query')
    if (pair === '') continue
    const equals = pair.indexOf('=')
    const [left, right] = equals < 0 ? [pair, ''] : [pair.slice(0, equals), pair.slice(equals + 1)]
    const key = queryUnescape(left, 'urlquery.decode_object')
    const of = queryUnescape(right, 'urlquery.decode_object')
    if (key === undefined || of === undefined) throw new OperandError('invalid URL escape')
    found.set(key, [...(found.get(key) ?? []), of])
  }
  return new RegoObject(found)
}

const hexDecode: Builtin = ([value]) => {
  const of = text(value)
  if (of.length % 2 !== 0 || !/^[0-9A-Fa-f]*$/.test(of)) throw new OperandError('invalid hex')
  return textOf(Buffer.from(of, 'hex'), 'hex.decode')
}

const hash =
  (algorithm: string): Builtin =>
  ([value]) =>
    createHash(algorithm).update(text(value), 'utf8').digest('hex')

const hmac =
  (algorithm: string): Builtin =>
  ([message, key]) =>
    createHmac(algorithm, text(key)).update(text(message), 'utf8').digest('hex')

export const ENCODING: Record<string, Builtin> = {
  'base64url.encode_no_pad': ([value]) => Buffer.from(text(value), 'utf8').toString('base64url'),
  'crypto.hmac.equal': ([a, b]) => text(a) === text(b),
  'crypto.hmac.md5': hmac('md5'),
  'crypto.hmac.sha1': hmac('sha1'),
  'crypto.hmac.sha256': hmac('sha256'),
  'crypto.hmac.sha512': hmac('sha512'),
  'crypto.md5': hash('md5'),
  'crypto.sha1': hash('sha1'),
  'crypto.sha256': hash('sha256'),
  'hex.decode': hexDecode,
  'hex.encode': ([value]) => Buffer.from(text(value), 'utf8').toString('hex'),
  'json.marshal_with_options': marshalWith,
  'urlquery.decode': ([value]) => {
    const of = queryUnescape(text(value), 'urlquery.decode')
    if (of === undefined) throw new OperandError('invalid URL escape')
    return of
  },
  'urlquery.decode_object': decodeObject,
  'urlquery.encode': ([value]) => queryEscape(text(value)),
  'urlquery.encode_object': encodeObject,
}
