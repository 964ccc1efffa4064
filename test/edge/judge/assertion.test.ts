import {
  createHmac,
  constants as crypto,
  generateKeyPairSync,
  type KeyObject,
  randomUUID,
  sign,
} from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { readJwks, verifyAssertion } from '../../../src/edge/judge/assertion.ts'
import type { Expected } from '../../../src/pdp/identity.ts'
import { AUDIENCE, createIssuer, encode, ISSUER, jwksOf, people } from '../../support/assertions.ts'
import type { Parsed } from '../../support/raw.ts'

const EXPECTED: Expected = { issuer: ISSUER, audience: AUDIENCE, tolerance: 30 }
const NOW = 1_795_380_000
const issuer = createIssuer()
const keys = readJwks(issuer.jwks)!

const say = (assertion: string, { expected = EXPECTED, now = NOW, set = keys } = {}): string => {
  const result = verifyAssertion(assertion, set, expected, now)
  return result.ok ? `ok ${result.identity.subject}` : result.fault
}
const mint = (claims: Record<string, unknown> = {}, header: Record<string, unknown> = {}, by = issuer) =>
  by.mint({ iat: NOW, ...claims }, header)
const OK = `ok ${people.alice.sub}`

type Fixture = {
  jwks: object
  tokens: {
    name: string
    host: string
    iss: string
    identity: boolean
    assertion: string
    claims: Record<string, Parsed>
  }[]
}
const pomerium = JSON.parse(
  readFileSync(new URL('../../fixtures/pomerium/assertions.json', import.meta.url), 'utf8'),
) as Fixture

describe('assertions that a real Pomerium minted', () => {
  const theirs = readJwks(JSON.stringify(pomerium.jwks))!
  const at = ({ claims }: Fixture['tokens'][number]) => claims.iat + 60

  test('there are four of somebody and one of nobody', () =>
    expect(pomerium.tokens.map((token) => token.identity).sort()).toEqual([false, true, true, true, true]))

  test.each(pomerium.tokens.filter((token) => token.identity).map((token) => [token.name, token] as const))(
    '%s is believed',
    (_name, token) => {
      const expected = { issuer: token.iss, audience: token.host, tolerance: 0 }
      const result = verifyAssertion(token.assertion, theirs, expected, at(token))
      expect(result).toMatchObject({
        ok: true,
        jti: token.claims.jti,
        expires: token.claims.exp,
        identity: {
          source: 'pomerium',
          subject: token.claims.sub,
          email: token.claims.email,
          name: token.claims.name,
          groups: token.claims.groups,
          sid: token.claims.sid,
          issuer: token.iss,
          audience: token.host,
        },
      })
      if (!result.ok) return
      const { department } = token.claims
      expect(result.identity.claims).toEqual({ jti: token.claims.jti, ...(department && { department }) })
    },
  )

  test('the one of a public route names nobody', () => {
    const token = pomerium.tokens.find((candidate) => !candidate.identity)!
    const expected = { issuer: token.iss, audience: token.host, tolerance: 0 }
    expect(verifyAssertion(token.assertion, theirs, expected, at(token))).toEqual({
      ok: false,
      fault: 'assertion_subject_empty',
    })
  })

  test('for another route, at another time, by another key: none', () => {
    for (const token of pomerium.tokens.filter((candidate) => candidate.identity)) {
      const expected = { issuer: token.iss, audience: token.host, tolerance: 0 }
      expect(
        say(token.assertion, {
          set: theirs,
          expected: { ...expected, audience: `x.${token.host}` },
          now: at(token),
        }),
      ).toBe('assertion_audience')
      expect(
        say(token.assertion, {
          set: theirs,
          expected: { ...expected, issuer: `x.${token.host}` },
          now: at(token),
        }),
      ).toBe('assertion_issuer')
      expect(say(token.assertion, { set: theirs, expected, now: token.claims.exp })).toBe('assertion_expired')
      expect(say(token.assertion, { set: theirs, expected, now: token.claims.iat - 1 })).toBe(
        'assertion_not_yet_valid',
      )
      expect(say(token.assertion, { expected, now: at(token) })).toBe('assertion_unknown_key')
    }
  })
})

