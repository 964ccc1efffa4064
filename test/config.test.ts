import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { type Config, readConfig } from '../src/config.ts'
import { createIssuer } from './support/assertions.ts'

const folder = mkdtempSync(join(tmpdir(), 'mcp-config-'))
afterAll(() => rmSync(folder, { recursive: true }))
const { jwks } = createIssuer()
const jwksFile = join(folder, 'jwks.json')
writeFileSync(jwksFile, jwks)

const BASE = `
bundles: {mcp: {resource: bundles/default.tar.gz}}
plugins:
  mcp:
    server: github
    upstream: {url: "http://127.0.0.1:8080/mcp"}
    identity: {jwks_file: ${jwksFile}, issuer: mcp.example.com, audience: mcp.example.com}
  mcp_audit: {buffer: {path: ${join(folder, 'spool')}}}
`
const read = (text: string, sets: string[] = [], env: Record<string, string> = {}) =>
  readConfig(text, sets, env)
const good = (sets: string[] = [], env = {}): Config => {
  const result = read(BASE, sets, env)
  if (!result.ok) throw new Error(result.faults.join('\n'))
  return result.config
}
const faults = (sets: string[], text = BASE): string[] => {
  const result = read(text, sets)
  return result.ok ? [] : result.faults
}

test('the least configuration has sane defaults', () => {
  const { mcp, audit } = good()
  expect(mcp).toMatchObject({
    addr: { host: '127.0.0.1', port: 8081 },
    adminAddr: { host: '127.0.0.1', port: 8282 },
    endpoint: '/mcp',
    path: 'mcp/main/decision',
    deadline: 50,
    streamMaxAge: 900_000,
    streamAfterExpiry: 600_000,
    upstream: { kind: 'http', authorization: 'none' },
    identity: { kind: 'pomerium', expected: { tolerance: 30 } },
  })
  expect(audit.outputs).toEqual([])
})

test('--set goes over the file; ${NAME} is taken from the environment, and stays a value', () => {
  const config = good(
    ['plugins.mcp.addr=0.0.0.0:9', 'plugins.mcp.help=${HELP}', 'plugins.mcp_audit.output=[{type: stdout}]'],
    {
      HELP: 'a: {b}\nplugins: {}',
    },
  )
  expect(config.mcp.addr).toEqual({ host: '0.0.0.0', port: 9 })
  expect(config.mcp.help).toBe('a: {b}\nplugins: {}')
  expect(config.audit.outputs).toMatchObject([{ type: 'stdout', name: 'stdout', schema: 'native' }])
})

test('all faults are told at once, each with its path', () => {
  const text = `
bundles: {mcp: {resource: ${folder}/none.tar.gz, polling: {}}}
discovery: {}
plugins:
  mcp: {addr: nowhere, server: 7, upstrem: {}, dry-run: true, evaluation: {deadline: soon}, session_key: short}
  other: {}
`
  expect(faults([], text).sort()).toEqual(
    [
      expect.stringMatching(/^bundles\.mcp\.polling: has a meaning only with a service/),
      expect.stringMatching(/^bundles\.mcp\.resource: there is no file/),
      expect.stringMatching(/^discovery: OPA has this key/),
      expect.stringMatching(/^plugins\.mcp\.addr: must be host:port/),
      expect.stringMatching(/^plugins\.mcp\.dry-run: /),
      expect.stringMatching(/^plugins\.mcp\.evaluation\.deadline: must be a duration/),
      expect.stringMatching(/^plugins\.mcp\.identity\.audience: is required/),
      expect.stringMatching(/^plugins\.mcp\.identity\.issuer: is required/),
      expect.stringMatching(/^plugins\.mcp\.identity\.jwks_url: exactly one of/),
      expect.stringMatching(/^plugins\.mcp\.server: must be a string/),
      expect.stringMatching(/^plugins\.mcp\.session_key: /),
      expect.stringMatching(/^plugins\.mcp\.upstream\.url: exactly one of/),
      expect.stringMatching(/^plugins\.mcp\.upstrem: is not a setting/),
      expect.stringMatching(/^plugins\.mcp_audit\.buffer\.path: is required/),
      expect.stringMatching(/^plugins\.other: is not a setting/),
    ].sort((a, b) => String(a).localeCompare(String(b))),
  )
})

