import { readFile } from 'node:fs/promises'
import { request } from 'undici'
import { isMap } from '../settings.ts'
import { type AwsKeys, signAws } from './s3.ts'

/** Where keys of AWS come from: OPA's `s3_signing`. Paths are files that are read again for each set of keys. */
export type AwsSource =
  | { kind: 'environment'; keys: AwsKeys }
  | { kind: 'profile'; path: string; profile: string; region: string }
  /** of a task (ECS) or a pod (EKS) */
  | {
      kind: 'container'
      url: string
      token: string | undefined
      tokenPath: string | undefined
      region: string
    }
  /** of an instance (EC2, IMDSv2) */
  | { kind: 'instance'; url: string; role: string; region: string }
  | ({ kind: 'web_identity'; tokenPath: string } & Assumed)
  | ({ kind: 'assume_role'; by: AwsSource } & Assumed)
/** A role that STS, at the URL `sts`, lets us have. */
export type Assumed = { sts: string; role: string; session: string; region: string }

export type Temporary = { keys: AwsKeys /** milliseconds since the epoch */; until: number }

/** Milliseconds before their end in which keys are renewed, as OPA does. */
const MARGIN = 5 * 60_000
const WITHIN = 10_000
const MOST = 64 << 10

/**
 * The keys of the first source that has some, in the order that is given. What STS or a metadata service gave is kept
 * until shortly before it ends.
 * @throws Error that says of each source why not
 */
export function createAwsKeys(sources: AwsSource[], now: () => number = Date.now): () => Promise<AwsKeys> {
  const of = sources.map((source) => keysOf(source, now))
  return async () => {
    const why: string[] = []
    for (const keys of of) {
      try {
        return await keys()
      } catch (error) {
        why.push((error as Error).message)
      }
    }
    throw new Error(`there are no keys of AWS: ${why.join('; ')}`)
  }
}

function keysOf(source: AwsSource, now: () => number): () => Promise<AwsKeys> {
  if (source.kind === 'environment') return async () => source.keys
  if (source.kind === 'profile') return () => fromProfile(source)
  const by = source.kind === 'assume_role' ? keysOf(source.by, now) : undefined
  const fetched = (): Promise<Temporary> => {
    if (source.kind === 'container') return fromContainer(source)
    if (source.kind === 'instance') return fromInstance(source)
    return fromSts(source, by, now)
  }
  let kept: Temporary | undefined
  let coming: Promise<Temporary> | undefined
  return async () => {
    if (kept && now() < kept.until - MARGIN) return kept.keys
    coming ??= fetched().finally(() => {
      coming = undefined
    })
    try {
      kept = await coming
    } catch (error) {
      // The old ones do until their end.
      if (!kept || now() >= kept.until) throw error
    }
    return kept.keys
  }
}

async function fromProfile(source: Extract<AwsSource, { kind: 'profile' }>): Promise<AwsKeys> {
  const { path, profile, region } = source
  let section = ''
  const found: Record<string, string> = {}
  for (const line of (await readFile(path, 'utf8')).split('\n')) {
    const head = /^\s*\[\s*(.*?)\s*\]\s*$/.exec(line)
    if (head) section = head[1] as string
    const [, key = '', value = ''] = /^\s*([a-z_]+)\s*=\s*(.*?)\s*$/.exec(line) ?? []
    if (section === profile && key !== '') found[key] = value
  }
  const { aws_access_key_id: id, aws_secret_access_key: secret, aws_session_token: token } = found
  if (!id || !secret) throw new Error(`${path} has no keys for the profile ${profile}`)
  return { id, secret, token: token || undefined, region }
}

async function fromContainer(source: Extract<AwsSource, { kind: 'container' }>): Promise<Temporary> {
  const { url, region, tokenPath } = source
  const token = tokenPath === undefined ? source.token : (await readFile(tokenPath, 'utf8')).trim()
  if (token !== undefined && /[\0\r\n]/.test(token))
    throw new Error('the token of the container is no header')
  const text = await ask('GET', url, token === undefined ? {} : { authorization: token })
  return fromJson(text, region, url)
}