describe('the algorithms that Pomerium has, and no other', () => {
  test('ES256 and RS256', () => {
    expect(say(mint())).toBe(OK)
    const rsa = createIssuer({ algorithm: 'RS256' })
    expect(say(mint({}, {}, rsa), { set: readJwks(rsa.jwks)! })).toBe(OK)
    const both = readJwks(jwksOf(issuer.jwk, rsa.jwk))!
    expect(say(mint(), { set: both })).toBe(OK)
    expect(say(mint({}, {}, rsa), { set: both })).toBe(OK)
  })

  const payload = JSON.stringify({
    iss: ISSUER,
    aud: AUDIENCE,
    jti: randomUUID(),
    iat: NOW,
    exp: NOW + 300,
    ...people.mona,
  })
  const compact = (header: object, signature: (signed: Buffer) => Buffer) => {
    const signed = `${encode(JSON.stringify({ kid: issuer.kid, typ: 'JWT', ...header }))}.${encode(payload)}`
    return `${signed}.${signature(Buffer.from(signed)).toString('base64url')}`
  }
  const rsa = createIssuer({ algorithm: 'RS256', kid: issuer.kid })
  const rsaKeys = readJwks(rsa.jwks)!

  test.each(['none', 'None', 'NONE', 'nOnE', ''])('C1 alg %j', (alg) => {
    expect(say(compact({ alg }, () => Buffer.from('x')))).toBe('assertion_algorithm')
    expect(say(compact({ alg }, () => Buffer.alloc(0)))).toBe('assertion_malformed')
  })
  test('C1 HS256 with the public key, in each of its forms, as the secret', () => {
    const forms = [
      issuer.publicKey.export({ type: 'spki', format: 'pem' }),
      issuer.publicKey.export({ type: 'spki', format: 'der' }),
      JSON.stringify(issuer.jwk),
      issuer.jwks,
    ]
    for (const secret of forms) {
      for (const alg of ['HS256', 'ES256']) {
        const forged = compact({ alg }, (signed) => createHmac('sha256', secret).update(signed).digest())
        expect(say(forged)).toBe(alg === 'HS256' ? 'assertion_algorithm' : 'assertion_signature')
      }
    }
  })
  test('C1 PS256 with a key that is trusted for RS256', () => {
    const pss = compact({ alg: 'PS256' }, (signed) =>
      sign('sha256', signed, { key: rsa.privateKey, padding: crypto.RSA_PKCS1_PSS_PADDING, saltLength: 32 }),
    )
    expect(say(pss, { set: rsaKeys })).toBe('assertion_algorithm')
    const dressed = compact({ alg: 'RS256' }, (signed) =>
      sign('sha256', signed, { key: rsa.privateKey, padding: crypto.RSA_PKCS1_PSS_PADDING, saltLength: 32 }),
    )
    expect(say(dressed, { set: rsaKeys })).toBe('assertion_signature')
  })
  test('C1 EdDSA, ES384, ES512, RS384, RS512 and ES256K', () => {
    const of = (key: KeyObject, hash: string | null) => (signed: Buffer) => sign(hash, signed, key)
    const curve = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve }).privateKey
    const ed = generateKeyPairSync('ed25519').privateKey
    expect(say(compact({ alg: 'EdDSA' }, of(ed, null)))).toBe('assertion_algorithm')
    expect(say(compact({ alg: 'ES384' }, of(curve('P-384'), 'sha384')))).toBe('assertion_algorithm')
    expect(say(compact({ alg: 'ES512' }, of(curve('P-521'), 'sha512')))).toBe('assertion_algorithm')
    expect(say(compact({ alg: 'ES256K' }, of(curve('secp256k1'), 'sha256')))).toBe('assertion_algorithm')
    expect(say(compact({ alg: 'RS384' }, of(rsa.privateKey, 'sha384')), { set: rsaKeys })).toBe(
      'assertion_algorithm',
    )
    expect(say(compact({ alg: 'RS512' }, of(rsa.privateKey, 'sha512')), { set: rsaKeys })).toBe(
      'assertion_algorithm',
    )
    expect(say(compact({ alg: 'RS256' }, of(rsa.privateKey, 'sha1')), { set: rsaKeys })).toBe(
      'assertion_signature',
    )
  })
  test('C1 the algorithm is the key’s, whatever the header says', () => {
    expect(say(compact({ alg: 'RS256' }, (signed) => sign('sha256', signed, rsa.privateKey)))).toBe(
      'assertion_algorithm',
    )
    expect(say(mint({}, { alg: 'RS256' }))).toBe('assertion_algorithm')
    expect(say(mint({}, { alg: 'ES256' }, rsa), { set: rsaKeys })).toBe('assertion_algorithm')
  })
  test('C7 an ECDSA signature in another form, of another length, or of zeros', () => {
    const der = (signed: Buffer) => sign('sha256', signed, issuer.privateKey)
    const raw = (signed: Buffer) =>
      sign('sha256', signed, { key: issuer.privateKey, dsaEncoding: 'ieee-p1363' })
    expect(say(compact({ alg: 'ES256' }, raw))).toBe(`ok ${people.mona.sub}`)
    for (const other of [
      der,
      (signed: Buffer) => Buffer.concat([raw(signed), Buffer.alloc(1)]),
      (signed: Buffer) => raw(signed).subarray(0, 63),
    ])
      expect(say(compact({ alg: 'ES256' }, other))).toBe('assertion_signature')
    const order = Buffer.from('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 'hex')
    const zero = Buffer.alloc(32)
    const one = Buffer.alloc(32)
    one[31] = 1
    for (const pair of [
      [zero, zero],
      [zero, one],
      [one, zero],
      [one, one],
      [order, one],
      [one, order],
      [order, order],
      [Buffer.alloc(32, 0xff), one],
    ] as const)
      expect(say(compact({ alg: 'ES256' }, () => Buffer.concat(pair)))).toBe('assertion_signature')
  })
  test('any bit of signature, header or payload that is changed', () => {
    const assertion = mint()
    const parts = assertion.split('.')
    for (const which of [0, 1, 2]) {
      const bytes = Buffer.from(parts[which]!, 'base64url')
      for (let at = 0; at < bytes.length; at += 3) {
        const changed = Buffer.from(bytes)
        changed[at]! ^= 1 << (at % 8)
        const forged = parts.map((part, i) => (i === which ? changed.toString('base64url') : part)).join('.')
        expect(say(forged), `part ${which}, byte ${at}`).toMatch(/^assertion_/)
      }
    }
  })
  test('a signature of another assertion', () => {
    const [a, b] = [mint().split('.'), mint({ ...people.mona }).split('.')]
    expect(say([a[0], b[1], a[2]].join('.'))).toBe('assertion_signature')
  })
})

