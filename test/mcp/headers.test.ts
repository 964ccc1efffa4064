import { describe, expect, test } from 'vitest'
import {
  classify,
  decodeHeader,
  encodeHeader,
  LEGACY_VERSIONS,
  type McpHeaders,
  META_CAPABILITIES,
  META_VERSION,
  MODERN_VERSIONS,
  makeHeaders,
} from '../../src/mcp/headers.ts'
import type { Message, Request } from '../../src/mcp/message.ts'
import type { JsonObject } from '../../src/mcp/strict-json.ts'
import { createRandom } from './random.ts'

const request = (method: string, params: JsonObject = {}): Request => ({
  kind: 'request',
  id: 1,
  method,
  params,
})
const notification = (method: string, params: JsonObject = {}): Message => ({
  kind: 'notification',
  method,
  params,
})
const MODERN = '2026-07-28'
const meta = (version: string = MODERN, more: JsonObject = {}): JsonObject => ({
  _meta: { [META_VERSION]: version, [META_CAPABILITIES]: {}, ...more },
})
const call = (name = 'get_me') => request('tools/call', { name, ...meta() })
const modern = (headers: McpHeaders = {}): McpHeaders => ({
  protocolVersion: MODERN,
  method: 'tools/call',
  name: 'get_me',
  ...headers,
})
const say = (message: Message, headers: McpHeaders, session?: string) => {
  const result = classify(message, headers, session)
  return result.ok ? `${result.era} ${result.version}` : `${result.code} ${result.fault}`
}

describe('legacy: the version is the header’s or the session’s', () => {
  test('each legacy version', () => {
    for (const version of LEGACY_VERSIONS)
      expect(say(request('ping'), { protocolVersion: version })).toBe(`legacy ${version}`)
  })
  test('none is 2025-03-26', () => expect(say(request('ping'), {})).toBe('legacy 2025-03-26'))
  test('D11 the session’s holds where there is none', () =>
    expect(say(request('ping'), {}, '2025-06-18')).toBe('legacy 2025-06-18'))
  test('trap 5: D11 another can neither lower nor raise the session’s', () =>
    expect(say(request('ping'), { protocolVersion: '2025-11-25' }, '2025-06-18')).toBe('legacy 2025-06-18'))
  test.each(['2099-01-01', '', '2025-11-25, 2025-06-18', '2025-11-25 ', 'x'.repeat(1000)])(
    'I5 %j is refused',
    (version) => {
      const result = classify(request('ping'), { protocolVersion: version }, undefined)
      expect(result).toMatchObject({ ok: false, fault: 'unsupported_version', code: -32022 })
      expect(result).toMatchObject({ data: { supported: [...LEGACY_VERSIONS, ...MODERN_VERSIONS] } })
      expect(JSON.stringify(result).length).toBeLessThan(300)
    },
  )
  test('initialize: what it asks for, bounded', () => {
    expect(say(request('initialize', { protocolVersion: '2025-11-25' }), {})).toBe('legacy 2025-11-25')
    expect(say(request('initialize', { protocolVersion: 'y'.repeat(99) }), {})).toBe(
      `legacy ${'y'.repeat(32)}`,
    )
    expect(say(request('initialize', { protocolVersion: 1 }), {})).toBe('-32602 missing_meta')
    expect(say(request('initialize'), {})).toBe('-32602 missing_meta')
  })
  test('Mcp-Method and Mcp-Name mean nothing in a legacy request', () =>
    expect(say(request('ping'), { protocolVersion: '2025-11-25', method: 'tools/call', name: 'x' })).toBe(
      'legacy 2025-11-25',
    ))
})

