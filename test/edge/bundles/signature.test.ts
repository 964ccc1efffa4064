import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import { unpack } from '../../../src/edge/bundles/archive.ts'
import type { Algorithm, VerifyKey } from '../../../src/edge/bundles/keys.ts'
import { checkSignature, type Signing } from '../../../src/edge/bundles/signature.ts'
import { opaPath } from '../../../tools/opa.ts'
import { allowing, tarball } from '../../support/bundles.ts'
import { buildBundle, noOpa } from '../../support/policy.ts'

const run = promisify(execFile)
const folder = await mkdtemp(join(tmpdir(), 'mcp-signature-'))
afterAll(() => rm(folder, { recursive: true }))

const pair = (algorithm: Algorithm) => {
  const curves: Record<string, string> = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }
  const namedCurve = curves[algorithm]
  return namedCurve
    ? generateKeyPairSync('ec', {
        namedCurve,
        privateKeyEncoding: { type: 'sec1', format: 'pem' },
        publicKeyEncoding: { type: 'spki', format: 'pem' },
      })
    : generateKeyPairSync('rsa', {
        modulusLength: 2048,
        privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
        publicKeyEncoding: { type: 'spki', format: 'pem' },
      })
}
const keys: Partial<Record<Algorithm, { privateKey: string; publicKey: string }>> = {}
const keyOf = (algorithm: Algorithm) => {
  keys[algorithm] ??= pair(algorithm)
  return keys[algorithm]
}
let n = 0
async function privateFile(algorithm: Algorithm): Promise<string> {
  const path = join(folder, `key-${++n}.pem`)
  await writeFile(path, keyOf(algorithm).privateKey)
  return path
}
const verifyKey = (algorithm: Algorithm, scope = ''): VerifyKey => ({
  algorithm,
  pem: keyOf(algorithm).publicKey,
  scope,
})
const signing = (algorithm: Algorithm, more: Partial<Signing> = {}): Signing => ({
  keys: { default: verifyKey(algorithm) },
  keyid: undefined,
  scope: undefined,
  exclude: [],
  ...more,
})

/** What JSON of different writers disagrees on, in one document. */
const NASTY = `{
  "numbers": [1.0, 1e2, -0, 0.1e-7, 123456789012345678901234567890, 1E400],
  "text": "<&> \\u2028 \\u2029 \\u0001 \\b\\f\\n \\ud83d\\ude00 \\u007f é",
  "zwei": {"\u{1F600}": 1, "\\uFFFF": 2, "a": {"10": 1, "9": 2}, "__proto__": {"x": 1}},
  "nothing": null, "yes": true, "no": false, "empty": {}, "list": []
}`

/** Signed by the real \`opa build\`. */
async function signed(
  algorithm: Algorithm,
  files: Record<string, string> = { 'data.json': NASTY },
  args: string[] = [],
) {
  const bundle = await buildBundle(
    { 'mcp/main/main.rego': allowing('signed'), '.manifest': '{"revision": "1"}', ...files },
    ['--signing-key', await privateFile(algorithm), '--signing-alg', algorithm, ...args],
  )
  const bytes = await readFile(bundle.path)
  await bundle.dispose()
  return unpack('mcp', { bytes })
}

