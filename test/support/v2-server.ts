import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { NodeStreamableHTTPServerTransport, toNodeHandler } from '@modelcontextprotocol/node'
import {
  classifyInboundRequest,
  createMcpHandler,
  inputRequired,
  McpServer,
  type ServerContext,
} from '@modelcontextprotocol/server'
import * as z from 'zod/v4'
import { ASKS, createStage, type Stage, type TestServer } from './v1-server.ts'

const text = (value: string) => ({ content: [{ type: 'text' as const, text: value }] })
/** A server of the second SDK generation with the tools that one of the first has in tests, as far as they make sense. */
export function buildV2Server(stage: Stage): McpServer {
  const server = new McpServer({ name: 'v2', version: '1.0.0' }, { capabilities: { logging: {} } })
  const echo = { description: 'says it again', inputSchema: z.object({ text: z.string() }) }
  server.registerTool('echo', echo, ({ text: said }) => {
    stage.ran.push('echo')
    return text(said)
  })
  const nothing = z.object({})
  server.registerTool('delete_all', { description: 'never mind', inputSchema: nothing }, () => {
    stage.ran.push('delete_all')
    return text('all is gone')
  })
  server.registerTool(
    'ask',
    { description: 'asks first', inputSchema: nothing },
    async (_args, context: ServerContext) => {
      const { mcpReq } = context
      if (mcpReq.envelope === undefined) {
        const params = ASKS as Parameters<typeof mcpReq.elicitInput>[0]
        const answer = await mcpReq.send({ method: 'elicitation/create', params })
        return text(JSON.stringify(answer))
      }
      const given = mcpReq.inputResponses?.who
      return given === undefined
        ? inputRequired({ inputRequests: { who: inputRequired.elicit(ASKS) } })
        : text(JSON.stringify(given))
    },
  )
  server.registerResource('note', 'test://note', {}, (uri) => ({
    contents: [{ uri: uri.href, text: 'a note' }],
  }))
  server.registerPrompt('greet', { argsSchema: z.object({ name: z.string() }) }, ({ name }) => ({
    messages: [{ role: 'user', content: { type: 'text', text: `greet ${name}` } }],
  }))
  return server
}

/** Both eras on one endpoint: the legacy one with sessions, or each request for itself. */
export async function startV2Server(sessionful: boolean): Promise<TestServer> {
  const stage = createStage()
  const sessions = new Map<string, NodeStreamableHTTPServerTransport>()
  const handler = toNodeHandler(createMcpHandler(() => buildV2Server(stage)))

  const inSession = async (request: IncomingMessage, response: ServerResponse, body: unknown) => {
    const known = sessions.get(String(request.headers['mcp-session-id'] ?? ''))
    if (known) return known.handleRequest(request, response, body)
    if (request.headers['mcp-session-id'] !== undefined) return void response.writeHead(404).end()
    const transport = new NodeStreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (session) => void sessions.set(session, transport),
    })
    transport.onclose = () => void sessions.delete(transport.sessionId ?? '')
    await buildV2Server(stage).connect(transport)
    return transport.handleRequest(request, response, body)
  }

  const http = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const body = chunks.length > 0 ? JSON.parse(Buffer.concat(chunks).toString()) : undefined
    const header = (name: string) => {
      const value = request.headers[name]
      return typeof value === 'string' ? value : undefined
    }
    const [version, method] = [header('mcp-protocol-version'), header('mcp-method')]
    const { kind } = classifyInboundRequest({
      httpMethod: request.method ?? '',
      ...(version !== undefined && { protocolVersionHeader: version }),
      ...(method !== undefined && { mcpMethodHeader: method }),
      body,
    })
    if (sessionful && kind === 'legacy') await inSession(request, response, body)
    else await handler(request as Parameters<typeof handler>[0], response, body)
  })
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`,
    stage,
    async close() {
      stage.release()
      for (const session of sessions.values()) await session.close()
      http.closeAllConnections()
      await new Promise((resolve) => http.close(resolve))
    },
  }
}
