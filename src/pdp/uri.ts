export type Resource = { uri: string; scheme: string; host?: string; port?: number; path: string }
/** A page that an elicitation opens, as a browser will read its address. */
export type Page = { href: string; scheme: string; host: string; port?: number; path: string }

const LONGEST = 8192
const SUSPICIOUS = /[\\\s\p{C}]|%2e|%2f|%5c|%00/iu

/** A letter that needs no encoding, an encoding in lower case, and what is none (RFC 3986, 6.2.2; WHATWG keeps them). */
const RESPELT = /%(?:4[1-9A-F]|5[0-9A]|6[1-9A-F]|7[0-9A]|3[0-9]|2[DE]|5F|7E|(?![0-9A-F]{2}))/

/** A URI in its one canonical spelling (WHATWG URL, no userinfo, no encoded separators), or undefined. */
export function readResource(uri: string): Resource | undefined {
  if (uri.length > LONGEST || SUSPICIOUS.test(uri) || !URL.canParse(uri)) return undefined
  const url = new URL(uri)
  if (url.href !== uri || url.username !== '' || url.password !== '') return undefined
  if (RESPELT.test(uri) || url.pathname.split('/').includes('..')) return undefined
  // File systems and many servers read an empty segment as none.
  if (url.pathname.startsWith('/') && url.pathname.includes('//')) return undefined
  const resource: Resource = { uri, scheme: url.protocol.slice(0, -1), path: url.pathname }
  if (url.hostname !== '') resource.host = url.hostname
  if (url.port !== '') resource.port = Number(url.port)
  return resource
}

/**
 * The canonical spelling of an address that a server wrote: what a client would make of it. Undefined where readers
 * may differ; what it names is not shown then.
 */
export function canonicalUri(uri: string): string | undefined {
  if (uri.length > LONGEST || SUSPICIOUS.test(uri) || !URL.canParse(uri)) return undefined
  return readResource(new URL(uri).href)?.uri
}

const UNSEEN = /[\\\s\p{C}]/u
const PORTS: Record<string, number> = { http: 80, https: 443 }

/** The address of a page (WHATWG URL; host in lower case, punycode); undefined for userinfo and for what hides something. */
export function readPage(text: string): Page | undefined {
  if (text.length > LONGEST || UNSEEN.test(text) || !URL.canParse(text)) return undefined
  const url = new URL(text)
  const scheme = url.protocol.slice(0, -1)
  if (url.username !== '' || url.password !== '' || url.hostname === '') return undefined
  // `https:login.acme.com` and `https:///…` are read by some as another address.
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^/]/i.test(text)) return undefined
  const port = url.port === '' ? PORTS[scheme] : Number(url.port)
  const page: Page = { href: url.href, scheme, host: url.hostname.toLowerCase(), path: url.pathname }
  return port === undefined ? page : { ...page, port }
}
