// The readers that run in this process: JSON, JSON-RPC, SSE, the assertion, configuration, bundles.
import { verify } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { gunzipSync, gzipSync } from 'node:zlib'
import { readConfig } from '../../src/config.ts'
import { readJwks, verifyAssertion } from '../../src/edge/judge/assertion.ts'
import { BundleError, loadPolicyFiles } from '../../src/edge/judge/bundle.ts'
import { readMessage, writeMessage } from '../../src/mcp/message.ts'
import { createFrameReader } from '../../src/mcp/sse.ts'
import { foldKey, type Json, parseStrict, parseStrictBytes } from '../../src/mcp/strict-json.ts'
import { AUDIENCE, createIssuer, encode, ISSUER } from '../../test/support/assertions.ts'
import { DEFAULT_BUNDLE, sidecarConfig } from '../../test/support/sidecar.ts'
import { hold, type Target } from './target.ts'

const buffers = (...texts: string[]) => texts.map((text) => Buffer.from(text))

export const MESSAGES = buffers(
  '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_me","arguments":{"owner":"acme","n":[1,2.5,-0,1e3]}}}',
  '{"jsonrpc":"2.0","id":"a\\u0062","method":"resources/read","params":{"uri":"file:///a"}}',
  '{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}',
  '{"jsonrpc":"2.0","method":"notifications/initialized"}',
  '{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"\\ud83d\\ude00"}]}}',
  '{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"m"}}',
  '[{"jsonrpc":"2.0","id":1,"method":"ping"}]',
  ' { "a" : [ { } , [ ] , null , true , false , "" , 9007199254740991 ] } ',
)
export const WORDS = [
  '"',
  '\\',
  '\\"',
  '{',
  '}',
  '[',
  ']',
  ':',
  ',',
  'null',
  'true',
  '1e400',
  '-',
  '.',
  '9007199254740993',
  '0',
  '"method":',
  '"Method":',
  '"params":{',
  '"name":"',
  '"Name":"',
  '"id":null',
  '"jsonrpc":"2.0"',
  '"arguments":{',
  '\\u017f',
  '\\u212a',
  '\\u0000',
  '\\ud800',
  '\\udc00',
  '\\u006d',
  '__proto__',
  '"constructor":',
  '\xef\xbb\xbf',
  '\xc0\xaf',
  '\xed\xa0\x80',
  '\xff',
  '//',
  '/*',
  '\x00',
  '\x0b',
  '"get_me"',
  '"delete_repository"',
  '"uri":"file:///',
  'K',
  '\xc5\xbf',
]

/** Whether two keys of one object anywhere are equal under folding. */
function folds(value: Json): boolean {
  if (Array.isArray(value)) return value.some(folds)
  if (typeof value !== 'object' || value === null) return false
  const keys = Object.keys(value)
  if (new Set(keys.map((key) => key.toLowerCase())).size !== keys.length) return true
  if (new Set(keys.map((key) => key.toUpperCase())).size !== keys.length) return true
  if (new Set(keys.map(foldKey)).size !== keys.length) return true
  return Object.values(value).some(folds)
}

export const json: Target = {
  name: 'json',
  seeds: MESSAGES,
  words: WORDS,
  check(input) {
    const read = parseStrictBytes(input)
    if (!read.ok) return
    const text = input.toString('utf8')
    hold(Buffer.from(text).equals(input), 'accepted what is not UTF-8')
    hold(isDeepStrictEqual(JSON.parse(text), read.value), 'reads otherwise than JSON.parse')
    hold(!folds(read.value), 'accepted keys that fold to one another')
    const again = parseStrict(JSON.stringify(read.value))
    hold(
      again.ok && JSON.stringify(again.value) === JSON.stringify(read.value),
      'does not survive being written',
    )
  },
}

export const message: Target = {
  name: 'message',
  seeds: MESSAGES,
  words: WORDS,
  check(input) {
    const read = parseStrictBytes(input)
    if (!read.ok) return
    const found = readMessage(read.value)
    if (!found.ok) return
    const text = writeMessage(found.message)
    hold(!text.includes('\n'), 'wrote a line break')
    const again = readMessage(JSON.parse(text))
    hold(
      again.ok && JSON.stringify(again.message) === JSON.stringify(found.message),
      'written, it is another message',
    )
    if (found.message.kind === 'response') return
    const plain = JSON.parse(input.toString('utf8'))
    hold(plain.method === found.message.method, 'another method than JSON.parse sees')
  },
}

export const sse: Target = {
  name: 'sse',
  seeds: buffers(
    'event: message\ndata: {"a":1}\n\n',
    'data: a\r\ndata: b\r\r: comment\nid: 1\nretry: 5\n\n',
    '\ufeffdata:x\n\ndata\n\nevent: other\ndata: y\n\n',
  ),
  words: [
    '\n',
    '\r',
    '\r\n',
    '\n\n',
    'data',
    'data:',
    'data: ',
    'event:',
    ':',
    '\xef\xbb\xbf',
    ' ',
    'id: 3\n',
    'x'.repeat(200),
  ],
  check(input, random) {
    const text = new TextDecoder().decode(input)
    const read = (pieces: string[]) => {
      const reader = createFrameReader(4096)
      const frames: object[] = []
      for (const piece of pieces) {
        const pushed = reader.push(piece)
        if (!pushed.ok) return { frames, fault: pushed.fault }
        frames.push(...pushed.frames)
      }
      return { frames, fault: undefined }
    }
    const pieces: string[] = []
    for (let at = 0; at < text.length; ) {
      const size = 1 + random.int(5)
      pieces.push(text.slice(at, at + size))
      at += size
    }
    const whole = read([text])
    const cut = read(pieces)
    hold(whole.fault === cut.fault, 'a fault in one chunking only')
    if (whole.fault === undefined)
      hold(isDeepStrictEqual(whole.frames, cut.frames), 'other frames in another chunking')
  },
}

