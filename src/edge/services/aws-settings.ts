import { homedir } from 'node:os'
import { join } from 'node:path'
import { isLoopback } from '../http/address.ts'
import type { Section } from '../settings.ts'
import type { Assumed, AwsSource } from './aws.ts'

type Env = Record<string, string | undefined>

/** OPA's `s3_signing`; the sources in the order in which OPA asks them. */
export type AwsSettings = {
  service: 's3' | 'ecr'
  sources: AwsSource[]
  /** where a token for a registry is asked for, where that is not AWS's own (`AWS_ENDPOINT_URL_ECR`) */
  ecr: string | undefined
}

const INSTANCE = 'http://169.254.169.254'
const TASK = 'http://169.254.170.2'
/** What the metadata services of ECS and EKS have, beside loopback (AWS SDK reference, "Container credential provider"). */
const CONTAINERS = ['169.254.170.2', '169.254.170.23', '[fd00:ec2::23]']

/** @param registry whether the service is one, which OPA signs for as `ecr` */
export function readAws(section: Section, env: Env, registry: boolean): AwsSettings {
  const only = registry ? 'ecr' : 's3'
  const service = section.oneOf('service', ['s3', 'ecr'] as const, only)
  if (service !== only) section.fault('service', `must be ${only} here`)
  section.oneOf('signature_version', ['4'] as const, '4')
  if (section.has('sso_credentials'))
    section.fault('sso_credentials', 'OPA has this key; this version does not honour it')
  const many = KINDS.filter((kind) => section.has(kind)).length > 1
  const sources = readSources(section, env, many)
  if (!section.has('sso_credentials') && !KINDS.some((kind) => section.has(kind)))
    section.fault('environment_credentials', `one of ${KINDS.join(', ')} is required`)
  section.done()
  return { service, sources, ecr: endpoint(section, env, 'ECR') }
}

const KINDS = [
  'environment_credentials',
  'assume_role_credentials',
  'web_identity_credentials',
  'profile_credentials',
  'metadata_credentials',
] as const

/** @param many whether another may have what the environment does not */
function readSources(section: Section, env: Env, many: boolean): AwsSource[] {
  return KINDS.flatMap((kind): AwsSource[] => {
    if (!section.has(kind)) return []
    const own = section.section(kind)
    const source = READERS[kind](own, env, many)
    own.done()
    return source ? [source] : []
  })
}

type Reader = (section: Section, env: Env, many: boolean) => AwsSource | undefined

const READERS: Record<(typeof KINDS)[number], Reader> = {
  environment_credentials(section, env, many) {
    const missing = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_REGION'].filter((name) => !env[name])
    if (missing.length > 0) {
      if (!many) for (const name of missing) section.fault(name, 'is not set in the environment')
      return undefined
    }
    const token = env.AWS_SESSION_TOKEN || env.AWS_SECURITY_TOKEN || undefined
    const { AWS_ACCESS_KEY_ID: id = '', AWS_SECRET_ACCESS_KEY: secret = '', AWS_REGION: region = '' } = env
    return { kind: 'environment', keys: { id, secret, token, region } }
  },
  profile_credentials: (section, env) => ({
    kind: 'profile',
    path:
      section.optional('path') ?? (env.AWS_SHARED_CREDENTIALS_FILE || join(homedir(), '.aws/credentials')),
    profile: section.optional('profile') ?? (env.AWS_PROFILE || 'default'),
    region: regionOf(section, env),
  }),
  metadata_credentials(section, env) {
    const region = regionOf(section, env)
    const role = section.optional('iam_role')
    if (role !== undefined) {
      const url = (env.AWS_EC2_METADATA_SERVICE_ENDPOINT || INSTANCE).replace(/\/+$/, '')
      if (!/^https?:/.test(url) || !URL.canParse(url))
        section.fault('AWS_EC2_METADATA_SERVICE_ENDPOINT', 'must be an http or https URL')
      return { kind: 'instance', url, role, region }
    }
    const { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: path, AWS_CONTAINER_CREDENTIALS_FULL_URI: full } = env
    const url = path ? `${TASK}${path}` : full
    if (!url) {
      section.fault(
        'iam_role',
        'is required, unless AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or …_FULL_URI is set',
      )
      return undefined
    }
    if (path ? !path.startsWith('/') : !mayGiveKeys(url)) {
      section.fault(
        path ? 'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI' : 'AWS_CONTAINER_CREDENTIALS_FULL_URI',
        'is not the address of a metadata service',
      )
      return undefined
    }
    const own = path ? {} : env
    return {
      kind: 'container',
      url,
      token: own.AWS_CONTAINER_AUTHORIZATION_TOKEN || undefined,
      tokenPath: own.AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE || undefined,
      region,
    }
  },
  web_identity_credentials(section, env) {
    const tokenPath = section.optional('web_identity_token_file') ?? env.AWS_WEB_IDENTITY_TOKEN_FILE
    if (!tokenPath) section.fault('web_identity_token_file', 'is required, or AWS_WEB_IDENTITY_TOKEN_FILE')
    return { kind: 'web_identity', tokenPath: tokenPath ?? '', ...assumedOf(section, env) }
  },
  assume_role_credentials(section, env) {
    const signing = section.section('aws_signing')
    const kinds = KINDS.filter((kind) => kind !== 'assume_role_credentials' && signing.has(kind))
    const by = kinds.length === 1 ? readSources(signing, env, false)[0] : undefined
    if (kinds.length !== 1) section.fault('aws_signing', 'needs exactly one kind of credentials')
    signing.oneOf('service', ['sts'] as const, 'sts')
    signing.done()
    return by && { kind: 'assume_role', by, ...assumedOf(section, env) }
  },
}

function assumedOf(section: Section, env: Env): Assumed {
  const region = regionOf(section, env)
  const role = section.optional('iam_role_arn') ?? env.AWS_ROLE_ARN
  if (!role) section.fault('iam_role_arn', 'is required, or AWS_ROLE_ARN')
  const domain = section.optional('aws_domain') ?? (env.AWS_DOMAIN || 'amazonaws.com')
  const own = `https://sts.${region.toLowerCase()}.${domain}/`
  if (!URL.canParse(own)) section.fault('aws_domain', 'is no domain')
  return {
    sts: endpoint(section, env, 'STS') ?? own,
    role: role ?? '',
    session: section.string('session_name', 'open-policy-agent'),
    region,
  }
}

function regionOf(section: Section, env: Env): string {
  const region = section.optional('aws_region') ?? env.AWS_REGION ?? ''
  if (!/^[A-Za-z0-9-]+$/.test(region)) section.fault('aws_region', 'is required, or AWS_REGION')
  return region
}

/** `AWS_ENDPOINT_URL_<SERVICE>`, as AWS's own tools have it. */
function endpoint(section: Section, env: Env, service: 'STS' | 'ECR'): string | undefined {
  const url = env[`AWS_ENDPOINT_URL_${service}`]
  if (!url) return undefined
  if (URL.canParse(url) && isSafe(new URL(url))) return new URL(url).href
  section.fault(`AWS_ENDPOINT_URL_${service}`, 'must be https, or http on loopback')
  return undefined
}

const isSafe = ({ protocol, hostname }: URL): boolean =>
  protocol === 'https:' || (protocol === 'http:' && isLoopback(hostname))

function mayGiveKeys(url: string): boolean {
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  return (
    parsed !== undefined &&
    (isSafe(parsed) || (parsed.protocol === 'http:' && CONTAINERS.includes(parsed.hostname)))
  )
}