describe('C2 the header picks a key by kid, and nothing else', () => {
  test('a kid that is not known, is missing, or is no text', () => {
    expect(say(mint({}, { kid: 'x' }))).toBe('assertion_unknown_key')
    expect(say(mint({}, { kid: issuer.kid.toUpperCase() }))).toBe('assertion_unknown_key')
    for (const kid of [undefined, null, 1, [issuer.kid], {}, true])
      expect(say(mint({}, { kid }))).toBe('assertion_malformed')
    for (const kid of ['', '../../dev/null', "' or 1=1", '__proto__', 'constructor', 'toString'])
      expect(say(mint({}, { kid }))).toBe('assertion_unknown_key')
  })
  test.each([
    'jwk',
    'jku',
    'x5c',
    'x5u',
    'x5t',
    'x5t#S256',
    'crit',
    'b64',
    'cty',
    'zip',
    'enc',
    'epk',
    'ppt',
    'nonce',
  ])('a header member %s', (name) => {
    const evil = createIssuer({ kid: issuer.kid })
    for (const value of [evil.jwk, 'https://evil.example/jwks.json', ['x'], true])
      expect(say(mint({}, { [name]: value }, evil))).toBe('assertion_malformed')
    expect(say(mint({}, { [name]: 'x' }))).toBe('assertion_malformed')
  })
  test('typ', () => {
    expect(say(mint({}, { typ: undefined }))).toBe(OK)
    for (const typ of ['at+jwt', 'jwt', 'JWE', '', 1, null])
      expect(say(mint({}, { typ }))).toBe('assertion_malformed')
  })
  test('a header that is no object, or has a member twice', () => {
    const { sign: by } = issuer
    const payload = JSON.stringify({
      iss: ISSUER,
      aud: AUDIENCE,
      jti: 'j',
      iat: NOW,
      exp: NOW + 300,
      sub: 'x',
    })
    const good = `"alg":"ES256","kid":"${issuer.kid}"`
    expect(say(by(`{${good}}`, payload))).toBe('ok x')
    for (const header of [
      '',
      'null',
      '[]',
      '"ES256"',
      `{${good},"alg":"none"}`,
      `{"alg":"none",${good}}`,
      `{${good},"ALG":"none"}`,
      `{${good}} x`,
      `\ufeff{${good}}`,
    ])
      expect(say(by(header, payload)), header).toBe('assertion_malformed')
  })
})

