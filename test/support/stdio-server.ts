// An MCP server over stdio: `node stdio-server.ts v1|v2`.

import { StdioServerTransport as V1Transport } from '@modelcontextprotocol/sdk/server/stdio.js'
import { McpServer as V2Server } from '@modelcontextprotocol/server'
import { StdioServerTransport as V2Transport } from '@modelcontextprotocol/server/stdio'
import * as z from 'zod/v4'
import { buildV1Server, createStage } from './v1-server.ts'

if (process.argv[2] === 'v1') await buildV1Server(createStage()).connect(new V1Transport())
else {
  const server = new V2Server({ name: 'v2', version: '1.0.0' })
  const say = (text: string) => ({ content: [{ type: 'text' as const, text }] })
  server.registerTool(
    'echo',
    { description: 'says it again', inputSchema: z.object({ text: z.string() }) },
    ({ text }) => say(text),
  )
  server.registerTool('delete_all', { description: 'never mind', inputSchema: z.object({}) }, () =>
    say('all is gone'),
  )
  await server.connect(new V2Transport())
}
