import { isIP } from 'node:net'
import type { Dispatcher } from 'undici'
import { parseStrictBytes } from '../../mcp/strict-json.ts'
import { isLoopback } from '../http/address.ts'
import type { ServiceClient } from '../services/client.ts'
import type { Service } from '../services/settings.ts'
import { isMap } from '../settings.ts'
import { httpFault, one, readWhole } from './bundle-service.ts'
import { BundleError } from './failure.ts'

/** What an OCI registry has, by path below `/v2/<repository>/` (OCI distribution spec 1.1). */
export type Registry = {
  /**
   * @param accept media types
   * @throws BundleError, and what the network says; the answer has status 200
   */
  ask: (
    method: 'GET' | 'HEAD',
    path: string,
    accept: string,
    signal: AbortSignal,
  ) => Promise<Dispatcher.ResponseData>
}

const REDIRECTS = 3
const TOKEN_BYTES = 64 << 10

/**
 * Asks with the service's credentials, and where the registry wants a token, with one that its token service gives for
 * them (distribution spec, "Token Authentication"). Credentials follow no redirect.
 */
export function createRegistry(
  name: string,
  service: Service,
  repository: string,
  client: ServiceClient,
): Registry {
  const address = new URL(service.url)
  let token: string | undefined

  const send = async (method: 'GET' | 'HEAD', path: string, accept: string, signal: AbortSignal) => {
    const attempt = () =>
      client.request(path, {
        method,
        headers: { accept, ...(token !== undefined && { authorization: `Bearer ${token}` }) },
        signal,
      })
    const answer = await attempt()
    const challenge = answer.statusCode === 401 && readChallenge(answer.headers['www-authenticate'])
    if (!challenge) return answer
    await answer.body.dump({ limit: TOKEN_BYTES })
    token = undefined
    token = await tokenFor(challenge, signal)
    return attempt()
  }

  const tokenFor = async (challenge: Challenge, signal: AbortSignal): Promise<string> => {
    const url = URL.canParse(challenge.realm) ? new URL(challenge.realm) : undefined
    if (!url || !mayBeAsked(url, address))
      throw new BundleError(
        'http_status',
        `bundle ${name}: the registry names a token service that is not asked: ${JSON.stringify(challenge.realm)}`,
      )
    if (challenge.service !== undefined) url.searchParams.set('service', challenge.service)
    url.searchParams.set('scope', challenge.scope ?? `repository:${repository}:pull`)
    const { statusCode, headers, body } = await client.elsewhere(url, { method: 'GET', signal, proof: true })
    if (statusCode !== 200) {
      body.destroy()
      throw httpFault(name, statusCode, ` when its token service ${url.origin} was asked`)
    }
    const bytes = await readWhole(name, headers, body, TOKEN_BYTES, 'of a token')
    const read = parseStrictBytes(bytes)
    const answer = read.ok && isMap(read.value) ? read.value : {}
    const found = answer.token ?? answer.access_token
    if (typeof found === 'string' && /^[\x21-\x7e]+$/.test(found)) return found
    throw new BundleError(
      'malformed',
      `bundle ${name}: the token service ${url.origin} answered with no token`,
    )
  }

  return {
    async ask(method, path, accept, signal) {
      let answer = await send(method, `v2/${repository}/${path}`, accept, signal)
      let from = address
      for (let n = 0; n < REDIRECTS && isRedirect(answer.statusCode); n++) {
        await answer.body.dump({ limit: TOKEN_BYTES })
        const location = one(answer.headers.location) ?? ''
        if (!URL.canParse(location, from.href)) break
        const to = new URL(location, from.href)
        if (!mayBeAsked(to, address))
          throw new BundleError(
            'http_status',
            `bundle ${name}: the registry sends us to an address that is not asked: ${to.origin}`,
          )
        answer =
          to.origin === address.origin
            ? await send(method, `${to.pathname}${to.search}`, accept, signal)
            : await client.elsewhere(to, { method, headers: { accept }, signal, proof: false })
        from = to
      }
      if (answer.statusCode === 200) return answer
      answer.body.destroy()
      throw httpFault(name, answer.statusCode, answer.statusCode === 401 ? HINT : '')
    },
  }
}

const HINT = '; for a registry, credentials are bearer with scheme Basic and token user:password'

const isRedirect = (status: number): boolean => [301, 302, 303, 307, 308].includes(status)

/**
 * Whether a registry may send us there: over TLS, and by name; the rest only on its own host, or where all are on this
 * one. Else it could have us ask what only this machine reaches, such as a cloud's metadata.
 */
export function mayBeAsked(url: URL, registry: URL): boolean {
  const same =
    url.hostname === registry.hostname || (isLoopback(url.hostname) && isLoopback(registry.hostname))
  if (url.username !== '' || url.password !== '') return false
  if (url.protocol === 'http:') return registry.protocol === 'http:' && same
  if (url.protocol !== 'https:') return false
  return same || !(isIP(url.hostname.replace(/^\[|\]$/g, '')) !== 0 || isLoopback(url.hostname))
}

export type Challenge = { realm: string; service: string | undefined; scope: string | undefined }

/** RFC 9110, section 11.6.1, as far as a registry's `Bearer` needs it; undefined where it does not ask for a token. */
export function readChallenge(header: string | string[] | undefined): Challenge | undefined {
  for (const text of [header ?? []].flat()) {
    const found = /(?:^|,)\s*Bearer\s+((?:[A-Za-z_]+="(?:[^"\\]|\\.)*"\s*(?:,\s*)?)+)/i.exec(text)?.[1]
    if (found === undefined) continue
    const of = Object.fromEntries(
      [...found.matchAll(/([A-Za-z_]+)="((?:[^"\\]|\\.)*)"/g)].map(([, key = '', value = '']) => [
        key.toLowerCase(),
        value.replace(/\\(.)/g, '$1'),
      ]),
    )
    if (of.realm !== undefined) return { realm: of.realm, service: of.service, scope: of.scope }
  }
  return undefined
}