const issuer = createIssuer()
const keys = readJwks(issuer.jwks) ?? new Map()
const [HEADER = '', PAYLOAD = ''] = issuer
  .mint()
  .split('.')
  .map((part) => Buffer.from(part, 'base64url').toString())

export const jwt: Target = {
  name: 'jwt',
  seeds: [
    Buffer.from(issuer.mint()),
    Buffer.from(`${HEADER}.${PAYLOAD}`),
    Buffer.from(`${HEADER}.${PAYLOAD}`),
  ],
  words: [
    '.',
    '=',
    '-',
    '_',
    '"alg":"none"',
    '"alg":"HS256"',
    '"kid":',
    '"jku":"http://x"',
    '"crit":[]',
    '"sub":""',
    '"sub":"admin"',
    '"aud":["',
    '"exp":9999999999',
    '"exp":"1"',
    '"iat":0',
    '"groups":[1]',
    'null',
    '{',
    '}',
    ',',
    '\n',
    ' ',
    '\\u0000',
  ],
  check(input) {
    const text = input.toString('latin1')
    // Signed rightly, in half of the cases: then it is the claims that are looked at.
    const cut = text.indexOf('}.')
    const signed = cut >= 0 && text.startsWith('{')
    const token = signed
      ? issuer.sign(text.slice(0, cut + 1), Buffer.from(text.slice(cut + 2), 'latin1'))
      : text
    const now = Math.floor(Date.now() / 1000)
    const read = verifyAssertion(token, keys, { issuer: ISSUER, audience: AUDIENCE, tolerance: 30 }, now)
    if (!read.ok) return
    const [header = '', payload = '', signature = ''] = token.split('.')
    const key = { key: issuer.publicKey, dsaEncoding: 'ieee-p1363' as const }
    hold(
      verify('sha256', Buffer.from(`${header}.${payload}`), key, Buffer.from(signature, 'base64url')),
      'the signature does not hold',
    )
    hold(encode(Buffer.from(signature, 'base64url')) === signature, 'another spelling of the signature')
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'))
    hold(claims.sub === read.identity.subject && read.identity.subject !== '', 'another subject')
    hold(claims.aud === AUDIENCE && claims.iss.includes(ISSUER), 'another audience or issuer')
    hold(claims.exp + 30 > now && claims.iat - 30 <= now, 'another time')
  },
}

const config = JSON.stringify(
  sidecarConfig({ upstream: 'http://127.0.0.1:1/mcp', jwks: issuer.jwks }, '/tmp/none'),
  null,
  1,
)
export const configuration: Target = {
  name: 'configuration',
  seeds: [
    Buffer.from(config),
    Buffer.from('plugins:\n  mcp: {addr: "127.0.0.1:1", server: a}\nlabels: {a: b}\n'),
  ],
  words: [
    '&a',
    '*a',
    '<<: *a',
    '!!js/function',
    '!!binary',
    '? ',
    '- ',
    ': ',
    '\n',
    '${X}',
    '${HOME',
    '__proto__',
    'constructor',
    'null',
    '~',
    '1e999',
    '0x10',
    '|',
    '>',
    '{',
    '}',
    '[',
    ']',
    '"',
    "'",
    '# ',
    '%YAML 9',
    '---\n',
    '...\n',
    '\t',
    'true',
  ],
  check(input) {
    const text = input.toString('utf8')
    const read = readConfig(text, [], {})
    if (!read.ok) hold(read.faults.length > 0, 'refused without a fault')
    hold(({} as Record<string, unknown>).polluted === undefined, 'a prototype was changed')
    if (!read.ok) return
    hold(
      read.config.mcp.server !== '' && Object.keys(read.config.bundles).length > 0,
      'accepted what is not whole',
    )
    hold(read.config.mcp.identity.kind !== 'development', 'came to believe everybody')
  },
}

const folder = mkdtempSync(join(tmpdir(), 'mcp-fuzz-'))
const tar = gunzipSync(readFileSync(DEFAULT_BUNDLE))
const TAR_WORDS = [
  '../',
  '/etc/passwd',
  './policy.wasm',
  'data.json',
  '.manifest',
  '\x00',
  '1',
  '2',
  '5',
  'x',
  'g',
  '00000000000\x00',
  '77777777777\x00',
  'ustar',
  '"roots":[]',
  '"wasm":[',
  '{',
  '}',
  '"contract":2',
]
export const bundle: Target = {
  name: 'bundle',
  // Its first part holds the manifest and data, where changes matter most, and it is quick to read.
  seeds: [tar.subarray(0, 8192), tar.subarray(0, 2048), gzipSync(tar.subarray(0, 4096))],
  words: TAR_WORDS,
  async check(input, random) {
    // The rest of the archive follows now and then: then everything is compiled.
    const bytes =
      input[0] === 0x1f
        ? input
        : gzipSync(random.chance(0.02) ? Buffer.concat([input, tar.subarray(8192)]) : input, { level: 1 })
    const path = join(folder, 'bundle.tar.gz')
    writeFileSync(path, bytes)
    try {
      const policy = await loadPolicyFiles({ fuzz: path }, 'mcp/main/decision')
      hold(policy.digests.policy.startsWith('sha256:'), 'a policy without a digest')
    } catch (error) {
      hold(error instanceof BundleError, `not a BundleError: ${String(error)}`)
    }
    hold(readdirSync(folder).length === 1, 'a file was written')
  },
  close: async () => rmSync(folder, { recursive: true, force: true }),
}