/** AWS docs, "Use IMDSv2": a token first, so that nobody is talked into asking. */
async function fromInstance(source: Extract<AwsSource, { kind: 'instance' }>): Promise<Temporary> {
  const { url, role, region } = source
  const token = await ask('PUT', `${url}/latest/api/token`, { 'x-aws-ec2-metadata-token-ttl-seconds': '60' })
  if (!/^[\x21-\x7e]+$/.test(token)) throw new Error(`${url} gave a token that is none`)
  const path = `${url}/latest/meta-data/iam/security-credentials/${encodeURIComponent(role)}`
  const text = await ask('GET', path, { 'x-aws-ec2-metadata-token': token })
  return fromJson(text, region, path, true)
}

function fromJson(text: string, region: string, url: string, coded = false): Temporary {
  let read: unknown
  try {
    read = JSON.parse(text)
  } catch {
    // Told below.
  }
  const answer = isMap(read) ? read : {}
  if (coded && answer.Code !== 'Success') throw new Error(`${url} did not succeed`)
  return temporary(
    { id: answer.AccessKeyId, secret: answer.SecretAccessKey, token: answer.Token, until: answer.Expiration },
    region,
    url,
  )
}

/** AWS STS API, `AssumeRole` (signed by other keys) and `AssumeRoleWithWebIdentity` (by the token alone). */
async function fromSts(
  source: Extract<AwsSource, { kind: 'web_identity' | 'assume_role' }>,
  by: (() => Promise<AwsKeys>) | undefined,
  now: () => number,
): Promise<Temporary> {
  const { sts, role, session, region } = source
  const form = new URLSearchParams({
    Action: source.kind === 'assume_role' ? 'AssumeRole' : 'AssumeRoleWithWebIdentity',
    RoleSessionName: session,
    RoleArn: role,
    Version: '2011-06-15',
  })
  if (source.kind === 'web_identity')
    form.set('WebIdentityToken', (await readFile(source.tokenPath, 'utf8')).trim())
  const body = form.toString()
  const headers = { 'content-type': 'application/x-www-form-urlencoded' }
  const url = new URL(sts)
  const signed =
    by && signAws('sts', 'POST', url, headers, body, { ...(await by()), region }, new Date(now()))
  const text = await ask('POST', url.href, { ...headers, ...signed }, body)
  const of = (name: string) => new RegExp(`<${name}>([^<]*)</${name}>`).exec(text)?.[1]
  return temporary(
    {
      id: of('AccessKeyId'),
      secret: of('SecretAccessKey'),
      token: of('SessionToken'),
      until: of('Expiration'),
    },
    region,
    url.href,
  )
}

function temporary(
  { id, secret, token, until }: Record<'id' | 'secret' | 'token' | 'until', unknown>,
  region: string,
  url: string,
): Temporary {
  const plain = (value: unknown): value is string => typeof value === 'string' && /^[\x21-\x7e]+$/.test(value)
  if (!plain(id) || !plain(secret) || !plain(token)) throw new Error(`${url} answered with no keys`)
  const end = typeof until === 'string' ? Date.parse(until) : Number.NaN
  // Without an end they are asked for each time.
  return { keys: { id, secret, token, region }, until: Number.isNaN(end) ? 0 : end }
}

/** @throws Error, without what was answered: it may be a secret */
export async function ask(
  method: 'GET' | 'PUT' | 'POST',
  url: string,
  headers: Record<string, string>,
  body?: string,
): Promise<string> {
  const answer = await request(url, {
    method,
    headers,
    ...(body !== undefined && { body }),
    headersTimeout: WITHIN,
    bodyTimeout: WITHIN,
    signal: AbortSignal.timeout(WITHIN),
  }).catch((error: Error) => {
    throw new Error(`${url}: ${error.message || (error as NodeJS.ErrnoException).code}`)
  })
  const parts: Buffer[] = []
  let size = 0
  for await (const chunk of answer.body) {
    size += (chunk as Buffer).length
    if (size > MOST) throw new Error(`${url} answered with more than ${MOST} bytes`)
    parts.push(chunk as Buffer)
  }
  if (answer.statusCode !== 200) throw new Error(`${url} answered ${answer.statusCode}`)
  return Buffer.concat(parts).toString('utf8').trim()
}
