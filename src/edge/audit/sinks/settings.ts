import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { SCHEMAS, type Schema } from '../../../log/projections/project.ts'
import { isLoopback } from '../../http/address.ts'
import type { Service } from '../../services/settings.ts'
import type { Section } from '../../settings.ts'
import type { FileSettings } from './file.ts'
import type { HttpTo } from './request.ts'
import type { RunnerSettings } from './runner.ts'
import type { SplunkSettings } from './splunk.ts'

export type Output = { name: string; schema: Schema; runner: RunnerSettings } & (
  | { type: 'stdout' }
  | ({ type: 'file' } & FileSettings)
  | { type: 'http'; to: HttpTo; limit: number }
  | { type: 'service'; service: Service; resource: string; timeout: number; limit: number }
  | ({ type: 'splunk' } & SplunkSettings)
  | { type: 'elasticsearch' | 'opensearch'; to: HttpTo; index: string }
  | { type: 'otlp'; to: HttpTo }
)

const TYPES = [
  'stdout',
  'console',
  'file',
  'http',
  'service',
  'splunk',
  'elasticsearch',
  'opensearch',
  'otlp',
] as const
/** Lines, bytes before compression, and how long the first line waits, of one request. */
const BATCH: Record<Output['type'], [count: number, bytes: number, period: string]> = {
  stdout: [1000, 256 << 10, '0s'],
  file: [1000, 1 << 20, '0s'],
  http: [1000, 256 << 10, '1s'],
  service: [1000, 256 << 10, '1s'],
  splunk: [1000, 1 << 20, '1s'],
  elasticsearch: [1000, 1 << 20, '1s'],
  opensearch: [1000, 1 << 20, '1s'],
  otlp: [1000, 1 << 20, '1s'],
}
const SCHEMA: Partial<Record<Output['type'], Schema>> = {
  elasticsearch: 'ecs',
  opensearch: 'ecs',
  otlp: 'otel',
}
const KINDS = ['decision', 'outcome', 'reject', 'repeat', 'lifecycle', 'gap', 'checkpoint', 'candidate']

/**
 * `plugins.mcp_audit.output`: a list, in the words of Enterprise OPA's `eopa_dl` where it has them; and what OPA itself has
 * in `decision_logs` for one service.
 */
export function readOutputs(audit: Section, logs: Section, services: Services): Output[] {
  const outputs = audit.list('output').map((output) => readOutput(output, services))
  const plain = readPlain(logs, services)
  if (plain) outputs.push(plain)
  const names = outputs.map(({ name }) => name)
  names.forEach((name, at) => {
    if (names.indexOf(name) < at)
      audit.fault(`output[${at}].name`, `${name} is there already: give each a name`)
  })
  return outputs
}

type Services = Record<string, Service>

/** OPA's own form: `decision_logs.service`, with `resource` and `reporting.upload_size_limit_bytes`. */
function readPlain(logs: Section, services: Services): Output | undefined {
  const has = logs.has('service')
  for (const key of ['resource', 'reporting']) if (!has && logs.has(key)) logs.fault(key, 'goes with service')
  if (!has) return undefined
  const reporting = logs.section('reporting')
  for (const key of [
    'buffer_type',
    'buffer_size_limit_bytes',
    'buffer_size_limit_events',
    'max_decisions_per_second',
  ])
    if (reporting.has(key))
      reporting.fault(key, 'OPA has this key; here records wait on disk and none is dropped')
  for (const key of ['min_delay_seconds', 'max_delay_seconds', 'trigger'])
    if (reporting.has(key)) reporting.fault(key, 'OPA has this key; here records are sent at once')
  const read: Output = {
    name: 'decision_logs',
    schema: 'native',
    runner: { batching: batchOf('service'), backoff: BACKOFF },
    type: 'service',
    ...serviceOf(logs, services),
    limit: limitOf(reporting),
    timeout: 10_000,
  }
  reporting.done()
  return read
}

