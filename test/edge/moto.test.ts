// S3, STS and ECR as moto has them, which verifies signatures and policies as AWS does; buckets are filled by AWS's own SDK.
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { readConfig } from '../../src/config.ts'
import { createService } from '../../src/edge/services/client.ts'
import { startBundleServer } from '../support/bundle-server.ts'
import { dataBundle } from '../support/bundles.ts'
import { pythonWith } from '../support/programs.ts'
import { answers, freePort } from '../support/registry.ts'
import { takeBundles } from '../support/taken.ts'

const python = await pythonWith('moto', 'moto[server]')
const folder = mkdtempSync(join(tmpdir(), 'mcp-moto-'))
const closers: (() => Promise<unknown>)[] = []
afterAll(async () => {
  for (const close of closers.reverse()) await close()
  rmSync(folder, { recursive: true })
})

const SETUP = `
import boto3, json, os, sys, base64
at = dict(endpoint_url=sys.argv[1], region_name='eu-central-1', aws_access_key_id='setup', aws_secret_access_key='setup')
s3, iam, sts = boto3.client('s3', **at), boto3.client('iam', **at), boto3.client('sts', **at)
s3.create_bucket(Bucket='acme-policies', CreateBucketConfiguration={'LocationConstraint': 'eu-central-1'})
s3.put_object(Bucket='acme-policies', Key='live/a b+c.tar.gz', Body=base64.b64decode(sys.argv[2]))
statements = [{'Effect': 'Allow', 'Action': a, 'Resource': '*'} for a in ['s3:GetObject', 'sts:AssumeRole', 'ecr:GetAuthorizationToken']]
policy = json.dumps({'Version': '2012-10-17', 'Statement': statements})
iam.create_user(UserName='bundles')
iam.put_user_policy(UserName='bundles', PolicyName='read', PolicyDocument=policy)
key = iam.create_access_key(UserName='bundles')['AccessKey']
trust = json.dumps({'Version': '2012-10-17', 'Statement': [{'Effect': 'Allow', 'Principal': {'AWS': '*'}, 'Action': 'sts:AssumeRole'}]})
role = iam.create_role(RoleName='reader', AssumeRolePolicyDocument=trust)['Role']['Arn']
iam.put_role_policy(RoleName='reader', PolicyName='read', PolicyDocument=policy)
print(json.dumps({'id': key['AccessKeyId'], 'secret': key['SecretAccessKey'], 'role': role}))
`

describe.skipIf(!python)('moto', async () => {
  if (!python) return
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const server = spawn(python, ['-m', 'moto.server', '-H', '127.0.0.1', '-p', String(port)], {
    stdio: 'ignore',
  })
  const ended = new Promise((resolve) => server.once('exit', resolve))
  closers.push(() => {
    server.kill('SIGKILL')
    return ended
  })
  while (!(await answers(port))) await new Promise((resolve) => setTimeout(resolve, 50))
  const one = await dataBundle(['config/banned'], { config: { banned: {} } }, { revision: 'one' })
  const { id, secret, role } = JSON.parse(
    execFileSync(python, ['-c', SETUP, url, one.toString('base64')], { encoding: 'utf8' }),
  ) as { id: string; secret: string; role: string }
  // From now on every request must be signed by somebody who may.
  const guard = await fetch(`${url}/moto-api/reset-auth`, { method: 'POST', body: '0' })
  if (!guard.ok) throw new Error(`moto does not verify: ${guard.status}`)

  const profile = join(folder, 'credentials')
  writeFileSync(profile, `[bundles]\naws_access_key_id=${id}\naws_secret_access_key=${secret}\n`)
  const identity = join(folder, 'identity')
  writeFileSync(identity, 'a.b.c\n')
  const env = {
    AWS_ACCESS_KEY_ID: id,
    AWS_SECRET_ACCESS_KEY: secret,
    AWS_REGION: 'eu-central-1',
    AWS_ENDPOINT_URL_STS: url,
    AWS_ENDPOINT_URL_ECR: url,
  }
  const configured = (s3_signing: object, more: object = {}, of: Record<string, string> = env) => {
    const mcp = {
      server: 's',
      upstream: { url: 'http://127.0.0.1:1/mcp' },
      identity: { development: { subject: 'a', email: 'a@b.example' } },
    }
    const read = readConfig(
      stringify({
        services: { aws: { url: `${url}/acme-policies`, credentials: { s3_signing }, ...more } },
        bundles: {
          mcp: { resource: 'bundles/default.tar.gz' },
          ...(!('type' in more) && { data: { service: 'aws', resource: 'live/a b+c.tar.gz' } }),
        },
        plugins: { mcp, mcp_audit: { buffer: { path: join(folder, 'spool') } } },
      }),
      [],
      of,
    )
    if (!read.ok) throw new Error(read.faults.join('\n'))
    return read.config
  }

  test.each<[string, object]>([
    ['the environment', { environment_credentials: {} }],
    ['a profile', { profile_credentials: { path: profile, profile: 'bundles', aws_region: 'eu-central-1' } }],
    [
      'a role, with keys of the environment',
      {
        assume_role_credentials: {
          iam_role_arn: role,
          aws_region: 'eu-central-1',
          aws_signing: { environment_credentials: {} },
        },
      },
    ],
  ])(
    'S3 gives the bundle to keys of %s',
    async (_name, signing) => {
      const taken = takeBundles(configured(signing).bundles)
      closers.push(taken.bundles.close)
      await taken.bundles.start()
      await taken.until(() => taken.changes.length + taken.failures.length > 0)
      expect(taken.failures).toEqual([])
      expect(taken.revision('data')).toBe('one')
    },
    60_000,
  )

  test('S3 gives it to no other keys', async () => {
    const taken = takeBundles(
      configured({ environment_credentials: {} }, {}, { ...env, AWS_SECRET_ACCESS_KEY: 'wrong' }).bundles,
    )
    closers.push(taken.bundles.close)
    await taken.bundles.start()
    await taken.until(() => taken.changes.length + taken.failures.length > 0)
    expect(taken.failures[0]).toMatchObject({ code: 'http_status', status: 403 })
  }, 60_000)

  test('a registry of AWS is asked with the token that ECR gives for signed keys', async () => {
    const registry = await startBundleServer()
    closers.push(registry.close)
    const ecr = { service: 'ecr', environment_credentials: {} }
    const { services } = configured(ecr, { url: registry.url, type: 'oci' })
    const client = createService(services.aws as NonNullable<typeof services.aws>, 'test/1')
    closers.push(client.close)
    const { body } = await client.request('v2/', { method: 'GET', signal: AbortSignal.timeout(10_000) })
    await body.dump()
    const [, word = ''] = /^Basic (.+)$/.exec(registry.requests()[0]?.headers.authorization ?? '') ?? []
    expect(Buffer.from(word, 'base64').toString()).toMatch(/^AWS:/)
  }, 60_000)
})