describe('C3, C4, C5 claims', () => {
  test.each<[claim: string, value: unknown, fault: string]>([
    ['iss', undefined, 'assertion_issuer'],
    ['iss', null, 'assertion_issuer'],
    ['iss', [ISSUER], 'assertion_issuer'],
    ['iss', '', 'assertion_issuer'],
    ['iss', 'evil.example', 'assertion_issuer'],
    ['iss', `${ISSUER}.evil.example`, 'assertion_issuer'],
    ['iss', ISSUER.toUpperCase(), 'assertion_issuer'],
    ['iss', `${ISSUER}/`, 'assertion_issuer'],
    ['iss', `https://${ISSUER}`, 'assertion_issuer'],
    ['iss', `http://${ISSUER}/`, 'assertion_issuer'],
    ['iss', `https://${ISSUER}:443/`, 'assertion_issuer'],
    ['iss', `https://${ISSUER}/x`, 'assertion_issuer'],
    ['iss', `https://x@${ISSUER}/`, 'assertion_issuer'],
    ['aud', undefined, 'assertion_audience'],
    ['aud', null, 'assertion_audience'],
    ['aud', [AUDIENCE], 'assertion_audience'],
    ['aud', [AUDIENCE, 'other.example.com'], 'assertion_audience'],
    ['aud', [], 'assertion_audience'],
    ['aud', 'other.example.com', 'assertion_audience'],
    ['aud', `https://${AUDIENCE}/`, 'assertion_audience'],
    ['aud', AUDIENCE.toUpperCase(), 'assertion_audience'],
    ['aud', `${AUDIENCE} `, 'assertion_audience'],
    ['exp', undefined, 'assertion_claims'],
    ['exp', null, 'assertion_claims'],
    ['exp', String(NOW + 300), 'assertion_claims'],
    ['exp', NOW + 0.5, 'assertion_claims'],
    ['exp', -1, 'assertion_claims'],
    ['exp', 0, 'assertion_claims'],
    ['exp', [NOW + 300], 'assertion_claims'],
    ['iat', undefined, 'assertion_claims'],
    ['iat', String(NOW), 'assertion_claims'],
    ['iat', 0, 'assertion_claims'],
    ['nbf', String(NOW), 'assertion_claims'],
    ['nbf', null, 'assertion_claims'],
    ['nbf', NOW + 3600, 'assertion_not_yet_valid'],
    ['jti', undefined, 'assertion_claims'],
    ['jti', '', 'assertion_claims'],
    ['jti', 1, 'assertion_claims'],
    ['sub', undefined, 'assertion_claims'],
    ['sub', null, 'assertion_claims'],
    ['sub', 1, 'assertion_claims'],
    ['sub', ['alice'], 'assertion_claims'],
    ['sub', { toString: 'alice' }, 'assertion_claims'],
    ['sub', '', 'assertion_subject_empty'],
    ['groups', 'engineering', 'assertion_claims'],
    ['groups', { 0: 'engineering' }, 'assertion_claims'],
    ['groups', ['engineering', 1], 'assertion_claims'],
    ['groups', [['engineering']], 'assertion_claims'],
    ['groups', [null], 'assertion_claims'],
    ['groups', true, 'assertion_claims'],
    ['email', 1, 'assertion_claims'],
    ['email', ['alice@example.com'], 'assertion_claims'],
    ['name', {}, 'assertion_claims'],
    ['sid', null, 'assertion_claims'],
  ])('%s: %j', (claim, value, fault) => {
    // `mint` sets what is not given, so a claim that is to be left out is given as undefined.
    const claims = { exp: NOW + 300, iat: NOW, [claim]: value }
    const all = { iss: ISSUER, aud: AUDIENCE, jti: 'j', ...people.alice, ...claims }
    expect(say(issuer.sign(JSON.stringify({ alg: 'ES256', kid: issuer.kid }), JSON.stringify(all)))).toBe(
      fault,
    )
  })

  test('C4 the payload is an object, read strictly', () => {
    const header = JSON.stringify({ alg: 'ES256', kid: issuer.kid })
    for (const payload of ['', 'null', '[]', '"x"', '1', '{', '{} {}', '\ufeff{}', Buffer.from([0xff])])
      expect(say(issuer.sign(header, payload))).toMatch(/^assertion_(claims|malformed)$/)
    const long = JSON.stringify({
      iss: ISSUER,
      aud: AUDIENCE,
      jti: 'j',
      iat: NOW,
      exp: NOW + 300,
      sub: 'x',
      n: 1,
    }).replace('"n":1', '"n":1e400')
    expect(say(issuer.sign(header, long))).toBe('assertion_claims')
  })
  test.each([
    ['C8 sub twice', '"sub":"u","sub":"admin"'],
    ['C8 sub twice, escaped', '"sub":"u","s\\u0075b":"admin"'],
    ['C8 sub in two cases', '"sub":"u","Sub":"admin"'],
    ['C8 groups twice', '"sub":"u","groups":[],"groups":["maintainers"]'],
    ['C8 __proto__', '"sub":"u","__proto__":{"sub":"admin"}'],
    ['C8 a claim with NUL', '"sub":"u","sub\\u0000":"admin"'],
  ])('%s', (_row, extra) => {
    const payload = `{"iss":"${ISSUER}","aud":"${AUDIENCE}","jti":"j","iat":${NOW},"exp":${NOW + 300},${extra}}`
    expect(say(issuer.sign(JSON.stringify({ alg: 'ES256', kid: issuer.kid }), payload))).toBe(
      'assertion_claims',
    )
  })

  test('C5 clocks: to the second, on both sides', () => {
    const assertion = mint()
    expect(say(assertion, { now: NOW + 300 + 29 })).toBe(OK)
    expect(say(assertion, { now: NOW + 300 + 30 })).toBe('assertion_expired')
    expect(say(assertion, { now: NOW - 30 })).toBe(OK)
    expect(say(assertion, { now: NOW - 31 })).toBe('assertion_not_yet_valid')
    const strict = { ...EXPECTED, tolerance: 0 }
    expect(say(assertion, { now: NOW + 299, expected: strict })).toBe(OK)
    expect(say(assertion, { now: NOW + 300, expected: strict })).toBe('assertion_expired')
    expect(say(assertion, { now: NOW, expected: strict })).toBe(OK)
    expect(say(assertion, { now: NOW - 1, expected: strict })).toBe('assertion_not_yet_valid')
    expect(say(mint({ nbf: NOW + 60 }), { now: NOW + 29 })).toBe('assertion_not_yet_valid')
    expect(say(mint({ nbf: NOW + 60 }), { now: NOW + 30 })).toBe(OK)
  })
  test('C5 a life that Pomerium does not give', () => {
    expect(say(mint({ exp: NOW + 3600 }))).toBe(OK)
    expect(say(mint({ exp: NOW + 3601 }))).toBe('assertion_claims')
    expect(say(mint({ iat: NOW - 86_400, exp: NOW + 300 }))).toBe('assertion_claims')
    expect(say(mint({ iat: NOW + 3600, exp: NOW + 3900 }))).toBe('assertion_not_yet_valid')
    expect(say(mint({ exp: NOW - 1 }), { now: NOW - 31 })).toMatch(/^assertion_/)
  })

  test('both forms of an issuer stand for each other, as one route setting writes them', () => {
    const uri = `https://${ISSUER}/`
    for (const configured of [ISSUER, uri])
      for (const iss of [ISSUER, uri])
        expect(say(mint({ iss }), { expected: { ...EXPECTED, issuer: configured } })).toBe(OK)
  })

  test('C15 a service account: no e-mail, no name, no groups, and none of them in the identity', () => {
    const result = verifyAssertion(mint({ ...people.bot }), keys, EXPECTED, NOW)
    expect(result).toMatchObject({
      ok: true,
      identity: { source: 'pomerium', subject: 'svc:pr-bot', groups: [] },
    })
    if (result.ok)
      expect(Object.keys(result.identity).sort()).toEqual([
        'audience',
        'claims',
        'groups',
        'issuer',
        'sid',
        'source',
        'subject',
      ])
  })
  test('C15 groups that are left out are none', () => {
    const result = verifyAssertion(mint({ groups: undefined }), keys, EXPECTED, NOW)
    expect(result).toMatchObject({ ok: true, identity: { groups: [] } })
  })
  test('C16 nothing is normalised', () => {
    for (const sub of ['Alice', 'ALICE', 'alice ', ' alice', 'ａlice', 'alice\u200b'])
      expect(say(mint({ sub }))).toBe(`ok ${sub}`)
    const result = verifyAssertion(
      mint({ email: 'ADMIN@Example.com', groups: ['Eng', 'eng'] }),
      keys,
      EXPECTED,
      NOW,
    )
    expect(result).toMatchObject({ identity: { email: 'ADMIN@Example.com', groups: ['Eng', 'eng'] } })
  })
  test('further claims are kept apart from those that have a meaning', () => {
    const result = verifyAssertion(
      mint({ department: 'platform', subject: 'admin', source: 'configured', empty: '' }),
      keys,
      EXPECTED,
      NOW,
    )
    expect(result).toMatchObject({
      identity: {
        subject: people.alice.sub,
        source: 'pomerium',
        claims: { department: 'platform', subject: 'admin', source: 'configured' },
      },
    })
    if (result.ok) expect(result.identity.claims).not.toHaveProperty('empty')
  })
})

