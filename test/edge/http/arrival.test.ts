// What is refused for the line and the head of a request, and whose address is believed; without a socket.
import { expect, test } from 'vitest'
import { type ArrivalSettings, createArrivals } from '../../../src/edge/http/arrival.ts'
import { readHead } from '../../../src/edge/http/hop-headers.ts'

const SETTINGS: ArrivalSettings = {
  endpoint: '/mcp',
  bodyLimit: 1000,
  trustedProxies: ['10.0.0.0/8', 'fd00::/8'],
  allowedOrigins: ['https://agent.example'],
  allowedHosts: ['mcp.example'],
  configured: undefined,
}
type Change = { line?: object; headers?: Record<string, string>; peer?: string | undefined }
const asked = ({ line, headers, ...rest }: Change, settings: Partial<ArrivalSettings> = {}, sse = false) => {
  const read = readHead(
    Object.entries({ host: 'mcp.example:8080', 'content-type': 'application/json', ...headers }).flat(),
  )
  if (!read.ok) throw new Error(read.reason)
  const streams = {
    tokenOf: (url = '') => /^\/mcp\/message\?sessionId=(.*)$/.exec(url)?.[1],
    find: (token: string) => (token === 'known' ? ({} as never) : undefined),
  }
  const arrivals = createArrivals({ ...SETTINGS, ...settings }, sse ? streams : undefined)
  const remoteAddress = 'peer' in rest ? rest.peer : '10.1.2.3'
  const request = { httpVersion: '1.1', method: 'POST', url: '/mcp', socket: { remoteAddress }, ...line }
  return {
    fault: arrivals.check(request as never, read.head),
    arrival: arrivals.of(request as never, read.head, new AbortController().signal),
  }
}

test.each<[string | undefined, string, Change]>([
  [undefined, 'a message', {}],
  [undefined, 'an origin that may', { headers: { origin: 'https://agent.example' } }],
  [undefined, 'a body in chunks', { headers: { 'transfer-encoding': 'chunked' } }],
  [undefined, 'no encoding', { headers: { 'content-encoding': 'identity' } }],
  [
    undefined,
    'a stream, which has no body',
    { line: { method: 'GET' }, headers: { 'content-type': 'text/plain' } },
  ],
  [undefined, 'the end of a session', { line: { method: 'DELETE' } }],
  [undefined, 'a body of the size that may be', { headers: { 'content-length': '1000' } }],
  ['bad_http', 'HTTP/1.0', { line: { httpVersion: '1.0' } }],
  ['bad_path', 'another path', { line: { url: '/mcp/' } }],
  ['bad_path', 'the path with a query', { line: { url: '/mcp?x' } }],
  ['bad_path', 'a whole address', { line: { url: 'http://mcp.example/mcp' } }],
  ['bad_verb', 'another verb', { line: { method: 'PUT' } }],
  ['bad_verb', 'no verb', { line: { method: undefined } }],
  ['bad_host', 'another host', { headers: { host: 'other.example' } }],
  ['bad_host', 'a host below it', { headers: { host: 'x.mcp.example' } }],
  ['bad_host', 'an empty host', { headers: { host: '' } }],
  ['bad_origin', 'another origin', { headers: { origin: 'https://other.example' } }],
  ['bad_origin', 'an origin that begins alike', { headers: { origin: 'https://agent.example.evil' } }],
  ['bad_origin', 'no origin to speak of', { headers: { origin: 'null' } }],
  [
    'bad_http',
    'two lengths of a body',
    { headers: { 'transfer-encoding': 'chunked', 'content-length': '5' } },
  ],
  ['bad_http', 'another transfer encoding', { headers: { 'transfer-encoding': 'gzip, chunked' } }],
  ['bad_content_type', 'a compressed body', { headers: { 'content-encoding': 'gzip' } }],
  ['bad_content_type', 'a form', { headers: { 'content-type': 'text/plain' } }],
  ['too_large', 'a body that is larger', { headers: { 'content-length': '1001' } }],
])('%s: %s', (fault, _name, change) => {
  expect(asked(change).fault).toBe(fault)
})

test.each([
  [undefined, 'GET', '/mcp'],
  [undefined, 'POST', '/mcp/message?sessionId=known'],
  ['unknown_session', 'POST', '/mcp/message?sessionId=other'],
  ['bad_verb', 'POST', '/mcp'],
  ['bad_verb', 'GET', '/mcp/message?sessionId=known'],
  ['bad_path', 'POST', '/mcp/message'],
])('HTTP with SSE: %s, %s %s', (fault, method, url) => {
  expect(asked({ line: { method, url } }, {}, true).fault).toBe(fault)
})

test.each<[string | undefined, string, Change, Partial<ArrivalSettings>]>([
  [
    '192.0.2.7',
    'the last that a proxy of ours saw',
    { headers: { 'x-forwarded-for': '203.0.113.9, 192.0.2.7' } },
    {},
  ],
  ['2001:db8::1', 'of either family', { peer: 'fd00::1', headers: { 'x-forwarded-for': '2001:db8::1' } }, {}],
  [
    '192.0.2.7',
    'a mapped address',
    { peer: '::ffff:10.1.2.3', headers: { 'x-forwarded-for': '192.0.2.7' } },
    {},
  ],
  [undefined, 'another peer', { peer: '192.0.2.1', headers: { 'x-forwarded-for': '192.0.2.7' } }, {}],
  [undefined, 'text', { headers: { 'x-forwarded-for': '192.0.2.7, "x"' } }, {}],
  [undefined, 'nothing', {}, {}],
  [undefined, 'a socket file', { peer: undefined, headers: { 'x-forwarded-for': '192.0.2.7' } }, {}],
  [
    '192.0.2.7',
    'a socket file that is believed',
    { peer: undefined, headers: { 'x-forwarded-for': '192.0.2.7' } },
    { trustedProxies: ['unix'] },
  ],
])('the address is %s: %s', (ip, _name, change, settings) => {
  expect(asked(change, settings).arrival.http.source_ip).toBe(ip)
})
