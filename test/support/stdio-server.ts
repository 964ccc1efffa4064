// An MCP server over stdio: `node stdio-server.ts v1|v2|dual`; `dual` knows 2026-07-28, too.
import { StdioServerTransport as V1Transport } from '@modelcontextprotocol/sdk/server/stdio.js'
import { serveStdio, StdioServerTransport as V2Transport } from '@modelcontextprotocol/server/stdio'
import { addTalking } from './talking.ts'
import { buildV1Server, createStage } from './v1-server.ts'
import { buildV2Server } from './v2-server.ts'

const [, , generation] = process.argv
const stage = createStage()
if (generation === 'v1') await buildV1Server(stage).connect(new V1Transport())
else if (generation === 'dual') serveStdio(() => addTalking(buildV2Server(stage)))
else await buildV2Server(stage).connect(new V2Transport())
