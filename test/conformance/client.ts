// A real client for the suite's client scenarios: `node client.ts [--through] URL`. With `--through` a sidecar that
// allows everything stands between it and the suite's server.
import { Client, type PriorDiscovery, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { startAllowAll } from './suite.ts'

const { MCP_CONFORMANCE_SCENARIO: scenario = '', MCP_CONFORMANCE_CONTEXT: context = '{}' } = process.env
const version = process.env.MCP_CONFORMANCE_PROTOCOL_VERSION
/** Servers of these know no `server/discover`: the client is told what it would have answered. */
const UNDISCOVERED = ['http-standard-headers', 'http-custom-headers', 'http-invalid-tool-headers']
const PRIOR: PriorDiscovery = {
  kind: 'modern',
  discover: {
    supportedVersions: ['2026-07-28'],
    capabilities: { tools: {}, resources: {}, prompts: {} },
    ttlMs: 0,
    cacheScope: 'private',
  } as never,
}

async function drive(url: string): Promise<void> {
  const defaults = scenario === 'elicitation-sep1034-client-defaults'
  const asks = defaults || scenario === 'sep-2322-client-request-state' || scenario === 'request-metadata'
  const client = new Client(
    { name: 'conformance-client', version: '1.0.0' },
    {
      capabilities: asks ? { elicitation: defaults ? { form: { applyDefaults: true } } : {} } : {},
      versionNegotiation: { mode: version === '2026-07-28' ? 'auto' : 'legacy' },
    },
  )
  if (asks) {
    const content: Record<string, boolean> = defaults ? {} : { confirmed: true }
    client.setRequestHandler('elicitation/create', async () => ({ action: 'accept' as const, content }))
  }
  const undiscovered = UNDISCOVERED.includes(scenario) || scenario === 'sep-2322-client-request-state'
  await client.connect(new StreamableHTTPClientTransport(new URL(url)), undiscovered ? { prior: PRIOR } : {})
  try {
    await use(client)
  } finally {
    await client.close()
  }
}

/** What the scenario's server offers, used once each; what else a scenario asks for is in its context. */
async function use(client: Client): Promise<void> {
  if (scenario === 'initialize' || scenario === 'request-metadata') return
  const call = (name: string, args: Record<string, unknown> = {}) =>
    client.callTool({ name, arguments: args })
  if (scenario === 'sep-2322-client-request-state') {
    await call('test_mrtr_echo_state')
    await call('test_mrtr_no_state')
    await call('test_mrtr_unrelated')
    // A result without its type is no result of this revision: the client has to refuse it.
    await call('test_mrtr_no_result_type').catch(() => undefined)
    return
  }
  const { tools } = await client.listTools()
  const tool = (name: string) => tools.find((one) => one.name === name)
  switch (scenario) {
    case 'tools_call':
      await call('add_numbers', { a: 5, b: 3 })
      break
    case 'elicitation-sep1034-client-defaults':
    case 'sse-retry':
      for (const { name } of tools) await call(name)
      break
    case 'http-standard-headers': {
      await call(tools[0]?.name ?? '')
      const { resources } = await client.listResources()
      await client.readResource({ uri: resources[0]?.uri ?? '' })
      const { prompts } = await client.listPrompts()
      await client.getPrompt({ name: prompts[0]?.name ?? '', arguments: {} })
      break
    }
    case 'http-custom-headers': {
      const { toolCalls } = JSON.parse(context) as {
        toolCalls: { name: string; arguments: Record<string, unknown> }[]
      }
      for (const one of toolCalls) await call(one.name, one.arguments)
      break
    }
    case 'http-invalid-tool-headers':
      for (const { name } of tools) await call(name, { region: 'us-west1' }).catch(() => undefined)
      break
    case 'json-schema-2020-12-preservation':
      await call('json_schema_echo', { schema: tool('json_schema_2020_12_tool')?.inputSchema })
      break
  }
}

const url = process.argv.at(-1) ?? ''
if (process.argv[2] === '--through') {
  const sidecar = await startAllowAll(url)
  try {
    await drive(sidecar.url)
  } finally {
    await sidecar.stop()
  }
} else await drive(url)