describe('trap 3: modern: headers must agree with the body', () => {
  test('they do', () => {
    expect(say(call(), modern())).toBe(`modern ${MODERN}`)
    expect(say(request('tools/list', meta()), { protocolVersion: MODERN, method: 'tools/list' })).toBe(
      `modern ${MODERN}`,
    )
    const read = request('resources/read', { uri: 'file:///a', ...meta() })
    expect(say(read, modern({ method: 'resources/read', name: 'file:///a' }))).toBe(`modern ${MODERN}`)
  })
  test.each<[row: string, message: Message, headers: McpHeaders]>([
    ['A29 E4 version in the body only', call(), { method: 'tools/call', name: 'get_me' }],
    ['A29 E4 legacy version in the header', call(), modern({ protocolVersion: '2025-11-25' })],
    ['A29 E4 other version in the header', call(), modern({ protocolVersion: '2099-01-01' })],
    [
      'A29 E4 other version in the body',
      request('tools/call', { name: 'get_me', ...meta('2099-01-01') }),
      modern(),
    ],
    ['E1 no Mcp-Method', call(), { protocolVersion: MODERN, name: 'get_me' }],
    ['E1 another Mcp-Method', call(), modern({ method: 'tools/list' })],
    ['E1 Mcp-Method in another case', call(), modern({ method: 'Tools/Call' })],
    ['E2 no Mcp-Name', call(), { protocolVersion: MODERN, method: 'tools/call' }],
    ['E2 another Mcp-Name', call(), modern({ name: 'merge_pull_request' })],
    ['E2 Mcp-Name in another case', call(), modern({ name: 'Get_me' })],
    ['E2 an encoded Mcp-Name for another', call(), modern({ name: '=?base64?ZXZpbA==?=' })],
    ['E2 not canonical: padding left out', call('evil'), modern({ name: '=?base64?ZXZpbA?=' })],
    ['E2 not canonical: bits left over', call('evil'), modern({ name: '=?base64?ZXZpbB==?=' })],
    ['E2 not UTF-8', call('\ufffd'), modern({ name: '=?base64?/w==?=' })],
    ['E2 the marker in capitals is no marker', call('evil'), modern({ name: '=?BASE64?ZXZpbA==?=' })],
    ['E2 another encoding', call('evil'), modern({ name: '=?utf-8?B?ZXZpbA==?=' })],
    [
      'E2 Mcp-Name where the method has none',
      request('tools/list', meta()),
      { protocolVersion: MODERN, method: 'tools/list', name: 'x' },
    ],
    [
      'E2 Mcp-Name for a name that is no text',
      request('tools/call', { name: 1, ...meta() }),
      modern({ name: '1' }),
    ],
  ])('%s', (_row, message, headers) => expect(say(message, headers)).toBe('-32020 header_mismatch'))

  test.each<[row: string, message: Message, fault: string]>([
    ['no version in the body', request('tools/call', { name: 'get_me' }), '-32602 missing_meta'],
    [
      'a version that is no text',
      request('tools/call', { name: 'get_me', _meta: { [META_VERSION]: 1 } }),
      '-32602 missing_meta',
    ],
    [
      'no capabilities',
      request('tools/call', { name: 'get_me', _meta: { [META_VERSION]: MODERN } }),
      '-32602 missing_meta',
    ],
    [
      'capabilities that are no object',
      request('tools/call', { name: 'get_me', ...meta(MODERN, { [META_CAPABILITIES]: [] }) }),
      '-32602 missing_meta',
    ],
    ['_meta is no object', request('tools/call', { name: 'get_me', _meta: 'x' }), '-32602 missing_meta'],
    ['a notification', notification('notifications/cancelled', meta()), '-32600 modern_needs_request'],
    ['a response', { kind: 'response', id: 1, result: {} }, '-32600 modern_needs_request'],
  ])('%s', (_row, message, fault) => expect(say(message, modern())).toBe(fault))

  test('an agreed version that nobody knows', () => {
    const message = request('tools/call', { name: 'get_me', ...meta('2099-01-01') })
    expect(say(message, modern({ protocolVersion: '2099-01-01' }))).toBe('-32022 unsupported_version')
  })
  test('a name that needs encoding', () =>
    expect(say(call('日本'), modern({ name: '=?base64?5pel5pys?=' }))).toBe(`modern ${MODERN}`))
})

describe('values of Mcp-Name', () => {
  test.each([
    ['get_me', 'get_me'],
    ['file:///a b', 'file:///a b'],
    ['', '=?base64??='],
    [' x', '=?base64?IHg=?='],
    ['x ', '=?base64?eCA=?='],
    ['a\r\nX-Evil: 1', '=?base64?YQ0KWC1FdmlsOiAx?='],
    ['=?base64?eA==?=', '=?base64?PT9iYXNlNjQ/ZUE9PT89?='],
    ['é', '=?base64?w6k=?='],
  ])('%j is sent as %j and read back', (value, header) => {
    expect(encodeHeader(value)).toBe(header)
    expect(decodeHeader(header)).toBe(value)
  })

  test('whatever the name, the header is visible ASCII and reads back', () => {
    const random = createRandom(31)
    for (let i = 0; i < 5_000; i++) {
      const name = Array.from({ length: random.below(12) }, () =>
        random.pick([
          'a',
          ' ',
          '\n',
          '\r',
          '\u0000',
          '=?',
          '?=',
          'base64?',
          'é',
          '😀',
          '\u007f',
          '\t',
          ':',
          '\ufeff',
        ]),
      ).join('')
      const header = encodeHeader(name)
      expect(header).toMatch(/^[!-~](?:[ -~]*[!-~])?$/)
      expect(decodeHeader(header)).toBe(name)
    }
  })
})

describe('E1 headers of the upstream request are made from the message', () => {
  test('legacy: the version and nothing else', () => {
    expect(makeHeaders(request('tools/call', { name: 'x' }), 'legacy', '2025-11-25')).toEqual({
      'mcp-protocol-version': '2025-11-25',
    })
    expect(makeHeaders(notification('notifications/initialized'), 'legacy', '2025-06-18')).toEqual({
      'mcp-protocol-version': '2025-06-18',
    })
  })
  test('A20 a version is always said, so that no server assumes an older one; but for the handshake, which has none', () => {
    for (const version of LEGACY_VERSIONS)
      expect(makeHeaders(request('ping'), 'legacy', version)).toEqual({ 'mcp-protocol-version': version })
    expect(
      makeHeaders(request('initialize', { protocolVersion: '2025-11-25' }), 'legacy', '2025-11-25'),
    ).toEqual({})
  })
  test('modern: method and name', () => {
    expect(makeHeaders(call('get_me'), 'modern', MODERN)).toEqual({
      'mcp-protocol-version': MODERN,
      'mcp-method': 'tools/call',
      'mcp-name': 'get_me',
    })
    expect(makeHeaders(call('a\nb'), 'modern', MODERN)['mcp-name']).toBe('=?base64?YQpi?=')
    expect(makeHeaders(request('tools/list', meta()), 'modern', MODERN)).toEqual({
      'mcp-protocol-version': MODERN,
      'mcp-method': 'tools/list',
    })
  })
})
