// 1.G and what else names a thing so that two readers see two: before a policy that allows all but one.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createIssuer } from '../support/assertions.ts'
import { buildBundle, mainPolicy, noOpa } from '../support/policy.ts'
import { postBytes, sendRaw } from '../support/raw.ts'
import { type Recorder, startRecorder } from '../support/recorder.ts'
import { type Sidecar, startSidecar } from '../support/sidecar.ts'

/** The mistake that people make: a list of what is banned. */
const BANS = `answer := {"allow": true} if not banned
banned if input.tool.name == "evil"
banned if input.resource.uri == "file:///etc/secret"
banned if input.prompt.name == "evil"`

const issuer = createIssuer()
let upstream: Recorder
let sidecar: Sidecar
let dispose: () => Promise<void>

describe.skipIf(noOpa)('before a policy that only bans', () => {
  beforeAll(async () => {
    const built = await buildBundle({ 'main.rego': mainPolicy(BANS) })
    dispose = built.dispose
    upstream = await startRecorder()
    sidecar = await startSidecar({
      upstream: upstream.url,
      jwks: issuer.jwks,
      config: { bundles: { mcp: { resource: built.path } } },
    })
  })
  afterAll(async () => {
    expect(await sidecar.stop()).toBe(0)
    await upstream.close()
    await dispose()
  })
  beforeEach(() => upstream.reset())
  const ask = async (method: string, params: object, headers: Record<string, string> = {}) => {
    const bytes = postBytes(issuer.mint(), { jsonrpc: '2.0', id: 1, method, params }, headers)
    return (await sendRaw(sidecar.port, bytes)).answers[0]
  }

  test('the ban holds for what it names, and the rest passes', async () => {
    await ask('tools/call', { name: 'evil', arguments: {} })
    await ask('resources/read', { uri: 'file:///etc/secret' })
    await ask('prompts/get', { name: 'evil' })
    expect(upstream.bytes()).toBe(0)
    await ask('resources/read', { uri: 'file:///etc/other' })
    expect(upstream.requests()).toHaveLength(1)
  })

  test.each([
    ['a scheme in capitals', 'FILE:///etc/secret'],
    ['a scheme in mixed case', 'File:///etc/secret'],
    ['a host', 'file://localhost/etc/secret'],
    ['dots', 'file:///etc/../etc/secret'],
    ['a single dot', 'file:///etc/./secret'],
    ['encoded dots', 'file:///etc/%2e%2e/etc/secret'],
    ['encoded dots in capitals', 'file:///etc/%2E/secret'],
    ['an encoded letter', 'file:///etc/s%65cret'],
    ['an encoded slash', 'file:///etc%2fsecret'],
    ['an encoded backslash', 'file:///etc%5csecret'],
    ['a backslash', 'file:///etc\\\\secret'],
    ['two slashes', 'file:///etc//secret'],
    ['one slash after the scheme', 'file:/etc/secret'],
    ['no slash', 'file:etc/secret'],
    ['four slashes', 'file:////etc/secret'],
    ['a blank in front', ' file:///etc/secret'],
    ['a blank behind', 'file:///etc/secret '],
    ['a line end', 'file:///etc/secret\\n'],
    ['a tab within', 'file:///etc/sec\\tret'],
    ['NUL', 'file:///etc/secret\\u0000'],
    ['encoded NUL', 'file:///etc/secret%00'],
    ['userinfo', 'https://good@evil.example/'],
    ['a host in capitals', 'https://EVIL.example/'],
    ['a port that is the default', 'https://evil.example:443/'],
    ['no path', 'https://evil.example'],
    ['an international host', 'https://еvil.example/'],
    ['a full stop of another script', 'https://evil。example/'],
    ['a number for a host', 'https://2130706433/'],
    ['an octal host', 'https://0177.0.0.1/'],
    ['no scheme', '/etc/secret'],
    ['a relative path', '../etc/secret'],
  ])('G4 %s is another spelling, and refused', async (_row, spelling) => {
    const uri = JSON.parse(`"${spelling}"`) as string
    const answer = await ask('resources/read', { uri })
    expect(answer?.status, answer?.body).toBe(400)
    expect(answer?.json().error.data.reason).toBe('bad_uri')
    expect(upstream.bytes()).toBe(0)
  })

  test('G5 a URI that is made to take long is refused as quickly as any', async () => {
    const began = performance.now()
    const answer = await ask('resources/read', { uri: `file:///${'{+a}%2e/'.repeat(50_000)}` })
    expect(answer?.status).toBe(400)
    expect(performance.now() - began).toBeLessThan(1000)
    expect(upstream.bytes()).toBe(0)
  })

  test.each([
    '{"name":["evil"]}',
    '{"name":{"toString":"evil"}}',
    '{"name":7}',
    '{"name":null}',
    '{"name":true}',
  ])('G1 a name that is no text: %s', async (params) => {
    const body = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":${params}}`
    const answer = (await sendRaw(sidecar.port, postBytes(issuer.mint(), body))).answers[0]
    expect(answer?.status).toBe(400)
    expect(upstream.bytes()).toBe(0)
  })

  test('G1 what passes is what was judged, to the byte', async () => {
    const twins = [
      'Evil',
      'еvil',
      'ｅvil',
      'evil\u200b',
      'evil\u00ad',
      'e\u0301vil',
      'EVIL',
      'evil.',
      'evil/',
    ]
    for (const name of twins) {
      upstream.reset()
      await ask('tools/call', { name, arguments: {} })
      for (const { json } of upstream.requests()) expect(json.params.name).toBe(name)
    }
  })

  test.each([
    'X-Forwarded-Uri',
    'X-Original-URL',
    'X-Rewrite-URL',
    'X-HTTP-Method-Override',
    'X-Forwarded-Method',
    'X-Forwarded-Host',
    'Forwarded',
    'X-Original-Method',
    'X-MCP-Toolsets',
    'X-MCP-Readonly',
    'X-MCP-Tools',
    'X-MCP-Lockdown',
    'X-Envoy-Original-Path',
    'X-Pomerium-Jwt-Assertion-For',
    'X-Pomerium-Claim-Email',
    'Cookie',
    'Mcp-Param-owner',
    'Baggage',
  ])('B10, B15, B18 %s has no say, and stays here', async (name) => {
    expect((await ask('tools/call', { name: 'evil', arguments: {} }, { [name]: 'tools/list' }))?.status).toBe(
      200,
    )
    expect(upstream.bytes()).toBe(0)
    await ask('tools/call', { name: 'good', arguments: {} }, { [name]: 'canary-header' })
    expect(upstream.requests()).toHaveLength(1)
    expect(upstream.raw()).not.toContain('canary-header')
  })

  test('E5 headers of the newer revision are no input in the older one, and are made anew', async () => {
    const lies = { 'mcp-method': 'tools/list', 'mcp-name': 'good' }
    await ask('tools/call', { name: 'evil', arguments: {} }, lies)
    expect(upstream.bytes()).toBe(0)
    await ask(
      'tools/call',
      { name: 'good', arguments: {} },
      { 'mcp-method': 'tools/list', 'mcp-name': 'evil' },
    )
    expect(upstream.requests()[0]?.header('mcp-method')).toBe(undefined)
    expect(upstream.raw()).not.toContain('evil')
  })
})
