import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { parseDocument } from 'yaml'
import { type AuditSettings, readAudit } from './edge/audit/settings.ts'
import { readCandidate } from './edge/bundles/candidate.ts'
import { readKeys } from './edge/bundles/keys.ts'
import { readStatus, type StatusSettings } from './edge/bundles/report.ts'
import { type BundleSettings, readBundles, readPersistence } from './edge/bundles/settings.ts'
import { type Address, isLocal, isLoopback, readAddress } from './edge/http/address.ts'
import { type BoundSettings, readBounds } from './edge/http/bounds.ts'
import { readTls, type TlsFiles } from './edge/http/tls.ts'
import { readJwks } from './edge/judge/assertion.ts'
import type { KeySource } from './edge/judge/keys.ts'
import { type ReplaySettings, readReplay } from './edge/judge/replay.ts'
import { readServices, type Service } from './edge/services/settings.ts'
import { isMap, readSection, type Section } from './edge/settings.ts'
import type { Expected, Identity } from './pdp/identity.ts'

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
    identity:
      | { kind: 'pomerium'; expected: Expected; keys: KeySource; replay: ReplaySettings }
      | { kind: 'development'; identity: Identity }
    upstream: UpstreamConfig
  }
  audit: AuditSettings
}

export type UpstreamConfig =
  | {
      kind: 'http'
      url: URL
      /** of the server, and of the listener before it */
      transport: 'streamable' | 'sse'
      authorization: 'none' | 'static' | 'forward'
      /** the header value, where it is static */
      credential: string | undefined
      ca: string | undefined
      timeout: number
    }
  | {
      kind: 'stdio'
      command: string[]
      env: Record<string, string>
      cwd: string | undefined
      timeout: number
      idle: number
      maxSessions: number
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
  let tree: unknown = {}
  try {
    const document = parseDocument(text ?? '', { uniqueKeys: true, stringKeys: true })
    for (const error of document.errors) faults.push(`the file is not YAML: ${error.message.split('\n')[0]}`)
    if (faults.length === 0) tree = document.toJS() ?? {}
  } catch (error) {
    // Aliases that unfold to more than the library takes, or more depth than there is stack.
    faults.push(`the file is not YAML that can be read: ${(error as Error).message}`)
  }
  if (!isMap(tree)) {
    faults.push('the file must be a map')
    tree = {}
  }
  for (const set of sets) applySet(tree as Record<string, unknown>, set, faults)
  const root = readSection(substitute(tree, '', env, faults), '', faults)

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

function readIdentity(section: Section): Config['mcp']['identity'] {
  if (section.has('development')) {
    const development = section.section('development')
    const subject = development.string('subject')
    const email = development.optional('email')
    const groups = development.strings('groups')
    for (const key of ['jwks_url', 'jwks_file', 'jwks', 'issuer', 'audience', 'ca_file']) {
      if (section.has(key)) section.fault(key, 'has no meaning beside identity.development')
    }
    development.done()
    section.done()
    const identity: Identity = {
      source: 'configured',
      subject,
      groups,
      claims: {},
      ...(email !== undefined && { email }),
    }
    return { kind: 'development', identity }
  }
  const expected = {
    issuer: section.string('issuer'),
    audience: section.string('audience'),
    tolerance: section.duration('clock_tolerance', '30s', '0s', '60s') / 1000,
  }
  const keys = readKeySource(section)
  const replay = readReplay(section)
  section.done()
  return { kind: 'pomerium', expected, keys, replay }
}

function readKeySource(section: Section): KeySource {
  const [url, path, inline, ca] = [
    section.optional('jwks_url'),
    section.optional('jwks_file'),
    section.optional('jwks'),
    section.optional('ca_file'),
  ]
  if ([url, path, inline].filter((source) => source !== undefined).length !== 1) {
    section.fault(
      'jwks_url',
      'exactly one of jwks_url, jwks_file and jwks is required (or identity.development on a laptop)',
    )
  }
  if (ca !== undefined && url === undefined) section.fault('ca_file', 'has a meaning only with jwks_url')
  if (url !== undefined) {
    const parsed = URL.canParse(url) ? new URL(url) : undefined
    if (
      !parsed ||
      !(parsed.protocol === 'https:' || (parsed.protocol === 'http:' && isLoopback(parsed.hostname)))
    ) {
      section.fault('jwks_url', 'must be an https URL (http only to loopback)')
    }
    const pem = ca === undefined ? undefined : readText(section, 'ca_file', ca)
    return { kind: 'url', url, ...(pem !== undefined && { ca: pem }) }
  }
  if (path !== undefined) {
    const text = readText(section, 'jwks_file', path)
    if (text !== undefined && !readJwks(text)?.size)
      section.fault('jwks_file', 'has no usable ES256 or RS256 key')
    return { kind: 'file', path }
  }
  if (inline !== undefined && !readJwks(inline)?.size)
    section.fault('jwks', 'has no usable ES256 or RS256 key')
  return { kind: 'inline', jwks: inline ?? '' }
}

function readUpstream(section: Section): UpstreamConfig {
  const command = section.strings('command')
  const url = section.optional('url')
  if (command.length > 0 === (url !== undefined))
    section.fault('url', 'exactly one of url and command is required')
  const timeout = section.duration('timeout', '5m', '100ms', '24h')
  const transport = section.oneOf('transport', ['streamable', 'sse'] as const, 'streamable')
  if (command.length > 0 && transport === 'sse')
    section.fault('transport', 'sse is HTTP with SSE (2024-11-05): it goes with url, not with command')
  if (command.length > 0) {
    const config: UpstreamConfig = {
      kind: 'stdio',
      command,
      env: section.map('env'),
      cwd: section.optional('cwd'),
      timeout,
      idle: section.duration('session_idle', '30m', '1s', '24h'),
      maxSessions: section.integer('max_sessions', 32, 1, 10_000),
    }
    section.done()
    return config
  }
  const parsed = url !== undefined && URL.canParse(url) ? new URL(url) : undefined
  if (
    url !== undefined &&
    (!parsed ||
      !['http:', 'https:'].includes(parsed.protocol) ||
      parsed.username !== '' ||
      parsed.hash !== '')
  ) {
    section.fault('url', 'must be an http or https URL without user and fragment')
  }
  // Whoever else reaches a server that is not of this machine goes past the sidecar.
  if (!section.boolean('allow_remote', false) && parsed && !isLoopback(parsed.hostname))
    section.fault('url', 'is not of this machine; if only the sidecar can reach it, say allow_remote: true')
  const authorization = section.oneOf('authorization', ['none', 'static', 'forward'] as const, 'none')
  const credential = section.optional('credential')
  if ((authorization === 'static') !== (credential !== undefined)) {
    section.fault(
      'credential',
      'the Authorization header value; goes with authorization: static, and only with it',
    )
  }
  if (authorization !== 'none' && parsed?.protocol === 'http:' && !isLoopback(parsed.hostname)) {
    section.fault('url', 'must be https, or loopback, where a credential goes along')
  }
  const caFile = section.optional('ca_file')
  const ca = caFile === undefined ? undefined : readText(section, 'ca_file', caFile)
  section.done()
  return {
    kind: 'http',
    url: parsed ?? new URL('http://127.0.0.1'),
    transport,
    authorization,
    credential,
    ca,
    timeout,
  }
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

function readText(section: Section, key: string, path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    section.fault(key, (error as Error).message)
    return undefined
  }
}

/** `a.b.c=value`; the value is read as YAML. */
function applySet(tree: Record<string, unknown>, set: string, faults: string[]): void {
  const cut = set.indexOf('=')
  const keys = set.slice(0, cut).split('.')
  if (cut < 1 || keys.some((key) => key === '' || key === '__proto__')) {
    faults.push(`--set ${set.slice(0, 80)}: must be key.key=value`)
    return
  }
  let at = tree
  for (const key of keys.slice(0, -1)) {
    if (!isMap(at[key])) at[key] = {}
    at = at[key] as Record<string, unknown>
  }
  try {
    const value = parseDocument(set.slice(cut + 1), { uniqueKeys: true, stringKeys: true })
    if (value.errors.length > 0) faults.push(`--set ${keys.join('.')}: the value is not YAML`)
    else at[keys.at(-1) as string] = value.toJS()
  } catch (error) {
    faults.push(`--set ${keys.join('.')}: the value cannot be read: ${(error as Error).message}`)
  }
}

/**
 * `${NAME}` in values, after the file was read, so that a value cannot become structure.
 * @param within the maps and lists that this one is in: an alias of one of them has no end
 */
function substitute(
  node: unknown,
  path: string,
  env: Record<string, string | undefined>,
  faults: string[],
  within: unknown[] = [],
): unknown {
  if (typeof node === 'string') {
    return node.replace(/\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g, (_whole, name: string) => {
      const value = env[name]
      if (value === undefined) faults.push(`${path}: the environment has no ${name}`)
      return value ?? ''
    })
  }
  if (within.includes(node)) {
    faults.push(`${path}: refers to what it is in`)
    return undefined
  }
  const inner = [...within, node]
  if (Array.isArray(node)) return node.map((item, i) => substitute(item, `${path}[${i}]`, env, faults, inner))
  if (!isMap(node)) return node
  return Object.fromEntries(
    Object.entries(node).map(([key, item]) => [
      key,
      substitute(item, path === '' ? key : `${path}.${key}`, env, faults, inner),
    ]),
  )
}
