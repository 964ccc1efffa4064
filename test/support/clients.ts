import {
  Client as V2Client,
  SSEClientTransport as V2Sse,
  StreamableHTTPClientTransport as V2Transport,
} from '@modelcontextprotocol/client'
import { Client as V1Client } from '@modelcontextprotocol/sdk/client/index.js'
import { SSEClientTransport as V1Sse } from '@modelcontextprotocol/sdk/client/sse.js'
import { StreamableHTTPClientTransport as V1Transport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'

export type ToolResult = {
  isError?: boolean
  content: { type: string; text?: string }[]
  _meta?: Record<string, unknown>
}
export type Connected = {
  client: V1Client | V2Client
  names: () => Promise<string[]>
  call: (name: string, args: Record<string, unknown>) => Promise<ToolResult>
  /** the text that a model would read */
  text: (name: string, args: Record<string, unknown>) => Promise<string>
  close: () => Promise<void>
}

const info = { name: 'test-agent', version: '1' }
/** By itself a client gives up after three tries, sooner than a busy machine starts a sidecar anew. */
const reconnectionOptions = {
  initialReconnectionDelay: 100,
  maxReconnectionDelay: 500,
  reconnectionDelayGrowFactor: 1.5,
  maxRetries: 100,
}
/** A real client, each of whose requests carries a fresh assertion, as Pomerium adds one. */
export type Connect = (url: string, mint: () => string) => Promise<Connected>

const withAssertion =
  (mint: () => string): typeof fetch =>
  (input, init) => {
    const headers = new Headers(init?.headers)
    headers.set('x-pomerium-jwt-assertion', mint())
    return fetch(input, { ...init, headers })
  }

const facade = (client: V1Client | V2Client, close: () => Promise<void>): Connected => {
  const call = async (name: string, args: Record<string, unknown>) =>
    (await client.callTool({ name, arguments: args })) as ToolResult
  return {
    client,
    names: async () => (await client.listTools()).tools.map(({ name }) => name),
    call,
    text: async (name, args) => (await call(name, args)).content.map((part) => part.text ?? '').join('\n'),
    close,
  }
}

const v1: Connect = async (url, mint) => {
  const client = new V1Client(info)
  const transport = new V1Transport(new URL(url), { fetch: withAssertion(mint), reconnectionOptions })
  await client.connect(transport as Parameters<V1Client['connect']>[0])
  return facade(client, async () => {
    await transport.terminateSession()
    await client.close()
  })
}

const v2 =
  (mode: 'legacy' | 'auto' | { pin: string }): Connect =>
  async (url, mint) => {
    const client = new V2Client(info, { versionNegotiation: { mode } })
    const transport = new V2Transport(new URL(url), { fetch: withAssertion(mint), reconnectionOptions })
    await client.connect(transport)
    return facade(client, async () => {
      await transport.terminateSession()
      await client.close()
    })
  }

/** Both generations of the official SDK, and every way the second one negotiates. */
export const CLIENTS: [name: string, connect: Connect][] = [
  ['v1', v1],
  ['v2 legacy', v2('legacy')],
  ['v2 auto', v2('auto')],
  ['v2 pinned to 2026-07-28', v2({ pin: '2026-07-28' })],
]

/** The same over HTTP with SSE (2024-11-05), which both generations still speak. */
export const SSE_CLIENTS: [name: string, connect: Connect][] = [
  [
    'v1',
    async (url, mint) => {
      const client = new V1Client(info)
      await client.connect(new V1Sse(new URL(url), { fetch: withAssertion(mint) }))
      return facade(client, () => client.close())
    },
  ],
  [
    'v2',
    async (url, mint) => {
      const client = new V2Client(info)
      await client.connect(new V2Sse(new URL(url), { fetch: withAssertion(mint) }))
      return facade(client, () => client.close())
    },
  ],
]
