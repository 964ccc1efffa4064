import { readFileSync } from 'node:fs'
import { isLoopback } from '../http/address.ts'
import type { Section } from '../settings.ts'
import { type AwsSettings, readAws } from './aws-settings.ts'

type Env = Record<string, string | undefined>

/** A server that OPA's configuration names under `services`: bundles come from it, status goes to it. */
export type Service = {
  name: string
  /** an OCI registry, which bundles are pulled from; else plain HTTP */
  type?: 'oci'
  /** without a slash at its end */
  url: string
  headers: Record<string, string>
  /** milliseconds until the head of an answer */
  headerTimeout: number
  /** files; read again when they change */
  caCert: string | undefined
  /** whether the certificates of the system are believed beside `caCert` */
  systemCa: boolean
  credentials: Credentials
}

export type Credentials =
  | { kind: 'none' }
  | { kind: 'bearer'; scheme: string; token: string }
  /** a file that is read for each request, for tokens that are renewed */
  | { kind: 'bearer_file'; scheme: string; path: string }
  | ({ kind: 'aws' } & AwsSettings)
  | { kind: 'client_tls'; cert: string; key: string; passphrase: string | undefined }

/** Keys of OPA's that are not honoured here. */
const CREDENTIALS_NOT_HONOURED = ['oauth2', 'gcp_metadata', 'azure_managed_identity', 'plugin']

/**
 * Out of `services`, by name.
 * @param env for `s3_signing`
 */
export function readServices(root: Section, env: Env = {}): Record<string, Service> {
  const services: Record<string, Service> = {}
  for (const [name, section] of root.named('services')) services[name] = readService(name, section, env)
  return services
}

function readService(name: string, section: Section, env: Env): Service {
  const url = section.string('url').replace(/\/+$/, '')
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  const plain = parsed?.protocol === 'http:'
  if (url !== '' && (!parsed || !(plain || parsed.protocol === 'https:') || parsed.username || parsed.search))
    section.fault('url', 'must be an http or https URL without user and query')
  const type = section.oneOf('type', ['', 'oci'] as const, '')
  if (type === 'oci' && parsed && parsed.pathname !== '/')
    section.fault('url', 'must have no path where type is oci: the repository is in the resource of a bundle')
  if (section.boolean('allow_insecure_tls', false))
    section.fault('allow_insecure_tls', 'is refused: name the authority in tls.ca_cert')
  const headers = section.map('headers')
  for (const [key, value] of Object.entries(headers)) {
    if (!/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(key) || /[\0\r\n]/.test(value))
      section.fault(`headers.${key}`, 'is no header')
  }
  const headerTimeout = section.integer('response_header_timeout_seconds', 10, 1, 3600) * 1000
  const tls = section.section('tls')
  const caCert = readable(tls, 'ca_cert')
  const systemCa = tls.boolean('system_ca_required', caCert === undefined)
  tls.done()
  const credentials = readCredentials(section.section('credentials'), env, type === 'oci')
  if (plain && parsed && !isLoopback(parsed.hostname) && credentials.kind !== 'none')
    section.fault('url', 'must be https, or loopback, where credentials go along')
  section.done()
  const service = { name, url, headers, headerTimeout, caCert, systemCa, credentials }
  return type === 'oci' ? { ...service, type } : service
}

function readCredentials(section: Section, env: Env, registry: boolean): Credentials {
  for (const key of CREDENTIALS_NOT_HONOURED)
    if (section.has(key)) section.fault(key, 'OPA has this key; this version does not honour it')
  const kinds = ['bearer', 'client_tls', 's3_signing'].filter((key) => section.has(key))
  if (kinds.length > 1) section.fault(kinds[1] ?? '', 'one kind of credentials at most')
  let credentials: Credentials = { kind: 'none' }
  if (section.has('bearer')) {
    const bearer = section.section('bearer')
    const token = bearer.optional('token')
    const path = readable(bearer, 'token_path')
    const scheme = bearer.string('scheme', 'Bearer')
    if ((token === undefined) === !bearer.has('token_path'))
      bearer.fault('token', 'exactly one of token and token_path is required')
    if (token !== undefined) credentials = { kind: 'bearer', scheme, token }
    else if (path !== undefined) credentials = { kind: 'bearer_file', scheme, path }
    bearer.done()
  } else if (section.has('s3_signing')) {
    credentials = { kind: 'aws', ...readAws(section.section('s3_signing'), env, registry) }
  } else if (section.has('client_tls')) {
    const files = section.section('client_tls')
    files.string('cert')
    files.string('private_key')
    const cert = readable(files, 'cert') ?? ''
    const key = readable(files, 'private_key') ?? ''
    credentials = { kind: 'client_tls', cert, key, passphrase: files.optional('private_key_passphrase') }
    files.done()
  }
  section.done()
  return credentials
}

/** The path of a file that can be read now. */
function readable(section: Section, key: string): string | undefined {
  const path = section.optional(key)
  if (path === undefined) return undefined
  try {
    readFileSync(path)
  } catch (error) {
    section.fault(key, (error as Error).message)
  }
  return path
}
