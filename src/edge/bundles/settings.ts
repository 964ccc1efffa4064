import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isLoopback } from '../http/address.ts'
import type { Service } from '../services/settings.ts'
import type { Section } from '../settings.ts'
import { ARCHIVE_LIMITS, type ArchiveLimits } from './archive.ts'
import type { VerifyKey } from './keys.ts'
import { type Reference, readReference } from './oci.ts'
import type { Signing } from './signature.ts'

/** Where a bundle comes from, and what must hold for it. */
export type BundleSource = { limits: ArchiveLimits; signing?: Signing } & (
  | { kind: 'file'; path: string }
  | {
      kind: 'service'
      service: Service
      resource: string
      /** out of `resource`, where the service is a registry */
      oci?: Reference
      persist: boolean
      polling: Polling
    }
)

export type Polling = {
  /** milliseconds between polls that went well: at random between these two */
  minDelay: number
  maxDelay: number
  /** seconds that the server may take to answer, where it can wait until there is something new */
  longPoll: number | undefined
}

/** By bundle name. */
export type BundleSettings = Record<string, BundleSource>

/** Out of `bundles`, as OPA has it. */
export function readBundles(
  root: Section,
  services: Record<string, Service>,
  keys: Record<string, VerifyKey>,
): BundleSettings {
  const bundles: BundleSettings = {}
  for (const [name, bundle] of root.named('bundles')) {
    if (['.', '..', ''].includes(name)) bundle.fault('resource', 'this is no name for a bundle')
    const source = readBundle(name, bundle, services, keys)
    if (source) bundles[name] = source
    bundle.done()
  }
  if (Object.keys(bundles).length === 0 && root.named('bundles').length === 0)
    root.fault('bundles', 'at least one bundle is required')
  return bundles
}

/** The folder of OPA's `persist: true`. */
export const readPersistence = (root: Section): string | undefined => {
  const path = root.optional('persistence_directory')
  return path === undefined ? undefined : resolve(path)
}

function readBundle(
  name: string,
  bundle: Section,
  services: Record<string, Service>,
  keys: Record<string, VerifyKey>,
): BundleSource | undefined {
  const bytes = bundle.integer('size_limit_bytes', ARCHIVE_LIMITS.bytes, 1024, 1 << 30)
  const signing = readSigning(bundle, keys)
  const held = { limits: { ...ARCHIVE_LIMITS, bytes }, ...(signing && { signing }) }
  bundle.oneOf('trigger', ['periodic'] as const, 'periodic')
  if (bundle.has('service')) {
    const service = services[bundle.string('service')]
    if (!service) bundle.fault('service', 'is not in services')
    const resource = bundle.string('resource', `bundles/${name}`)
    const oci = service?.type === 'oci' ? readReference(resource) : undefined
    if (service?.type === 'oci') {
      if (!oci)
        bundle.fault('resource', 'must be registry/repository:tag or registry/repository@sha256:…, as in OPA')
      if (bundle.section('polling').has('long_polling_timeout_seconds'))
        bundle.fault('polling.long_polling_timeout_seconds', 'has no meaning with a registry')
    } else if (/^[a-z]+:\/\//.test(resource)) bundle.fault('resource', 'must be a path at the service')
    const persist = bundle.boolean('persist', false)
    const polling = readPolling(bundle.section('polling'))
    if (!service) return undefined
    const { protocol, hostname } = new URL(URL.canParse(service.url) ? service.url : 'https://unreadable')
    if (protocol === 'http:' && !isLoopback(hostname) && !signing)
      bundle.fault(
        'service',
        'has an http URL, so that others may answer for it: use https, or sign the bundle',
      )
    return { kind: 'service', service, resource, ...(oci && { oci }), persist, polling, ...held }
  }
  for (const key of ['persist', 'polling'])
    if (bundle.has(key)) bundle.fault(key, 'has a meaning only with a service; files are looked at every 2 s')
  const resource = bundle.string('resource')
  if (/^[a-z]+:\/\//.test(resource) && !resource.startsWith('file://')) {
    bundle.fault('resource', 'must be a file:// URL or a path, or name the service that it is at')
  } else if (resource !== '') {
    const path = resource.startsWith('file://') ? fileURLToPath(resource) : resolve(resource)
    if (existsSync(path)) return { kind: 'file', path, ...held }
    bundle.fault('resource', `there is no file ${path}`)
  }
  return undefined
}

/** With keys, every bundle must be signed: OPA lets one without `signing` pass unsigned. */
function readSigning(bundle: Section, keys: Record<string, VerifyKey>): Signing | undefined {
  const given = bundle.has('signing')
  if (!given && Object.keys(keys).length === 0) return undefined
  const section = bundle.section('signing')
  const keyid = section.optional('keyid')
  if (Object.keys(keys).length === 0) section.fault('keyid', 'there are no keys to verify with')
  else if (keyid !== undefined && !Object.hasOwn(keys, keyid)) section.fault('keyid', 'is not in keys')
  const signing = {
    keys,
    keyid,
    scope: section.optional('scope'),
    exclude: section.strings('exclude_files'),
  }
  if (section.boolean('allow_unsigned_delta_bundles', false))
    section.fault('allow_unsigned_delta_bundles', 'delta bundles are not taken')
  section.done()
  return signing
}

function readPolling(section: Section): Polling {
  if (section.has('min_delay_seconds') !== section.has('max_delay_seconds'))
    section.fault('min_delay_seconds', 'goes with max_delay_seconds, and only with it')
  const minDelay = section.integer('min_delay_seconds', 60, 1, 86_400) * 1000
  const maxDelay = section.integer('max_delay_seconds', 120, 1, 86_400) * 1000
  if (maxDelay < minDelay) section.fault('max_delay_seconds', 'must not be less than min_delay_seconds')
  const longPoll = section.has('long_polling_timeout_seconds')
    ? section.integer('long_polling_timeout_seconds', 10, 1, 3600)
    : undefined
  section.done()
  return { minDelay, maxDelay, longPoll }
}
