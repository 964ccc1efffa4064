import { describe, expect, test } from 'vitest'
import { decisionEvent, finishLine, type OpenLine, rejectEvent } from '../../src/log/event.ts'
import { scrub } from '../../src/log/mask.ts'
import { policyError } from '../../src/pdp/decision.ts'

const digest = () => 'hmac:x'
const clean = (value: object) => {
  const masked = scrub(value as never, '/input', digest)
  if (!masked) throw new Error('too much for a copy')
  return masked
}

describe('a record never holds', () => {
  test.each([
    'password',
    'apiKey',
    'api_key',
    'API-KEY',
    'userPassword',
    'access_token',
    'authorization',
    'clientSecret',
    'private_key',
    'cookie',
    'sessionId',
  ])('the value of %s', (key) => {
    const { value, masked } = clean({ arguments: { [key]: 'CANARY', list: [{ [key]: 7 }] } })
    expect(JSON.stringify(value)).not.toMatch(/CANARY|7/)
    expect(masked).toHaveLength(2)
  })

  test.each([
    `ghp_${'a'.repeat(36)}`,
    `github_pat_${'a'.repeat(30)}`,
    'AKIAABCDEFGHIJKLMNOP',
    `xoxb-${'1'.repeat(12)}`,
    `eyJhbGciOiJFUzI1NiJ9.${'a'.repeat(20)}.sig`,
    '-----BEGIN RSA PRIVATE KEY-----',
    'Authorization: Bearer abcdefgh12345678',
    'https://user:hunter2@example.com/',
  ])('a value like %s, wherever it stands', (secret) => {
    const { value } = clean({ arguments: { body: `see ${secret} there` }, params: { x: [secret] } })
    expect(JSON.stringify(value)).not.toContain(secret)
  })
})

test.each(['max_tokens', 'author', 'tokenize', 'secretary', 'owner', 'passage'])('%s is no secret', (key) => {
  expect(clean({ [key]: 'v' })).toEqual({ value: { [key]: 'v' }, masked: [], truncated: [] })
})

test('pointers are of the event, with their escapes', () => {
  expect(clean({ 'a/b': { 'x~y': { token: 't' } } }).masked).toEqual(['/input/a~1b/x~0y/token'])
})

test('long strings, deep and wide values are cut, compared by a digest, and said', () => {
  const deep = Array.from({ length: 40 }).reduce<object>((inner) => ({ a: inner }), {})
  const { value, truncated } = clean({
    long: 'x'.repeat(10_000),
    wide: Array.from({ length: 1100 }, () => 1),
    deep,
  })
  expect(truncated).toHaveLength(3)
  expect(value.long).toMatchObject({ _truncated: true, bytes: 10_000, hmac: 'hmac:x' })
  expect(JSON.stringify(value).length).toBeLessThan(3000)
})

test('many middling strings together stay within the bound of one record', () => {
  const { value } = clean(
    Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`k${i}`, 'y'.repeat(4000)])),
  )
  expect(JSON.stringify(value).length).toBeLessThan(120_000)
})

test('a cut value whose head is a secret shows none of it', () => {
  const { value } = clean({ body: `${`ghp_${'a'.repeat(36)}`}${'x'.repeat(10_000)}` })
  expect(JSON.stringify(value)).not.toContain('ghp_')
})

test('a record is one line, whatever is in it, and ends with its sequence number', () => {
  const facts = { decision_id: 'd', event_id: 'e', time_ms: 0, rpc_id: 'a\n\u2028\u2029\u001b[31m' }
  const line = finishLine(
    rejectEvent({ labels: {}, bundles: {} }, facts, { code: 'x', status: 400 }, {}) as OpenLine,
    7,
  )
  expect(line.match(/[\n\u2028\u2029\u001b]/g)).toEqual(['\n'])
  expect(JSON.parse(line)).toMatchObject({ custom: { seq: 7, rpc_id: facts.rpc_id } })
})

test('what would grow many times over is not copied: long keys around many secrets, and very many values', () => {
  const secrets = Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`a${i}_token`, 'x']))
  expect(scrub({ ['k'.repeat(250_000)]: secrets }, '/input', digest)).toBeUndefined()
  expect(scrub({ ['k'.repeat(300)]: secrets }, '/input', digest)).toBeUndefined()
  const many = Object.fromEntries(
    Array.from({ length: 100 }, (_, i) => [`k${i}`, Array.from({ length: 100 }, () => 1)]),
  )
  expect(scrub(many, '/input', digest)).toBeUndefined()
})

describe('the record of a call that is too much to copy', () => {
  const identity = { source: 'pomerium', subject: 'alice', groups: ['eng'], claims: { long: ['x'] } } as const
  const secrets = Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`a${i}_token`, 'CANARY']))
  const input = {
    decision_id: 'd',
    method: 'tools/call',
    tool: { name: `ghp_${'a'.repeat(36)}`, declared: 'unknown' },
    arguments: { ['k'.repeat(40_000)]: secrets },
    params: {},
    http: { source_ip: '10.0.0.1' },
    identity,
  }
  const facts = { decision_id: 'd', event_id: 'e', time_ms: 0, rpc_id: `ghp_${'a'.repeat(36)}` }
  const write = (brief: boolean) =>
    finishLine(
      decisionEvent({ labels: {}, bundles: {} }, facts, 'p', input as never, policyError(), {
        eval_ns: 1,
        digest,
        digests: {},
        brief,
      }),
      1,
    )

  test.each([false, true])('is short, says who asked for what, and what is left out (brief %s)', (brief) => {
    const line = write(brief)
    expect(line.length).toBeLessThan(3000)
    expect(line).not.toMatch(/CANARY|ghp_/)
    expect(JSON.parse(line)).toMatchObject({
      input: {
        method: 'tools/call',
        identity: { subject: 'alice', groups: ['eng'] },
        http: { source_ip: '10.0.0.1' },
      },
      custom: { truncated: ['/input/arguments', '/input/params'] },
    })
  })
})

test('a secret that is a key, or an id, is none in the record', () => {
  const secret = `ghp_${'a'.repeat(36)}`
  expect(JSON.stringify(clean({ arguments: { [secret]: { [`x ${secret}`]: 1 } } }))).not.toContain('ghp_')
})
