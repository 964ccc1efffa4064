// A drain waited its whole time, and said that calls were cut, where a client kept its connection open after its
// answer, or where an upstream held back the head of a stream.
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type Recorder, startRecorder } from '../support/recorder.ts'
import { type Sidecar, startSidecar } from '../support/sidecar.ts'

let upstream: Recorder
let sidecar: Sidecar
beforeEach(async () => {
  upstream = await startRecorder()
  const development = { subject: 'alice', groups: ['engineering'] }
  const identity = { development, issuer: null, audience: null }
  sidecar = await startSidecar({
    upstream: upstream.url,
    config: { plugins: { mcp: { drain: '8s', identity } } },
  })
})
afterEach(async () => {
  await sidecar.stop()
  await upstream.close()
})

const post = (method: string, params: object, session?: string) =>
  fetch(sidecar.url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...(session !== undefined && { 'mcp-session-id': session }),
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
  })
const initialize = async () => {
  const clientInfo = { name: 'test', version: '1' }
  const answer = await post('initialize', { protocolVersion: '2025-11-25', capabilities: {}, clientInfo })
  await answer.text()
  return answer.headers.get('mcp-session-id') ?? ''
}
const arrived = (method: string) =>
  expect.poll(() => upstream.requests().some((request) => request.method === method)).toBe(true)

const stop = async () => {
  const began = performance.now()
  const code = await sidecar.stop()
  return { code, soon: performance.now() - began < 7000, last: sidecar.records().at(-1)?.custom.cause.code }
}

it('ends after the last answer, though the client keeps its connection', async () => {
  const session = await initialize()
  upstream.reset()
  upstream.respond(async () => {
    await new Promise((resolve) => setTimeout(resolve, 500))
    return undefined
  })
  const call = post('tools/call', { name: 'get_me', arguments: {} }, session)
  await arrived('POST')
  const stopped = stop()
  expect(await (await call).text()).toContain('called get_me')
  expect(await stopped).toEqual({ code: 0, soon: true, last: 'stopped' })
})

it('does not wait for a stream whose head the upstream holds back', async () => {
  const session = await initialize()
  upstream.respond((request) => (request.method === 'GET' ? null : undefined))
  const stream = fetch(sidecar.url, {
    headers: { accept: 'text/event-stream', 'mcp-session-id': session },
  }).catch(() => 'ended')
  await arrived('GET')
  expect(await stop()).toEqual({ code: 0, soon: true, last: 'stopped' })
  expect(await stream).toBe('ended')
})