describe('C7 one assertion has one spelling', () => {
  const assertion = mint()
  const [header, payload, signature] = assertion.split('.') as [string, string, string]
  const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

  test.each<[row: string, text: string]>([
    ['a blank after it', `${assertion} `],
    ['a blank before it', ` ${assertion}`],
    ['a line feed after it', `${assertion}\n`],
    [
      'a line feed within the signature',
      `${header}.${payload}.${signature.slice(0, 9)}\n${signature.slice(9)}`,
    ],
    ['a blank within the payload', `${header}.${payload.slice(0, 9)} ${payload.slice(9)}.${signature}`],
    ['padding', `${header}.${payload}.${signature}==`],
    ['padding in the header', `${header}=.${payload}.${signature}`],
    ['four parts', `${assertion}.x`],
    ['an empty fourth part', `${assertion}.`],
    ['five parts', `${header}.x.y.${payload}.${signature}`],
    ['two parts', `${header}.${payload}`],
    ['no signature', `${header}.${payload}.`],
    ['no payload', `${header}..${signature}`],
    ['no header', `.${payload}.${signature}`],
    ['nothing', ''],
    ['a scheme', `Bearer ${assertion}`],
    ['two, joined as a header that came twice', `${assertion}, ${assertion}`],
    ['quotes', `"${assertion}"`],
    ['JSON serialisation', JSON.stringify({ protected: header, payload, signature })],
    ['NUL', `${assertion}\0`],
    ['longer than any', `${header}.${payload}.${'A'.repeat(32 << 10)}`],
  ])('%s', (_row, text) => expect(say(text)).toBe('assertion_malformed'))

  test('base64 for base64url', () => {
    for (let i = 0; i < 50; i++) {
      const one = mint()
      const other = one.replaceAll('-', '+').replaceAll('_', '/')
      if (other !== one) expect(say(other)).toBe('assertion_malformed')
    }
  })
  test('a last character with bits that mean nothing', () => {
    // 64 bytes leave four bits of the last character over: they must be zero.
    const bytes = Buffer.from(signature, 'base64url')
    let same = 0
    ;[...ALPHABET].forEach((other, value) => {
      const text = signature.slice(0, -1) + other
      same += Number(Buffer.from(text, 'base64url').equals(bytes))
      const canonical = text === signature ? OK : 'assertion_signature'
      expect(say(`${header}.${payload}.${text}`)).toBe(value % 16 === 0 ? canonical : 'assertion_malformed')
    })
    // To a lenient reader all of these are one signature.
    expect(same).toBe(16)
  })
  test('C7 the twin of an ECDSA signature has the same jti, by which a repetition is told', () => {
    const order = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551')
    const bytes = Buffer.from(signature, 'base64url')
    const s = order - BigInt(`0x${bytes.subarray(32).toString('hex')}`)
    const twin = Buffer.concat([bytes.subarray(0, 32), Buffer.from(s.toString(16).padStart(64, '0'), 'hex')])
    const [a, b] = [assertion, `${header}.${payload}.${twin.toString('base64url')}`].map((text) =>
      verifyAssertion(text, keys, EXPECTED, NOW),
    )
    expect(b?.ok && a?.ok && a.jti === b.jti).toBe(true)
  })
})

