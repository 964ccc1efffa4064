import { isIP } from 'node:net'
import { type AuditSettings, readAudit } from './edge/audit/settings.ts'
import { readCandidate } from './edge/bundles/candidate.ts'
import { readKeys } from './edge/bundles/keys.ts'
import { readStatus, type StatusSettings } from './edge/bundles/report.ts'
import { type BundleSettings, readBundles, readPersistence } from './edge/bundles/settings.ts'
import { readTree } from './edge/config-file.ts'
import { type Address, isLocal, readAddress } from './edge/http/address.ts'
import { type BoundSettings, readBounds } from './edge/http/bounds.ts'
import { readTls, type TlsFiles } from './edge/http/tls.ts'
import { type IdentitySettings, readIdentity } from './edge/judge/settings.ts'
import { readServices, type Service } from './edge/services/settings.ts'
import { readSection, type Section } from './edge/settings.ts'
import { readUpstream, type UpstreamConfig } from './edge/upstream-settings.ts'

export type Config = {
  labels: Record<string, string>
  services: Record<string, Service>
  bundles: BundleSettings
  status: StatusSettings | undefined
  /** the folder of the last good bundles */
  persistence: string | undefined
  mcp: {
    /** by bundle, the one that is tried in its place */
    candidate: Record<string, string>
    /** milliseconds after which a bundle that its source does not confirm decides nothing */
    bundleMaxAge: number | undefined
    addr: Address
    adminAddr: Address
    /** where health is served besides, and nothing else */
    healthAddr: Address | undefined
    endpoint: string
    /** the entrypoint of decisions */
    path: string
    server: string
    help: string | undefined
    sessionKey: string | undefined
    deadline: number
    queue: number
    bodyLimit: number
    messageLimit: number
    bounds: BoundSettings
    tls: TlsFiles | undefined
    streamMaxAge: number
    streamAfterExpiry: number
    trustedProxies: string[]
    allowedOrigins: string[]
    allowedHosts: string[] | undefined
    drain: number
    identity: IdentitySettings
    upstream: UpstreamConfig
  }
  audit: AuditSettings
}

export type ConfigResult = { ok: true; config: Config } | { ok: false; faults: string[] }

/** Keys that mean something in OPA's own file and are not honoured here: an error, never ignored. */
const NOT_HONOURED = [
  'discovery',
  'caching',
  'default_decision',
  'default_authorization_decision',
  'distributed_tracing',
  'nd_builtin_cache',
  'server',
  'storage',
]

/**
 * One YAML file in OPA's words, with `${NAME}` from the environment and `a.b=c` settings over it.
 * @param text the file, or undefined where everything is set by `--set`
 */
export function readConfig(
  text: string | undefined,
  sets: string[],
  env: Record<string, string | undefined>,
): ConfigResult {
  const faults: string[] = []
  const root = readSection(readTree(text, sets, env, faults), '', faults)

  const services = readServices(root, env)
  const bundles = readBundles(root, services, readKeys(root))
  const config: Config = {
    labels: root.map('labels'),
    services,
    bundles,
    persistence: readPersistence(root),
    status: readStatus(root, services),
    mcp: readMcp(root.section('plugins').section('mcp'), Object.keys(bundles)),
    audit: readAudit(root, services),
  }
  for (const key of NOT_HONOURED)
    if (root.has(key)) root.fault(key, 'OPA has this key; this version does not honour it')
  checkPlugins(root)
  root.done()
  checkDevelopment(config, faults)
  return faults.length === 0 ? { ok: true, config } : { ok: false, faults }
}

function readMcp(mcp: Section, bundles: string[]): Config['mcp'] {
  const config: Config['mcp'] = {
    addr: readAddress(mcp, 'addr', '127.0.0.1:8081'),
    adminAddr: readAddress(mcp, 'admin_addr', '127.0.0.1:8282'),
    healthAddr: mcp.has('health_addr') ? readAddress(mcp, 'health_addr', '') : undefined,
    endpoint: mcp.string('endpoint', '/mcp'),
    path: mcp.string('path', 'mcp/main/decision'),
    server: mcp.string('server'),
    help: mcp.optional('help'),
    sessionKey: mcp.optional('session_key'),
    bundleMaxAge: mcp.has('bundle_max_age')
      ? mcp.duration('bundle_max_age', '24h', '10s', '8760h')
      : undefined,
    candidate: readCandidate(mcp, bundles),
    deadline: readDeadline(mcp.section('evaluation')),
    queue: 1024,
    ...readLimits(mcp.section('limits')),
    tls: readTls(mcp.section('tls')),
    trustedProxies: mcp.strings('trusted_proxies'),
    allowedOrigins: mcp.strings('allowed_origins'),
    allowedHosts: mcp.has('allowed_hosts')
      ? mcp.strings('allowed_hosts').map((host) => host.toLowerCase())
      : undefined,
    streamMaxAge: mcp.duration('stream_max_age', '15m', '1s', '24h'),
    streamAfterExpiry: mcp.duration('stream_after_expiry', '10m', '0s', '24h'),
    drain: mcp.duration('drain', '10s', '0s', '10m'),
    identity: readIdentity(mcp.section('identity')),
    upstream: readUpstream(mcp.section('upstream')),
  }
  if (mcp.boolean('dry-run', false)) {
    mcp.fault('dry-run', 'nothing opens everything; mark rules with custom.enforcement: dryrun instead')
  }
  if (!/^\/[A-Za-z0-9._~/-]*$/.test(config.endpoint))
    mcp.fault('endpoint', 'must be a plain path that starts with /')
  if (config.sessionKey !== undefined && config.sessionKey.length < 16)
    mcp.fault('session_key', 'must have 16 characters or more')
  for (const block of config.trustedProxies) {
    const [ip = '', bits] = block.split('/')
    const widest = isIP(ip) === 6 ? 128 : 32
    if (block === 'unix') continue
    if (isIP(ip) === 0 || (bits !== undefined && !(/^\d{1,3}$/.test(bits) && Number(bits) <= widest))) {
      mcp.fault('trusted_proxies', 'must be IP addresses or CIDR blocks, or unix for a socket file')
    }
  }
  mcp.done()
  return config
}

function readDeadline(evaluation: Section): number {
  const deadline = evaluation.duration('deadline', '50ms', '1ms', '10s')
  evaluation.done()
  return deadline
}

function readLimits(limits: Section) {
  const read = {
    bodyLimit: limits.integer('body_bytes', 1 << 20, 1024, 16 << 20),
    messageLimit: limits.integer('message_bytes', 16 << 20, 1024, 16 << 20),
    bounds: readBounds(limits),
  }
  limits.done()
  return read
}

function checkPlugins(root: Section): void {
  const plugins = root.section('plugins')
  plugins.section('mcp')
  plugins.section('mcp_audit')
  plugins.done()
}

/** A configured identity is believed without proof: only from this machine, only from programs that speak to loopback. */
function checkDevelopment({ mcp }: Config, faults: string[]): void {
  if (mcp.identity.kind !== 'development') return
  if (!isLocal(mcp.addr))
    faults.push('plugins.mcp.addr: must be a loopback address with identity.development')
  mcp.allowedHosts ??= ['localhost', '127.0.0.1', '[::1]']
}