function serviceOf(section: Section, services: Services): { service: Service; resource: string } {
  const name = section.string('service')
  const service = Object.hasOwn(services, name) ? services[name] : undefined
  if (!service && name !== '') section.fault('service', `${name.slice(0, 80)} is not one of services`)
  if (service && URL.canParse(service.url) && isPlain(new URL(service.url)))
    section.fault('service', 'must be https, or loopback: records go there')
  if (service?.type === 'oci') section.fault('service', 'is an OCI registry, which takes no records')
  const resource = section.string('resource', 'logs').replace(/^\/+/, '')
  return { service: service ?? NO_SERVICE, resource }
}
/** Stands where a fault was said. */
const NO_SERVICE: Service = {
  name: '',
  url: '',
  headers: {},
  headerTimeout: 1,
  caCert: undefined,
  systemCa: true,
  credentials: { kind: 'none' },
}

const limitOf = (section: Section) => section.integer('upload_size_limit_bytes', 32_768, 90, 2 ** 32)
const batchOf = (type: Output['type']) => {
  const [count, bytes, period] = BATCH[type]
  return { count, bytes, period: period === '0s' ? 0 : 1_000 }
}
const BACKOFF = { least: 500, most: 60_000, slow: 60_000 }

function readOutput(output: Section, services: Services): Output {
  const given = output.oneOf('type', TYPES, 'stdout')
  const type = given === 'console' ? 'stdout' : given
  const name = output.string('name', type)
  // It is that of files: the cursor and the dead letters.
  if (!/^[a-z0-9_-]{1,64}$/.test(name)) output.fault('name', 'must be 1 to 64 of a-z, 0-9, _ and -')
  const schema = output.oneOf('schema', SCHEMAS, SCHEMA[type] ?? 'native')
  if (type === 'otlp' && schema !== 'otel') output.fault('schema', 'of an otlp output is otel')
  const events = output.strings('events')
  for (const kind of events.filter((event) => !KINDS.includes(event)))
    output.fault('events', `${kind.slice(0, 80)} is not one of ${KINDS.join(', ')}`)
  const batching = output.section('batching')
  const common = {
    name,
    schema,
    runner: {
      batching: readBatching(batching, BATCH[type]),
      backoff: readRetry(output.section('retry')),
      ...(events.length > 0 && { events: new Set(events) }),
    },
  }
  const compress = batching.boolean('compress', true)
  batching.done()
  const read = { ...common, ...readKind(output, type, compress, services) } as Output
  output.done()
  return read
}

function readKind(output: Section, type: Output['type'], compress: boolean, services: Services) {
  switch (type) {
    case 'stdout':
      return { type }
    case 'file':
      return {
        type,
        path: resolve(output.string('path')),
        bytes: output.integer('max_bytes', 100 << 20, 1024, 2 ** 40),
        age: output.duration('max_age', '24h', '1s', '8760h'),
        files: output.integer('max_files', 10, 1, 1000),
      }
    case 'http': {
      const to = readTo(output, compress, 'Bearer ', ['token', 'token_path'])
      return { type, to, limit: limitOf(output) }
    }
    case 'service':
      return {
        type,
        ...serviceOf(output, services),
        limit: limitOf(output),
        timeout: output.duration('timeout', '10s', '10ms', '10m'),
      }
    case 'splunk': {
      const to = readTo(output, compress, 'Splunk ', ['token', 'token_path'])
      if (!to.credential) output.fault('token', 'token or token_path is required')
      const optional = (key: string) => {
        const value = output.optional(key)
        return value === undefined ? {} : { [key]: value }
      }
      const meta = {
        ...optional('index'),
        ...optional('source'),
        ...optional('host'),
        sourcetype: output.string('sourcetype', 'mcp_opa_sidecar'),
      }
      const within = output.duration('ack_timeout', '5m', '1s', '1h')
      const ack = output.boolean('ack', false)
      return { type, to, meta, ...(ack && { ack: { channel: crypto.randomUUID(), every: 1_000, within } }) }
    }
    case 'elasticsearch':
    case 'opensearch': {
      const to = readTo(output, compress, 'ApiKey ', ['api_key', 'api_key_path'])
      const [user, password] = [output.optional('username'), output.optional('password')]
      if ((user === undefined) !== (password === undefined)) output.fault('username', 'goes with password')
      if (user !== undefined && password !== undefined) {
        if (to.credential) output.fault('username', 'goes without api_key')
        const value = Buffer.from(`${user}:${password}`).toString('base64')
        to.credential = { header: 'authorization', prefix: 'Basic ', secret: { value } }
      }
      const index = output.string('index', 'logs-mcp.audit-default')
      if (!/^[a-z0-9][a-z0-9._-]{0,254}$/.test(index))
        output.fault('index', 'must be the name of a data stream: lower case, digits, . _ and -')
      return { type, to, index }
    }
    case 'otlp':
      return { type, to: readTo(output, compress, 'Bearer ', ['token', 'token_path']) }
  }
}

