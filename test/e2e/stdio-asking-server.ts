// An MCP server over stdio whose tools ask the client for something, for tests.
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js'

const server = new McpServer({ name: 'asking', version: '1.0.0' })
const said = (value: unknown) => ({ content: [{ type: 'text' as const, text: JSON.stringify(value) }] })
const tried = async (asking: () => Promise<unknown>) => {
  try {
    return said(await asking())
  } catch (error) {
    return said({ refused: (error as Error).message })
  }
}
const ask = (text: string) => [{ role: 'user' as const, content: { type: 'text' as const, text } }]
const requestedSchema = {
  type: 'object' as const,
  properties: { word: { type: 'string' as const } },
  required: ['word'],
}
for (const [name, text] of [
  ['sample', 'a word, please'],
  ['sample_forbidden', 'forbidden'],
] as const)
  server.registerTool(name, {}, () =>
    tried(() => server.server.createMessage({ messages: ask(text), maxTokens: 5 })),
  )
server.registerTool('elicit', {}, () =>
  tried(() => server.server.elicitInput({ message: 'A word?', requestedSchema })),
)
server.registerTool('roots', {}, () => tried(() => server.server.listRoots()))
await server.connect(new StdioServerTransport())
