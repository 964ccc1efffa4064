import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js'
import {
  type EventStore,
  StreamableHTTPServerTransport,
} from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import { ElicitResultSchema } from '@modelcontextprotocol/sdk/types.js'
import * as z from 'zod/v4'

/** What `ask` asks of the client. */
export const ASKS = {
  message: 'Who are you?',
  requestedSchema: {
    type: 'object' as const,
    properties: { name: { type: 'string' as const } },
    required: ['name'],
  },
}

/** What the tools of a server in a test wait for, and what they were called with. */
export type Stage = {
  /** names of the tools that ran, in order */
  ran: string[]
  /** `wait` answers once it is released */
  release: () => void
  released: Promise<void>
}
export function createStage(): Stage {
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  return { ran: [], released, release }
}

const text = (value: string) => ({ content: [{ type: 'text' as const, text: value }] })

/**
 * A server of the first SDK generation. Its tools: `echo`, `delete_all`, `wait`, which says so first, `announce`, which speaks on the stream of the
 * session, and `poll`, which ends its own stream.
 */
export function buildV1Server(stage: Stage): McpServer {
  const server = new McpServer({ name: 'v1', version: '1.0.0' }, { capabilities: { logging: {} } })
  const ran = (name: string) => void stage.ran.push(name)
  server.registerTool('echo', { description: 'says it again', inputSchema: { text: z.string() } }, (args) => {
    ran('echo')
    return text(args.text)
  })
  server.registerTool('delete_all', { description: 'never mind', inputSchema: {} }, () => {
    ran('delete_all')
    return text('all is gone')
  })
  server.registerTool(
    'wait',
    { description: 'answers when it may', inputSchema: {} },
    async (_args, extra) => {
      ran('wait')
      await extra.sendNotification({
        method: 'notifications/message',
        params: { level: 'info', data: 'on it' },
      })
      await stage.released
      return text('waited')
    },
  )
  server.registerTool(
    'poll',
    { description: 'ends its stream first', inputSchema: {} },
    async (_args, extra) => {
      ran('poll')
      extra.closeSSEStream?.()
      await stage.released
      return text('polled')
    },
  )
  server.registerTool('announce', { description: 'speaks of its own accord', inputSchema: {} }, async () => {
    ran('announce')
    await server.server.sendLoggingMessage({ level: 'info', data: 'hear, hear' })
    return text('announced')
  })
  server.registerTool('ask', { description: 'asks first', inputSchema: {} }, async (_args, extra) => {
    const answer = await extra.sendRequest({ method: 'elicitation/create', params: ASKS }, ElicitResultSchema)
    return text(JSON.stringify(answer))
  })
  server.registerResource('note', 'test://note', {}, (uri) => ({
    contents: [{ uri: uri.href, text: 'a note' }],
  }))
  server.registerPrompt('greet', { argsSchema: { name: z.string() } }, ({ name }) => ({
    messages: [{ role: 'user', content: { type: 'text', text: `greet ${name}` } }],
  }))
  return server
}

function createEvents(): EventStore {
  const events: { id: string; stream: string; message: object }[] = []
  return {
    async storeEvent(stream, message) {
      const id = `${stream}/${events.length}`
      events.push({ id, stream, message })
      return id
    },
    async replayEventsAfter(last, { send }) {
      const at = events.findIndex((event) => event.id === last)
      const stream = events[at]?.stream
      if (stream === undefined) throw new Error('unknown event id')
      // An empty message is the priming event of a stream and is nothing to say again.
      for (const event of events.slice(at + 1))
        if (event.stream === stream && Object.keys(event.message).length > 0)
          await send(event.id, event.message as never)
      return stream
    },
  }
}

export type TestServer = { url: string; stage: Stage; close: () => Promise<void> }

/** Streamable HTTP with sessions, whose streams can be resumed. */
export async function startV1Server(): Promise<TestServer> {
  const stage = createStage()
  const sessions = new Map<string, StreamableHTTPServerTransport>()
  const http = createServer(async (request, response) => {
    const id = String(request.headers['mcp-session-id'] ?? '')
    const known = sessions.get(id)
    if (known) return known.handleRequest(request, response)
    if (id !== '') return void response.writeHead(404).end()
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      eventStore: createEvents(),
      retryInterval: 200,
      onsessioninitialized: (session) => void sessions.set(session, transport),
    })
    transport.onclose = () => void sessions.delete(transport.sessionId ?? '')
    await buildV1Server(stage).connect(transport as Parameters<McpServer['connect']>[0])
    return transport.handleRequest(request, response)
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

/** HTTP with SSE (2024-11-05): the stream at `/sse`, messages to `/messages`. */
export async function startV1SseServer(): Promise<TestServer> {
  const stage = createStage()
  const sessions = new Map<string, SSEServerTransport>()
  const http = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://x')
    if (request.method === 'GET' && pathname === '/sse') {
      const transport = new SSEServerTransport('/messages', response)
      sessions.set(transport.sessionId, transport)
      transport.onclose = () => void sessions.delete(transport.sessionId)
      return void (await buildV1Server(stage).connect(transport))
    }
    const known = sessions.get(searchParams.get('sessionId') ?? '')
    if (request.method !== 'POST' || pathname !== '/messages' || !known)
      return void response.writeHead(404).end()
    await known.handlePostMessage(request, response)
  })
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/sse`,
    stage,
    async close() {
      stage.release()
      for (const session of sessions.values()) await session.close()
      http.closeAllConnections()
      await new Promise((resolve) => http.close(resolve))
    },
  }
}
