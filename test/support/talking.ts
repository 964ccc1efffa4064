import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { toNodeHandler } from '@modelcontextprotocol/node'
import { createMcpHandler, type McpServer, type ServerContext } from '@modelcontextprotocol/server'
import * as z from 'zod/v4'
import { createStage } from './v1-server.ts'
import { buildV2Server } from './v2-server.ts'

let cancelled = 0
/** Calls of `steps` that have said all and wait to be let go. */
const walking: (() => void)[] = []
const text = (value: string) => ({ content: [{ type: 'text' as const, text: value }] })

/** Tools that say something before they answer, and that are cancelled. @param change tells that the list of tools has */
export function addTalking(server: McpServer, change = () => server.sendToolListChanged()): McpServer {
  const tool = (name: string, does: (context: ServerContext) => Promise<string>) =>
    server.registerTool(name, { description: name, inputSchema: z.object({}) }, async (_, context) =>
      text(await does(context)),
    )
  tool('hang', async ({ mcpReq }) => {
    await new Promise<void>((resolve) =>
      mcpReq.signal.addEventListener('abort', () => resolve(), { once: true }),
    )
    cancelled++
    return 'was cancelled'
  })
  tool('cancelled', async () => String(cancelled))
  tool('steps', async ({ mcpReq }) => {
    const { progressToken } = mcpReq._meta ?? {}
    for (const progress of [1, 2, 3]) {
      const params = { progressToken: progressToken ?? '', progress, total: 3 }
      if (progressToken !== undefined) await mcpReq.notify({ method: 'notifications/progress', params })
      await mcpReq.log('info', `step ${progress}`)
    }
    await new Promise<void>((resolve) => void walking.push(resolve))
    return 'walked'
  })
  tool('arrive', async () => {
    for (const arrive of walking.splice(0)) arrive()
    return 'arrived'
  })
  tool('change', async () => {
    change()
    return 'changed'
  })
  tool('pid', async () => String(process.pid))
  return server
}

/** The same over HTTP, in 2026-07-28, each request for itself. */
export async function startTalkingServer(): Promise<{ url: string; close: () => Promise<void> }> {
  const handler = createMcpHandler(() =>
    addTalking(buildV2Server(createStage()), () => handler.notify.toolsChanged()),
  )
  const serve = toNodeHandler(handler)
  const http = createServer(
    (request, response) => void serve(request as Parameters<typeof serve>[0], response),
  )
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`,
    async close() {
      http.closeAllConnections()
      await new Promise((resolve) => http.close(resolve))
    },
  }
}
