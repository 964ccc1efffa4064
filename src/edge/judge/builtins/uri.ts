import { percentDecoded, queryEscape } from './encoding.ts'
import { addressOf } from './net.ts'
import { type Builtin, text } from './operand.ts'
import { OperandError, RegoObject } from './value.ts'

type Uri = { scheme: string; host: string; path: string; rawPath: string; query: string; fragment: string }

const wrong = (what: string): OperandError => new OperandError(what)
const PORT = /^(:\d*)?$/

const unescaped = (of: string, name = 'uri.parse'): string => {
  if (/%(?![0-9A-Fa-f]{2})/.test(of)) throw wrong('invalid URL escape')
  return percentDecoded(of, name)
}

/** Go's `url.Parse`. */
function parse(of: string): Uri {
  const hash = of.indexOf('#')
  const [whole, fragment] = hash < 0 ? [of, ''] : [of.slice(0, hash), of.slice(hash + 1)]
  const uri: Uri = { scheme: '', host: '', path: '', rawPath: '', query: '', fragment: '' }
  if (/[\0- \x7f]/.test(whole.replaceAll(' ', ''))) throw wrong('invalid control character')
  if (whole === '*') Object.assign(uri, { path: '*', rawPath: '*' })
  else parseWhole(whole, uri)
  return { ...uri, fragment: unescaped(fragment) }
}

function parseWhole(whole: string, uri: Uri): void {
  if (whole.startsWith(':')) throw wrong('missing protocol scheme')
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):/.exec(whole)?.[1]
  uri.scheme = scheme?.toLowerCase() ?? ''
  let rest = scheme === undefined ? whole : whole.slice(scheme.length + 1)
  const question = rest.indexOf('?')
  if (question >= 0) {
    uri.query = rest.slice(question + 1)
    rest = rest.slice(0, question)
  }
  if (!rest.startsWith('/')) {
    if (uri.scheme !== '') return
    if (rest.split('/')[0]?.includes(':')) throw wrong('first path segment cannot contain colon')
  }
  if ((uri.scheme !== '' || !rest.startsWith('///')) && rest.startsWith('//')) {
    const slash = rest.indexOf('/', 2)
    const authority = slash < 0 ? rest.slice(2) : rest.slice(2, slash)
    rest = slash < 0 ? '' : rest.slice(slash)
    const at = authority.lastIndexOf('@')
    uri.host = hostOf(uri.scheme, authority.slice(at + 1))
    if (at >= 0) checkUser(authority.slice(0, at))
  }
  uri.path = unescaped(rest)
  uri.rawPath = rest === pathEscape(uri.path) ? uri.path : rest
}

function checkUser(of: string): void {
  if (!/^[A-Za-z0-9\-._:~!$&'()*+,;=%@]*$/.test(of)) throw wrong('invalid userinfo')
  unescaped(of)
}

/** Go's escaping of a path: `url.PathEscape` but for slashes and what a path may hold. */
const pathEscape = (of: string): string =>
  queryEscape(of)
    .replaceAll('+', '%20')
    .replace(/%(24|26|2B|2C|2F|3A|3B|3D|40)/g, (found) => decodeURIComponent(found))

const HOST = /^(?:[A-Za-z0-9\-_.~!$&'()*+,;=:[\]<>"]|[^\0-\x7f]|%[89A-Fa-f][0-9A-Fa-f]|%25)*$/
const ZONE = /^(?:[A-Za-z0-9\-_.~!$&'()*+,;=:[\]<>"]|[^\0-\x7f]|%[0-9A-Fa-f]{2})*$/

function hostPart(of: string): string {
  if (!HOST.test(of)) throw wrong('invalid character in host name')
  return unescaped(of)
}

function hostOf(scheme: string, host: string): string {
  const open = host.lastIndexOf('[')
  if (open > 0) throw wrong('invalid IP-literal')
  if (open < 0) {
    const first = host.indexOf(':')
    const strict = scheme === 'http' || scheme === 'https'
    const port = first < 0 ? '' : host.slice(strict ? first : host.lastIndexOf(':'))
    if (!PORT.test(port)) throw wrong('invalid port')
    return hostPart(host)
  }
  const close = host.lastIndexOf(']')
  if (close < 0) throw wrong("missing ']' in host")
  const port = host.slice(close + 1)
  if (!PORT.test(port)) throw wrong('invalid port')
  const name = host.slice(1, close)
  const zone = name.indexOf('%25')
  const address = hostPart(zone < 0 ? name : name.slice(0, zone))
  if (!address.includes(':') || !addressOf(address)) throw wrong('invalid host')
  if (zone < 0) return `[${address}]${port}`
  const shown = name.slice(zone)
  if (!ZONE.test(shown) || shown === '%25') throw wrong('invalid zone')
  const inside = unescaped(shown)
  if (!/^%[A-Za-z0-9\-_.~!$&'()*+,;=:[\]<>" %]*$/.test(inside)) throw wrong('invalid zone')
  return `[${address}${inside}]${port}`
}

/** `url.URL.Hostname` and `Port`. */
function hostAndPort(of: string): { hostname: string; port: string } {
  const colon = of.lastIndexOf(':')
  const hasPort = colon >= 0 && PORT.test(of.slice(colon))
  const host = hasPort ? of.slice(0, colon) : of
  return {
    hostname: host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host,
    port: hasPort ? of.slice(colon + 1) : '',
  }
}

const parseUri: Builtin = ([value]) => {
  const { scheme, host, path, rawPath, query, fragment } = parse(text(value))
  const { hostname, port } = hostAndPort(host)
  const parts = { scheme, hostname, port, path, raw_path: rawPath, raw_query: query, fragment }
  return new RegoObject(Object.entries(parts).filter(([, part]) => part !== ''))
}

const isValid: Builtin = ([value]) => {
  if (typeof value !== 'string' || value === '') return false
  try {
    parse(value)
    return true
  } catch (error) {
    if (error instanceof OperandError) return false
    throw error
  }
}

export const URIS: Record<string, Builtin> = { 'uri.is_valid': isValid, 'uri.parse': parseUri }
