// A drain ended the answer of a call that was a stream already, at once and without its result, and said it was clean.
import { expect, it } from 'vitest'
import { rpcResult, sseFrame, sseHead, startRecorder } from '../support/recorder.ts'
import { startSidecar } from '../support/sidecar.ts'

it('waits for the answer of a call that is a stream already', async () => {
  const upstream = await startRecorder(async ({ json }, socket) => {
    socket.write(sseHead())
    await new Promise((resolve) => setTimeout(resolve, 3000))
    socket.end(sseFrame(rpcResult(json.id, { content: [{ type: 'text', text: 'done slowly' }] })))
    return null
  })
  const development = { subject: 'alice', groups: ['engineering'] }
  const identity = { development, issuer: null, audience: null }
  const sidecar = await startSidecar({
    upstream: upstream.url,
    config: { plugins: { mcp: { drain: '15s', identity } } },
  })
  const params = { name: 'get_me', arguments: {} }
  const response = await fetch(sidecar.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params }),
  })
  // Its head is here, so it is a stream by now.
  const stopped = sidecar.stop()
  expect(await response.text()).toContain('done slowly')
  expect(await stopped).toBe(0)
  expect(sidecar.records().at(-1)?.custom.cause.code).toBe('stopped')
  await upstream.close()
})
