// An MCP server over stdio: `node stdio-server.ts v1|v2`.
import { StdioServerTransport as V1Transport } from '@modelcontextprotocol/sdk/server/stdio.js'
import { StdioServerTransport as V2Transport } from '@modelcontextprotocol/server/stdio'
import { buildV1Server, createStage } from './v1-server.ts'
import { buildV2Server } from './v2-server.ts'

if (process.argv[2] === 'v1') await buildV1Server(createStage()).connect(new V1Transport())
else await buildV2Server(createStage()).connect(new V2Transport())