describe('refused:', () => {
  test.each([
    ['a duplicate key', [], `${BASE}labels: {}\nlabels: {}\n`, /not YAML/],
    ['a file that is a list', [], '[]', /must be a map/],
    ['an unset variable', ['plugins.mcp.help=${NOPE}'], BASE, /the environment has no NOPE/],
    ['a --set without a value', ['plugins.mcp.help'], BASE, /must be key\.key=value/],
    [
      'keys over plain http',
      ['plugins.mcp.identity={jwks_url: "http://example.com/j", issuer: a, audience: b}'],
      BASE,
      /must be an https URL/,
    ],
    ['two sources of keys', [`plugins.mcp.identity.jwks_url=https://example.com/j`], BASE, /exactly one of/],
    ['keys that are none', ['plugins.mcp.identity={jwks: "{}", issuer: a, audience: b}'], BASE, /no usable/],
    ['an upstream with a user in its URL', ['plugins.mcp.upstream.url=http://u@h/mcp'], BASE, /without user/],
    [
      'HTTP with SSE of a command',
      ['plugins.mcp.upstream={command: [x], transport: sse}'],
      BASE,
      /goes with url, not with command/,
    ],
    ['two upstreams', ['plugins.mcp.upstream.command=[x]'], BASE, /exactly one of url and command/],
    [
      'a credential without static',
      ['plugins.mcp.upstream.credential=Bearer x'],
      BASE,
      /goes with authorization: static/,
    ],
    [
      'static without a credential',
      ['plugins.mcp.upstream.authorization=static'],
      BASE,
      /goes with authorization: static/,
    ],
    [
      'a proxy that is no address',
      ['plugins.mcp.trusted_proxies=[10.0.0.0/99]'],
      BASE,
      /IP addresses or CIDR/,
    ],
    [
      'a development identity to the network',
      ['plugins.mcp.identity={development: {subject: a}}', 'plugins.mcp.addr=0.0.0.0:1'],
      BASE,
      /must be a loopback address/,
    ],
    [
      'a development identity beside a real one',
      ['plugins.mcp.identity.development={subject: a}'],
      BASE,
      /has no meaning beside/,
    ],
    [
      'a bundle from the network',
      ['bundles.mcp.resource=https://example.com/b'],
      BASE,
      /file:\/\/ URL or a path/,
    ],
    ['OPA’s console log', ['decision_logs.console=true'], BASE, /does not honour it/],
    [
      'an alias bomb',
      [],
      `x: [&a [1, 2], ${Array.from({ length: 200 }, () => '*a').join(', ')}]\n${BASE}`,
      /can be read/,
    ],
    ['an alias of what it is in', [], `labels: &a {x: *a}\n${BASE}`, /labels.x: refers to what it is in/],
    ['one that is set', ['labels=&a {x: [*a, *a]}'], BASE, /labels.x\[0\]: refers to what it is in/],
    ['more depth than there is stack', [], `x: ${'['.repeat(50_000)}`, /not YAML/],
  ] as [string, string[], string, RegExp][])('%s', (_name, sets, text, says) => {
    expect(faults(sets, text).join('\n')).toMatch(says)
  })
})