function readBatching(section: Section, [count, bytes, period]: [number, number, string]) {
  return {
    count: section.integer('at_count', count, 1, 10_000),
    bytes: section.integer('at_bytes', bytes, 1024, 16 << 20),
    period: section.duration('at_period', period, '0s', '10m'),
  }
}

function readRetry(section: Section): RunnerSettings['backoff'] {
  if (section.has('max_attempts')) section.fault('max_attempts', 'is not offered: no record is given up')
  const least = section.duration('period', '500ms', '1ms', '10m')
  const most = section.duration('max_backoff', '1m', '1ms', '1h')
  section.done()
  return { least, most, slow: most }
}

/** Headers that say what the body is and whose connection it goes over are ours. */
const OURS = /^(content-(length|type|encoding)|transfer-encoding|connection|host|expect|upgrade|te|trailer)$/i

function readTo(
  output: Section,
  compress: boolean,
  prefix: string,
  [inline, file]: [string, string],
): HttpTo {
  const url = readUrl(output)
  const headers = output.map('headers')
  for (const [header, value] of Object.entries(headers)) {
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(header) || /[^\t\x20-\x7e]/.test(value))
      output.fault(`headers.${header.slice(0, 80)}`, 'is no header')
    else if (OURS.test(header)) output.fault(`headers.${header}`, 'is set by the output itself')
  }
  const [value, path] = [output.optional(inline), output.optional(file)]
  if (value !== undefined && path !== undefined) output.fault(file, `goes without ${inline}`)
  if (path !== undefined) text(output, file, path)
  if (
    (value ?? path) !== undefined &&
    Object.keys(headers).some((name) => name.toLowerCase() === 'authorization')
  )
    output.fault('headers.authorization', `goes without ${inline}`)
  const secret = path !== undefined ? { file: path } : value !== undefined ? { value } : undefined
  return {
    url,
    headers,
    ...(secret && { credential: { header: 'authorization', prefix, secret } }),
    tls: readTls(output.section('tls')),
    timeout: output.duration('timeout', '10s', '10ms', '10m'),
    compress,
  }
}

const isPlain = (url: URL) => url.protocol === 'http:' && !isLoopback(url.hostname)

function readUrl(output: Section): URL {
  const given = output.string('url')
  const url = URL.canParse(given) ? new URL(given) : undefined
  const plain = output.boolean('allow_plaintext', false)
  if (given === '') return new URL('http://127.0.0.1')
  if (
    !url ||
    !['http:', 'https:'].includes(url.protocol) ||
    url.username !== '' ||
    url.password !== '' ||
    url.hash !== ''
  )
    output.fault('url', 'must be an http or https URL without user, password and fragment')
  else if (isPlain(url) && !plain)
    output.fault(
      'url',
      'must be https, or loopback: records and a credential go there; or say allow_plaintext: true',
    )
  return url ?? new URL('http://127.0.0.1')
}

function readTls(tls: Section): HttpTo['tls'] {
  if (tls.has('skip_cert_verify'))
    tls.fault('skip_cert_verify', 'is not offered: name the authority with ca_cert')
  const [ca, cert, key] = [tls.optional('ca_cert'), tls.optional('cert'), tls.optional('private_key')]
  if ((cert === undefined) !== (key === undefined)) tls.fault('cert', 'cert and private_key go together')
  const read = {
    ...(ca !== undefined && { ca: text(tls, 'ca_cert', ca) }),
    ...(cert !== undefined && { cert: text(tls, 'cert', cert) }),
    ...(key !== undefined && { key: text(tls, 'private_key', key) }),
  }
  tls.done()
  return read
}

function text(section: Section, key: string, path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    section.fault(key, (error as Error).message)
    return ''
  }
}