describe('keys', () => {
  test('RSA of fewer than 2048 bits is no key', () => {
    const weak = createIssuer({ algorithm: 'RS256', bits: 1024 })
    const set = readJwks(weak.jwks)!
    expect(set.size).toBe(0)
    expect(say(mint({}, {}, weak), { set })).toBe('assertion_unknown_key')
  })
  const jwk = issuer.jwk
  test.each<[row: string, key: object]>([
    ['no kid', { ...jwk, kid: undefined }],
    ['an empty kid', { ...jwk, kid: '' }],
    ['for encryption', { ...jwk, use: 'enc' }],
    ['another algorithm', { ...jwk, alg: 'ES384' }],
    [
      'another curve',
      {
        ...(generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey.export({ format: 'jwk' }) as object),
        kid: 'x',
      },
    ],
    ['a curve that it is not on', { ...jwk, x: jwk.y, y: jwk.x }],
    ['half a point', { ...jwk, y: undefined }],
    ['a secret', { kty: 'oct', kid: 'x', k: 'AAAA', alg: 'HS256' }],
    [
      'Ed25519',
      { ...(generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }) as object), kid: 'x' },
    ],
    ['RSA that says ES256', { ...createIssuer({ algorithm: 'RS256' }).jwk, alg: 'ES256' }],
    ['no object', ['x']],
  ])('not taken: %s', (_row, key) => {
    expect(readJwks(jwksOf(key))?.size).toBe(0)
    // One that is unusable does not spoil the others.
    const other = createIssuer()
    expect([...readJwks(jwksOf(key, other.jwk))!.keys()]).toEqual([other.kid])
  })
  test('two keys of one kid: the set is none', () => {
    expect(readJwks(jwksOf(issuer.jwk, createIssuer({ kid: issuer.kid }).jwk))).toBe(undefined)
  })
  test('the private members of a key are not taken up', () => {
    const full = { ...issuer.privateKey.export({ format: 'jwk' }), kid: 'x' }
    expect(readJwks(jwksOf(full))!.get('x')!.key.type).toBe('public')
  })
  test.each([
    '',
    'null',
    '[]',
    '{}',
    '{"keys":{}}',
    '{"keys":null}',
    '{"keys":[],"keys":[]}',
    '<html>',
    '{"keys":[]} x',
  ])('%j is no set', (text) => expect(readJwks(text)).toBe(undefined))
  test('an empty set is one', () => expect(readJwks('{"keys":[]}')?.size).toBe(0))
})
