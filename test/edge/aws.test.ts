// Where keys of AWS come from: servers that are strict about what AWS's documentation says of its metadata services.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { readConfig } from '../../src/config.ts'
import { type AwsSource, createAwsKeys } from '../../src/edge/services/aws.ts'
import { readAws } from '../../src/edge/services/aws-settings.ts'
import { createEcrToken } from '../../src/edge/services/ecr.ts'
import { readSection } from '../../src/edge/settings.ts'

const folder = mkdtempSync(join(tmpdir(), 'mcp-aws-'))
afterAll(() => rmSync(folder, { recursive: true }))
const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})
const file = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}

type Answer = [status: number, text: string]
async function serve(answer: (request: IncomingMessage) => Answer) {
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`)
    const [status, text] = answer(request)
    response.writeHead(status).end(text)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
}

const HOUR = 3_600_000
const role = (more: object = {}, end = Date.now() + HOUR) =>
  JSON.stringify({
    Code: 'Success',
    AccessKeyId: 'ASIA',
    SecretAccessKey: 'very/secret',
    Token: 'session',
    Expiration: new Date(end).toISOString(),
    ...more,
  })
const KEYS = { id: 'ASIA', secret: 'very/secret', token: 'session', region: 'eu-central-1' }
const region = 'eu-central-1'

describe('an instance (EC2)', () => {
  const imds = (of: () => string, name = 'bundles') =>
    serve((request) => {
      if (request.method === 'PUT' && request.url === '/latest/api/token')
        return request.headers['x-aws-ec2-metadata-token-ttl-seconds'] === '60' ? [200, 'tok=='] : [400, '']
      if (request.headers['x-aws-ec2-metadata-token'] !== 'tok==') return [401, '']
      return request.url === `/latest/meta-data/iam/security-credentials/${name}` ? [200, of()] : [404, '']
    })
  const from = (url: string, name = 'bundles'): AwsSource => ({ kind: 'instance', url, role: name, region })

  test('gives keys for a token, once until shortly before they end', async () => {
    let time = Date.now()
    const { url, asked } = await imds(() => role({}, time + HOUR))
    const keys = createAwsKeys([from(url)], () => time)
    expect(await Promise.all([keys(), keys()])).toEqual([KEYS, KEYS])
    expect(await keys()).toEqual(KEYS)
    expect(asked).toEqual(['PUT /latest/api/token', 'GET /latest/meta-data/iam/security-credentials/bundles'])
    time += HOUR - 4 * 60_000
    await keys()
    expect(asked).toHaveLength(4)
  })

  test('that is away leaves the keys until their end, and not longer', async () => {
    let time = Date.now()
    const { url } = await imds(() => (time > 0 ? role({}, time + HOUR) : ''))
    const keys = createAwsKeys([from(url)], () => time)
    await keys()
    await closers.pop()?.()
    time += HOUR - 60_000
    expect(await keys()).toEqual(KEYS)
    time += 61_000
    await expect(keys()).rejects.toThrow(/there are no keys of AWS: http:\/\/127/)
  })

  test.each([
    ['no success', role({ Code: 'Failed' }), /did not succeed/],
    ['no code', role({ Code: undefined }), /did not succeed/],
    ['no keys', role({ SecretAccessKey: '' }), /no keys/],
    ['a line break in a key', role({ Token: 'a\r\nx: y' }), /no keys/],
    ['no JSON', '<html>very/secret', /did not succeed/],
    ['too much', ' '.repeat(70_000), /more than 65536 bytes/],
  ])('that answers with %s gives none, and no secret is said', async (_name, text, message) => {
    const { url } = await imds(() => text)
    const error: Error = await createAwsKeys([from(url)])().then(
      () => expect.fail(),
      (thrown) => thrown,
    )
    expect(error.message).toMatch(message)
    expect(error.message).not.toContain('very/secret')
  })

  test('is asked for no other role by a name with a slash', async () => {
    const { url, asked } = await imds(() => role())
    await expect(createAwsKeys([from(url, '../x')])()).rejects.toThrow(/answered 404/)
    expect(asked[1]).toBe('GET /latest/meta-data/iam/security-credentials/..%2Fx')
  })
})

test('a container (ECS, EKS) gives keys to who shows its token, which is read again', async () => {
  let wanted = 'one'
  const { url } = await serve(({ headers }) =>
    headers.authorization === wanted ? [200, role({ Code: undefined }, Date.now())] : [403, ''],
  )
  const tokenPath = file('container-token', 'one\n')
  const keys = createAwsKeys([{ kind: 'container', url, token: undefined, tokenPath, region }])
  expect(await keys()).toEqual(KEYS)
  wanted = 'two'
  await expect(keys()).rejects.toThrow(/answered 403/)
  file('container-token', 'two')
  expect(await keys()).toEqual(KEYS)
})

test('a profile is read out of its section, for each request', async () => {
  const path = file(
    'credentials',
    '# a comment\n[default]\naws_access_key_id = wrong\naws_secret_access_key=wrong\n\n[ bundles ]\r\naws_access_key_id = AK\r\naws_secret_access_key = s=/+\naws_session_token=t\n[other]\naws_session_token=x\n',
  )
  const from = (profile: string) => createAwsKeys([{ kind: 'profile', path, profile, region }])
  expect(await from('bundles')()).toEqual({ id: 'AK', secret: 's=/+', token: 't', region })
  await expect(from('other')()).rejects.toThrow(/no keys for the profile other/)
  const keys = from('default')
  file('credentials', '[default]\naws_access_key_id=a\naws_secret_access_key=b\n')
  expect(await keys()).toEqual({ id: 'a', secret: 'b', token: undefined, region })
})

test('the next source is asked where one has none, and all are named where none has', async () => {
  const none: AwsSource = { kind: 'profile', path: join(folder, 'nowhere'), profile: 'default', region }
  expect(await createAwsKeys([none, { kind: 'environment', keys: KEYS }])()).toEqual(KEYS)
  await expect(createAwsKeys([none, { ...none, path: join(folder, 'nor-here') }])()).rejects.toThrow(
    /nowhere'; ENOENT.*nor-here/,
  )
})

test('a registry’s token is asked for once until shortly before its end', async () => {
  let time = Date.now()
  const { url, asked } = await serve(({ headers }) => {
    const right =
      headers['x-amz-target'] === 'AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken' &&
      /^AWS4-HMAC-SHA256 Credential=ASIA\/\d{8}\/eu-central-1\/ecr\/aws4_request,/.test(
        headers.authorization ?? '',
      )
    const data = [{ authorizationToken: 'QVdTOnA=', expiresAt: time / 1000 + 43_200.5 }]
    return right ? [200, JSON.stringify({ authorizationData: data })] : [400, '']
  })
  const token = createEcrToken(createAwsKeys([{ kind: 'environment', keys: KEYS }]), `${url}/`, () => time)
  expect([await token(), await token()]).toEqual(['QVdTOnA=', 'QVdTOnA='])
  expect(asked).toHaveLength(1)
  time += 43_200_000 - 30_000
  await token()
  expect(asked).toHaveLength(2)
  for (const text of [
    '{}',
    '{"authorizationData":[{}]}',
    '{"authorizationData":[{"authorizationToken":"a b"}]}',
    'x',
  ]) {
    const bad = await serve(() => [200, text])
    await expect(createEcrToken(async () => KEYS, bad.url)()).rejects.toThrow(/no token for its registry/)
  }
})

describe('the configuration', () => {
  const read = (value: object, env: Record<string, string> = {}, registry = false) => {
    const faults: string[] = []
    const settings = readAws(readSection(value, 's3_signing', faults), env, registry)
    return faults.length > 0 ? faults : settings.sources
  }
  const aws_region = region

  test('has OPA’s sources, in the order in which OPA asks them', () => {
    const env = {
      AWS_ACCESS_KEY_ID: 'a',
      AWS_SECRET_ACCESS_KEY: 'b',
      AWS_REGION: 'r',
      AWS_SECURITY_TOKEN: 'old',
    }
    const all = {
      metadata_credentials: { iam_role: 'i', aws_region },
      profile_credentials: { profile: 'p', path: '/c', aws_region },
      web_identity_credentials: { session_name: 'n', aws_domain: 'amazonaws.com.cn' },
      environment_credentials: {},
    }
    expect(read(all, { ...env, AWS_ROLE_ARN: 'arn', AWS_WEB_IDENTITY_TOKEN_FILE: '/t' })).toEqual([
      { kind: 'environment', keys: { id: 'a', secret: 'b', token: 'old', region: 'r' } },
      {
        kind: 'web_identity',
        tokenPath: '/t',
        sts: 'https://sts.r.amazonaws.com.cn/',
        role: 'arn',
        session: 'n',
        region: 'r',
      },
      { kind: 'profile', path: '/c', profile: 'p', region },
      { kind: 'instance', url: 'http://169.254.169.254', role: 'i', region },
    ])
    // What the environment does not have, another may.
    expect(
      read({ environment_credentials: {}, profile_credentials: { path: '/c' } }, { AWS_REGION: 'r' }),
    ).toEqual([{ kind: 'profile', path: '/c', profile: 'default', region: 'r' }])
  })

  test.each([
    [
      { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: '/v2/credentials/x' },
      'http://169.254.170.2/v2/credentials/x',
    ],
    [
      { AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://169.254.170.23/v1/credentials' },
      'http://169.254.170.23/v1/credentials',
    ],
    [{ AWS_CONTAINER_CREDENTIALS_FULL_URI: 'https://keys.example.com/' }, 'https://keys.example.com/'],
  ])('finds the service of a container: %j', (env, url) => {
    expect(read({ metadata_credentials: { aws_region } }, env as Record<string, string>)).toMatchObject([
      { kind: 'container', url },
    ])
  })

  test.each([
    { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: '@keys.example.com/' },
    { AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://keys.example.com/' },
    { AWS_CONTAINER_CREDENTIALS_FULL_URI: 'nowhere' },
  ])('does not ask anybody for keys: %j', (env) => {
    expect(read({ metadata_credentials: { aws_region } }, env as Record<string, string>)).toEqual([
      expect.stringMatching(/is not the address of a metadata service/),
    ])
  })

  test('does not send the token of an identity in the clear', () => {
    const env = {
      AWS_ENDPOINT_URL_STS: 'http://sts.example.com',
      AWS_ROLE_ARN: 'a',
      AWS_WEB_IDENTITY_TOKEN_FILE: '/t',
    }
    expect(read({ web_identity_credentials: { aws_region } }, env)).toEqual([
      expect.stringMatching(/AWS_ENDPOINT_URL_STS: must be https/),
    ])
  })
})

test('what docs/bundles.md says of S3 is a configuration', () => {
  const text = readFileSync(join(import.meta.dirname, '../../docs/bundles.md'), 'utf8')
  const block = /^```yaml s3\n(.*?)^```$/ms.exec(text)?.[1] ?? ''
  const mcp =
    'plugins: {mcp: {server: s, upstream: {url: "http://127.0.0.1:1/mcp"}, identity: {development: {subject: a, email: a@b.example}}}, mcp_audit: {buffer: {path: spool}}}'
  const env = { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: '/v2/credentials/x' }
  const read = readConfig(`${block}\n${mcp}`, ['bundles.mcp.resource=bundles/default.tar.gz'], env)
  expect(read).toMatchObject({ ok: true, config: { services: { s3: { credentials: { kind: 'aws' } } } } })
})
