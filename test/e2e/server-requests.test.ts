// What servers ask of clients, with real ones of both generations: over the sidecar as without it, but for what is denied.
import {
  Client as V2Client,
  StreamableHTTPClientTransport as V2Transport,
} from '@modelcontextprotocol/client'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
} from '@modelcontextprotocol/sdk/types.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startServer } from '../conformance/server.ts'
import { buildBundle, mainPolicy, noOpa } from '../support/policy.ts'
import { type Sidecar, startSidecar } from '../support/sidecar.ts'

/** Everything but one prompt, and an answer that holds a secret. */
const POLICY = `answer := {"allow": true} if not denied

denied if {
	input.method == "sampling/createMessage"
	input.direction == "to_client"
	input.params.messages[_].content.text == "forbidden"
}

denied if {
	input.kind == "response"
	input.response.result.content.word == "secret"
}

denied if {
	input.kind == "response"
	input.response.result.content.name == "secret"
}
`

describe.skipIf(noOpa)('requests of a server', () => {
  let bundle: Awaited<ReturnType<typeof buildBundle>>
  const open: (() => Promise<unknown>)[] = []
  const start = async (upstream: object): Promise<Sidecar> => {
    const identity = { issuer: null, audience: null, development: { subject: 'ann' } }
    const sidecar = await startSidecar({
      config: { bundles: { mcp: { resource: bundle.path } }, plugins: { mcp: { identity, upstream } } },
    })
    open.push(() => sidecar.stop())
    return sidecar
  }
  beforeAll(async () => {
    bundle = await buildBundle({ 'main.rego': mainPolicy(POLICY) })
  }, 60_000)
  afterAll(async () => {
    for (const close of open.reverse()) await close()
    await bundle?.dispose()
  })

  test('a stdio server asks a client of the first generation', { timeout: 60_000 }, async () => {
    const sidecar = await start({
      command: [process.execPath, 'test/e2e/stdio-asking-server.ts'],
      timeout: '20s',
    })
    const client = new Client(
      { name: 'c', version: '1' },
      { capabilities: { sampling: {}, elicitation: {}, roots: {} } },
    )
    let word = 'hello'
    client.setRequestHandler(CreateMessageRequestSchema, () => ({
      model: 'm',
      role: 'assistant',
      content: { type: 'text', text: 'sampled' },
    }))
    client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept', content: { word } }))
    client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: 'file:///home/ann' }] }))
    const transport = new StreamableHTTPClientTransport(new URL(sidecar.url))
    await client.connect(transport as Parameters<Client['connect']>[0])
    open.push(() => client.close())
    const call = async (name: string) => {
      const { content } = await client.callTool({ name, arguments: {} })
      return JSON.parse((content as { text: string }[])[0]?.text ?? '')
    }
    expect(await call('sample')).toMatchObject({ content: { text: 'sampled' } })
    expect(await call('elicit')).toEqual({ action: 'accept', content: { word: 'hello' } })
    expect(await call('roots')).toEqual({ roots: [{ uri: 'file:///home/ann' }] })
    expect(await call('sample_forbidden')).toEqual({ refused: expect.stringContaining('Refused by policy') })
    word = 'secret'
    expect(await call('elicit')).toEqual({ action: 'decline' })

    const asked = sidecar.records().filter(({ input }) => input?.direction === 'to_client')
    expect(asked.map(({ input, result }) => [input.method, result.allow])).toEqual([
      ['sampling/createMessage', true],
      ['elicitation/create', true],
      ['roots/list', true],
      ['sampling/createMessage', false],
      ['elicitation/create', true],
    ])
  })

  test('a server of 2026-07-28 asks within its results', { timeout: 60_000 }, async () => {
    const server = await startServer()
    open.push(server.close)
    const sidecar = await start({ url: server.url })
    const client = new V2Client(
      { name: 'c', version: '1' },
      { versionNegotiation: { mode: { pin: '2026-07-28' } }, capabilities: { elicitation: { form: {} } } },
    )
    let name = 'Ann'
    client.setRequestHandler('elicitation/create', () => ({ action: 'accept', content: { name } }))
    await client.connect(new V2Transport(new URL(sidecar.url)))
    open.push(() => client.close())
    const call = () => client.callTool({ name: 'test_input_required_result_elicitation', arguments: {} })
    expect(await call()).toMatchObject({ content: [{ text: 'Hello, Ann!' }] })
    name = 'secret'
    const denied = await call()
    expect(denied).toMatchObject({ isError: true })
    expect(JSON.stringify(denied.content)).toContain('was not sent')
    expect(sidecar.spool()).not.toContain('"end":"not_delivered"')
  })
})
