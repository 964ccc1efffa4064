import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { readOutputs } from '../../../../src/edge/audit/sinks/settings.ts'
import { readServices } from '../../../../src/edge/services/settings.ts'
import { readSection } from '../../../../src/edge/settings.ts'

const folder = mkdtempSync(join(tmpdir(), 'mcp-outputs-'))
const token = join(folder, 'token')
writeFileSync(token, 'secret')
afterAll(() => rmSync(folder, { recursive: true }))

const read = (...output: object[]) => {
  const faults: string[] = []
  const outputs = readOutputs(readSection({ output }, '', faults), readSection({}, '', faults), services)
  return { outputs, faults }
}
const services = readServices(
  readSection(
    { services: { dl: { url: 'https://logs.example.com' }, plain: { url: 'http://logs.example.com' } } },
    '',
    [],
  ),
)

test('a service of OPA’s file, as an output and as OPA itself has it', () => {
  expect(read({ type: 'service', service: 'dl' })).toMatchObject({
    faults: [],
    outputs: [
      { name: 'service', resource: 'logs', limit: 32_768, service: { url: 'https://logs.example.com' } },
    ],
  })
  expect(read({ type: 'service', service: 'other' }).faults.join()).toContain('other is not one of services')
  expect(read({ type: 'service', service: 'plain' }).faults.join()).toContain('must be https, or loopback')
  const plain = (logs: object) => {
    const faults: string[] = []
    return {
      outputs: readOutputs(readSection({}, '', faults), readSection(logs, '', faults), services),
      faults,
    }
  }
  expect(
    plain({ service: 'dl', resource: '/v1/logs', reporting: { upload_size_limit_bytes: 1000 } }),
  ).toMatchObject({
    faults: [],
    outputs: [{ name: 'decision_logs', type: 'service', resource: 'v1/logs', limit: 1000 }],
  })
  expect(plain({ resource: 'x' }).faults.join()).toContain('goes with service')
  expect(plain({ service: 'dl', reporting: { max_decisions_per_second: 1 } }).faults.join()).toContain(
    'none is dropped',
  )
})

test('the forms that an operator of Enterprise OPA knows are read', () => {
  const { outputs, faults } = read(
    { type: 'console' },
    {
      type: 'splunk',
      url: 'https://splunk.example.com:8088/services/collector/event',
      token: 't',
      batching: { at_period: '10s', at_count: 10, at_bytes: 10_240, compress: true },
    },
    {
      type: 'http',
      url: 'https://logs.example.com/logs',
      retry: { period: '1s', max_backoff: '10s' },
      token_path: token,
    },
    { type: 'elasticsearch', url: 'https://es.example.com:9200', api_key: 'k' },
    { type: 'opensearch', url: 'http://127.0.0.1:9200', username: 'u', password: 'p' },
    { type: 'otlp', url: 'http://collector:4318/v1/logs', allow_plaintext: true },
    { type: 'file', path: '/var/log/mcp.jsonl', schema: 'ocsf' },
  )
  expect(faults).toEqual([])
  expect(outputs.map(({ name, schema }) => `${name} ${schema}`)).toEqual([
    'stdout native',
    'splunk native',
    'http native',
    'elasticsearch ecs',
    'opensearch ecs',
    'otlp otel',
    'file ocsf',
  ])
  expect(outputs[1]?.runner.batching).toEqual({ count: 10, bytes: 10_240, period: 10_000 })
  expect(outputs[2]?.runner.backoff).toEqual({ least: 1_000, most: 10_000, slow: 10_000 })
})

test.each<[string, object[], RegExp]>([
  [
    'plain http to another machine',
    [{ type: 'http', url: 'http://logs.example.com/' }],
    /output\[0\]\.url: must be https, or loopback/,
  ],
  ['a password in a URL', [{ type: 'http', url: 'https://u:p@logs.example.com/' }], /without user, password/],
  ['no URL', [{ type: 'otlp' }], /output\[0\]\.url: is required/],
  ['no token for Splunk', [{ type: 'splunk', url: 'https://s/' }], /token or token_path is required/],
  [
    'a token file that is not there',
    [{ type: 'http', url: 'https://s/', token_path: '/nowhere' }],
    /token_path: ENOENT/,
  ],
  [
    'two outputs of one name',
    [{ type: 'stdout' }, { type: 'stdout' }],
    /stdout is there already: give each a name/,
  ],
  ['a name that is no file name', [{ type: 'stdout', name: '../x' }], /must be 1 to 64 of/],
  [
    'certificates unchecked',
    [{ type: 'http', url: 'https://s/', tls: { skip_cert_verify: true } }],
    /is not offered: name the authority/,
  ],
  [
    'records given up',
    [{ type: 'http', url: 'https://s/', retry: { max_attempts: 3 } }],
    /no record is given up/,
  ],
  [
    'OTLP in another schema',
    [{ type: 'otlp', url: 'https://s/', schema: 'ecs' }],
    /of an otlp output is otel/,
  ],
  ['an event that there is not', [{ type: 'stdout', events: ['decisions'] }], /decisions is not one of/],
  [
    'a header that is ours',
    [{ type: 'http', url: 'https://s/', headers: { Host: 'x' } }],
    /is set by the output itself/,
  ],
  [
    'a header that splits',
    [{ type: 'http', url: 'https://s/', headers: { 'x-a': 'b\r\nx-c: d' } }],
    /is no header/,
  ],
  ['a key that does nothing', [{ type: 'stdout', url: 'https://s/' }], /output\[0\]\.url: is not a setting/],
  [
    'both forms of a token',
    [{ type: 'http', url: 'https://s/', token: 't', token_path: token }],
    /goes without token/,
  ],
])('%s is a fault', (_name, output, says) => {
  expect(read(...output).faults.join('\n')).toMatch(says)
})

test('no fault repeats a credential', () => {
  const { faults } = read({
    type: 'splunk',
    url: 'nonsense',
    token: 'TOPSECRET',
    headers: { authorization: 'TOPSECRET\n' },
  })
  expect(faults.length).toBeGreaterThan(0)
  expect(faults.join()).not.toContain('TOPSECRET')
})
