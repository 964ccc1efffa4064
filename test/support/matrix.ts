import {
  Client as V2Client,
  StreamableHTTPClientTransport as V2Http,
  SSEClientTransport as V2Sse,
} from '@modelcontextprotocol/client'
import { StdioClientTransport as V2Stdio } from '@modelcontextprotocol/client/stdio'
import { Client as V1Client } from '@modelcontextprotocol/sdk/client/index.js'
import { SSEClientTransport as V1Sse } from '@modelcontextprotocol/sdk/client/sse.js'
import { StdioClientTransport as V1Stdio } from '@modelcontextprotocol/sdk/client/stdio.js'
import { StreamableHTTPClientTransport as V1Http } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js'

/** Where a client goes. `mint` gives each request of HTTP an assertion, as Pomerium adds one. */
export type Target =
  | { kind: 'http' | 'sse'; url: string; mint?: () => string }
  | { kind: 'stdio'; args: string[]; env: Record<string, string> }

const info = { name: 'matrix', version: '1' }
const answer = { action: 'accept' as const, content: { name: 'ann' } }

const fetchWith =
  (mint: (() => string) | undefined): typeof fetch =>
  (input, init) => {
    const headers = new Headers(init?.headers)
    if (mint) headers.set('x-pomerium-jwt-assertion', mint())
    return fetch(input, { ...init, headers })
  }
const spawned = ({ args, env }: Extract<Target, { kind: 'stdio' }>) => ({
  command: process.execPath,
  args,
  env,
  stderr: 'ignore' as const,
})

async function v1(target: Target): Promise<V1Client> {
  const client = new V1Client(info, { capabilities: { elicitation: {} } })
  client.setRequestHandler(ElicitRequestSchema, async () => answer)
  const transport =
    target.kind === 'stdio'
      ? new V1Stdio(spawned(target))
      : new { http: V1Http, sse: V1Sse }[target.kind](new URL(target.url), { fetch: fetchWith(target.mint) })
  await client.connect(transport as Parameters<V1Client['connect']>[0])
  return client
}

const v2 =
  (mode: 'legacy' | 'auto' | { pin: string }) =>
  async (target: Target): Promise<V2Client> => {
    const client = new V2Client(info, {
      capabilities: { elicitation: {} },
      versionNegotiation: { mode },
    })
    client.setRequestHandler('elicitation/create', async () => answer)
    const transport =
      target.kind === 'stdio'
        ? new V2Stdio(spawned(target))
        : new { http: V2Http, sse: V2Sse }[target.kind](new URL(target.url), {
            fetch: fetchWith(target.mint),
          })
    await client.connect(transport)
    return client
  }

export const MATRIX_CLIENTS: [name: string, connect: (target: Target) => Promise<V1Client | V2Client>][] = [
  ['v1', v1],
  ['v2 legacy', v2('legacy')],
  ['v2 auto', v2('auto')],
  ['v2 pinned', v2({ pin: '2026-07-28' })],
]

/** What one client sees of one server: what came, or how it failed. `connect` alone where it cannot speak to it at all. */
export type Seen = Record<string, unknown>

/** Hints of 2026-07-28 for caches: what is decided for one caller is private to them, whatever the server says. */
const CACHE = ['cacheScope', 'ttlMs']

/** Everything that the matrix compares, in order. @param asks whether the server can ask this client for something */
export async function look(
  connect: (target: Target) => Promise<V1Client | V2Client>,
  target: Target,
  asks: boolean,
): Promise<Seen> {
  const seen: Seen = {}
  let client: V1Client
  try {
    client = (await connect(target)) as V1Client
  } catch (error) {
    return { connect: (error as Error).name }
  }
  const step = async (name: string, does: () => Promise<unknown>) => {
    const late = new Promise((_, reject) => {
      setTimeout(() => reject(new Error('no answer')), 15_000).unref()
    })
    seen[name] = await Promise.race([does(), late]).then(plain, (error: Error & { code?: unknown }) => ({
      failed: error.message.slice(0, 200),
      code: error.code,
    }))
  }
  try {
    seen.server = client.getServerVersion()
    seen.capabilities = client.getServerCapabilities()
    await step('tools', () => client.listTools())
    await step('resources', () => client.listResources())
    await step('templates', () => client.listResourceTemplates())
    await step('prompts', () => client.listPrompts())
    await step('echo', () => client.callTool({ name: 'echo', arguments: { text: '日本 \u2028 😀' } }))
    await step('bad arguments', () => client.callTool({ name: 'echo', arguments: { text: 7 } }))
    await step('no such tool', () => client.callTool({ name: 'none', arguments: {} }))
    await step('read', () => client.readResource({ uri: 'test://note' }))
    await step('no such resource', () => client.readResource({ uri: 'test://none' }))
    await step('prompt', () => client.getPrompt({ name: 'greet', arguments: { name: 'ann' } }))
    if (asks) await step('ask', () => client.callTool({ name: 'ask', arguments: {} }))
    await step('delete', () => client.callTool({ name: 'delete_all', arguments: {} }))
    await step('after', () => client.callTool({ name: 'echo', arguments: { text: 'still here' } }))
  } finally {
    await client.close().catch(() => undefined)
  }
  return seen
}

const plain = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (key, item) => (CACHE.includes(key) ? undefined : item)) ?? 'null')