describe('bundles of a service', () => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const pem = publicKey.export({ type: 'spki', format: 'pem' })
  const tokenFile = join(folder, 'token')
  writeFileSync(tokenFile, 't')
  const remote = (more: string[] = []) => [
    'services.s.url=https://bundles.example.com/v1/',
    'bundles.mcp={service: s}',
    ...more,
  ]

  test('have OPA’s defaults', () => {
    expect(good(remote()).bundles.mcp).toMatchObject({
      kind: 'service',
      resource: 'bundles/mcp',
      persist: false,
      polling: { minDelay: 60_000, maxDelay: 120_000, longPoll: undefined },
      service: { url: 'https://bundles.example.com/v1', headerTimeout: 10_000, systemCa: true },
    })
  })

  test('must all be signed where there are keys', () => {
    const config = good(remote([`keys.k={algorithm: ES256, scope: x, key: ${JSON.stringify(pem)}}`]))
    expect(config.bundles.mcp?.signing).toMatchObject({ keys: { k: { algorithm: 'ES256', scope: 'x' } } })
  })

  test.each([
    [
      'a service that is not there',
      ['bundles.mcp={service: other}'],
      /bundles\.mcp\.service: is not in services/,
    ],
    [
      'http from elsewhere without signatures',
      ['services.s.url=http://bundles.example.com'],
      /use https, or sign/,
    ],
    [
      'credentials over http',
      ['services.s={url: "http://b.example.com", credentials: {bearer: {token: t}}}'],
      /must be https, or loopback, where credentials/,
    ],
    ['TLS that is not verified', ['services.s.allow_insecure_tls=true'], /allow_insecure_tls: is refused/],
    ['an authority that is not there', ['services.s.tls.ca_cert=/nowhere/ca.pem'], /tls\.ca_cert: ENOENT/],
    [
      'two tokens',
      [`services.s.credentials.bearer={token: a, token_path: ${tokenFile}}`],
      /exactly one of token/,
    ],
    ['credentials that are not honoured', ['services.s.credentials.oauth2={}'], /oauth2: OPA has this key/],
    [
      'keys of AWS that are not in the environment',
      ['services.s.credentials.s3_signing={environment_credentials: {}}'],
      /environment_credentials\.AWS_SECRET_ACCESS_KEY: is not set/,
    ],
    [
      'keys of an instance of which nothing is known',
      ['services.s.credentials.s3_signing={metadata_credentials: {}}'],
      /aws_region: is required[\s\S]*iam_role: is required/,
    ],
    [
      'keys of AWS from nowhere',
      ['services.s.credentials.s3_signing={service: s3}'],
      /environment_credentials: one of .* is required/,
    ],
    [
      'keys of single sign-on',
      ['services.s.credentials.s3_signing={sso_credentials: {}}'],
      /sso_credentials: OPA has this key/,
    ],
    [
      'S3 signed for as a registry',
      ['services.s.credentials.s3_signing={service: ecr, profile_credentials: {aws_region: r}}'],
      /service: must be s3 here/,
    ],
    [
      'a role that nobody may assume',
      ['services.s.credentials.s3_signing={assume_role_credentials: {aws_region: r, iam_role_arn: a}}'],
      /aws_signing: needs exactly one/,
    ],
    ['a registry below a path', ['services.s={url: "https://r.example/v2", type: oci}'], /must have no path/],
    [
      'a bundle of a registry without a tag',
      ['services.s={url: "https://r.example", type: oci}', 'bundles.mcp.resource=r.example/acme/p'],
      /registry\/repository:tag/,
    ],
    [
      'waiting at a registry',
      [
        'services.s={url: "https://r.example", type: oci}',
        'bundles.mcp={service: s, resource: "r.example/p:1", polling: {long_polling_timeout_seconds: 5}}',
      ],
      /long_polling_timeout_seconds: has no meaning/,
    ],
    [
      'status and records to a registry',
      [
        'services.s={url: "https://r.example", type: oci}',
        'bundles.mcp.resource=r.example/p:1',
        'status.service=s',
        'decision_logs.service=s',
      ],
      /status\.service: is an OCI registry[\s\S]*decision_logs\.service: is an OCI registry/,
    ],
    ['a kind of service that is none', ['services.s.type=ftp'], /type: must be one of/],
    ['a manual trigger', ['bundles.mcp.trigger=manual'], /trigger: must be one of periodic/],
    ['one delay alone', ['bundles.mcp.polling={min_delay_seconds: 5}'], /goes with max_delay_seconds/],
    [
      'delays the wrong way round',
      ['bundles.mcp.polling={min_delay_seconds: 5, max_delay_seconds: 4}'],
      /must not be less/,
    ],
    ['a signing block without keys', ['bundles.mcp.signing={keyid: k}'], /there are no keys/],
    [
      'a key of another curve',
      [`keys.k={algorithm: ES384, key: ${JSON.stringify(pem)}}`],
      /not a key on secp384r1/,
    ],
    ['a secret as a key', ['keys.k={algorithm: HS256, key: secret}'], /algorithm: must be one of RS256/],
    [
      'a private key',
      [`keys.k={algorithm: ES256, private_key: x, key: ${JSON.stringify(pem)}}`],
      /has no use here/,
    ],
    [
      'a key id that is not there',
      [`keys.k={algorithm: ES256, key: ${JSON.stringify(pem)}}`, 'bundles.mcp.signing={keyid: z}'],
      /keyid: is not in keys/,
    ],
  ] as [string, string[], RegExp][])('refused: %s', (_name, sets, says) =>
    expect(faults(remote(sets)).join('\n')).toMatch(says),
  )
})

test('a development identity listens to loopback names only', () => {
  const config = good(['plugins.mcp.identity={development: {subject: alice, groups: [eng]}}'])
  expect(config.mcp.identity).toEqual({
    kind: 'development',
    identity: { source: 'configured', subject: 'alice', groups: ['eng'], claims: {} },
  })
  expect(config.mcp.allowedHosts).toEqual(['localhost', '127.0.0.1', '[::1]'])
})

test('a prototype is no map to set into', () => {
  expect(faults(['__proto__.polluted=1'])).toHaveLength(1)
  expect(({} as Record<string, unknown>).polluted).toBeUndefined()
})