describe.skipIf(noOpa)('a bundle that opa signed', async () => {
  const ES = noOpa ? new Map<string, Uint8Array>() : await signed('ES256')
  const check = (files: Map<string, Uint8Array>, how: Signing = signing('ES256')) => {
    try {
      checkSignature('mcp', files, how)
      return 'holds'
    } catch (error) {
      return (error as Error).message
    }
  }
  const changed = (file: string, text: string | Uint8Array | undefined) => {
    const files = new Map(ES)
    if (text === undefined) files.delete(file)
    else files.set(file, typeof text === 'string' ? Buffer.from(text) : text)
    return files
  }

  test.each(['RS256', 'RS512', 'PS256', 'PS384', 'ES256', 'ES384', 'ES512'] as const)(
    '%s holds, and not with another key of the kind',
    async (algorithm) => {
      const files = await signed(algorithm)
      expect(check(files, signing(algorithm))).toBe('holds')
      const { publicKey } = pair(algorithm)
      expect(
        check(files, signing(algorithm, { keys: { default: { algorithm, pem: publicKey, scope: '' } } })),
      ).toMatch(/does not hold with the key default/)
    },
  )

  test('holds in another layout, for documents are signed by what they say', () => {
    expect(check(changed('data.json', NASTY.replaceAll('\n', ' ')))).toBe('holds')
  })

  test.each([
    ['another number of the same value', NASTY.replace('1.0', '1'), /data\.json is not what was signed/],
    ['another value', NASTY.replace('true', 'false'), /data\.json is not what was signed/],
    ['an added key', NASTY.replace('"list"', '"more": 1, "list"'), /data\.json is not what was signed/],
    ['text that is no JSON', 'x', /not JSON/],
  ])('does not hold with %s', (_name, text, says) => {
    expect(check(changed('data.json', text))).toMatch(says)
  })

  test('does not hold with a flipped byte of the policy, a file more, a file less, or another manifest', () => {
    const wasm = Buffer.from(ES.get('policy.wasm') ?? '')
    wasm[100] = (wasm[100] ?? 0) ^ 1
    expect(check(changed('policy.wasm', wasm))).toMatch(/policy\.wasm is not what was signed/)
    expect(check(changed('more/data.json', '{}'))).toMatch(/more\/data\.json is not in its signature/)
    expect(check(changed('data.json', undefined))).toMatch(/data\.json is in its signature and is missing/)
    expect(check(changed('.manifest', '{"revision":"2"}'))).toMatch(/\.manifest is not what was signed/)
  })

  test('is refused without its signature, with two, with none in it, and with a plugin', () => {
    const document = JSON.parse(Buffer.from(ES.get('.signatures.json') ?? '').toString()) as {
      signatures: string[]
    }
    const [token = ''] = document.signatures
    const say = (value: object) => check(changed('.signatures.json', JSON.stringify(value)))
    expect(check(changed('.signatures.json', undefined))).toMatch(/it is not signed/)
    expect(say({ signatures: [token, token] })).toMatch(/exactly one/)
    expect(say({ signatures: [] })).toMatch(/exactly one/)
    expect(say({ signatures: [token], plugin: 'mine' })).toMatch(/plugin/)
  })

  test('the algorithm is the configured key’s, whatever the signature says', () => {
    const document = JSON.parse(Buffer.from(ES.get('.signatures.json') ?? '').toString()) as {
      signatures: string[]
    }
    const [, payload = '', signature = ''] = (document.signatures[0] ?? '').split('.')
    const none = Buffer.from('{"alg":"none","kid":"default"}').toString('base64url')
    for (const token of [`${none}.${payload}.`, `${none}.${payload}.${signature}`]) {
      expect(check(changed('.signatures.json', JSON.stringify({ signatures: [token] })))).not.toBe('holds')
    }
    expect(check(ES, signing('RS256'))).toMatch(/signed with ES256, and the key default is for RS256/)
  })

  test('the key is the configured one, else the one that the signature names', () => {
    const files = ES
    expect(check(files, signing('ES256', { keys: { other: verifyKey('ES256') } }))).toMatch(/not in keys/)
    expect(check(files, signing('ES256', { keys: { other: verifyKey('ES256') }, keyid: 'other' }))).toBe(
      'holds',
    )
  })

  test('a scope must be the configured one', async () => {
    const claims = join(folder, 'claims.json')
    await writeFile(claims, JSON.stringify({ scope: 'production', keyid: 'k' }))
    const files = await signed('ES256', undefined, ['--claims-file', claims])
    const keyed = (scope: string) => signing('ES256', { keys: { k: verifyKey('ES256', scope) } })
    expect(check(files, keyed('production'))).toBe('holds')
    expect(check(files, keyed(''))).toMatch(/another scope/)
    expect(check(files, { ...keyed('production'), scope: 'test' })).toMatch(/another scope than "test"/)
    expect(check(ES, signing('ES256', { scope: 'production' }))).toMatch(/another scope/)
  })

  test('excluded files need no signature; a star does not pass a slash', () => {
    const files = changed('more/data.json', '{}')
    expect(check(files, signing('ES256', { exclude: ['*/data.json'] }))).toBe('holds')
    expect(check(files, signing('ES256', { exclude: ['*.json'] }))).toMatch(/not in its signature/)
    expect(check(files, signing('ES256', { exclude: ['more/[a-d]ata.jso?'] }))).toBe('holds')
    expect(check(changed('data.json', '{}'), signing('ES256', { exclude: ['data.json'] }))).toBe('holds')
  })

  test('`opa sign` over data in YAML holds, and not with other data', async () => {
    const source = join(folder, 'yaml')
    const yaml = 'config:\n  list: [1, 2.5, 1.0, 1e3]\n  text: "a\\u2028b"\n  nested: {b: null, a: true}\n'
    await run('mkdir', ['-p', source])
    await writeFile(join(source, 'data.yaml'), yaml)
    await writeFile(join(source, '.manifest'), '{"roots": ["config"]}')
    const args = [
      'sign',
      '--signing-key',
      await privateFile('ES256'),
      '--signing-alg',
      'ES256',
      '--bundle',
      '.',
    ]
    await run(await opaPath(), args, { cwd: source })
    const files = async (text: string) =>
      unpack('data', {
        bytes: await tarball([
          { name: 'data.yaml', text },
          { name: '.manifest', text: await readFile(join(source, '.manifest')) },
          { name: '.signatures.json', text: await readFile(join(source, '.signatures.json')) },
        ]),
      })
    // `opa sign` names no key.
    const keyed = signing('ES256', { keyid: 'default' })
    expect(check(await files(yaml))).toMatch(/names no key/)
    expect(check(await files(yaml), keyed)).toBe('holds')
    expect(check(await files(yaml.replace('true', 'false')), keyed)).toMatch(
      /data\.yaml is not what was signed/,
    )
  })
})
