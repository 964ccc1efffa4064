import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { NodeStreamableHTTPServerTransport, toNodeHandler } from '@modelcontextprotocol/node'
import {
  type CallToolResult,
  CLIENT_CAPABILITIES_META_KEY,
  classifyInboundRequest,
  createMcpHandler,
  createRequestStateCodec,
  type EventStore,
  fromJsonSchema,
  type InputRequests,
  type InputRequiredResult,
  inputRequired,
  isInitializeRequest,
  McpServer,
  ResourceTemplate,
  type ServerContext,
} from '@modelcontextprotocol/server'
import * as z from 'zod/v4'
import { ADDRESS_SCHEMA, DEFAULTS_SCHEMA, ENUMS_SCHEMA, NAME_SCHEMA, PNG, USER_SCHEMA, WAV } from './data.ts'
import { createTasks, registerTaskTools, TASKS } from './tasks.ts'

type Outcome = CallToolResult | InputRequiredResult
const text = (value: string): CallToolResult => ({ content: [{ type: 'text', text: value }] })
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const user = (content: object) => ({
  role: 'user' as const,
  content: content as { type: 'text'; text: string },
})
const NOTHING = z.object({})
const state = createRequestStateCodec<{ step: string }>({ key: crypto.getRandomValues(new Uint8Array(32)) })

/** Closes the SSE stream of a request that is still being worked on (2025-11-25, polling). */
type Door = {
  close: (session: string, request: string | number) => void
  changed: (kind: 'tools' | 'prompts') => void
}

/**
 * What the official conformance suite asks of a server under test, by the names its scenarios use.
 * Source: the server requirements that `conformance list` prints for each scenario.
 */
function build(door: Door): McpServer {
  const server = new McpServer(
    { name: 'conformance', version: '1.0.0' },
    {
      capabilities: {
        tools: { listChanged: true },
        prompts: { listChanged: true },
        resources: { listChanged: true, subscribe: true },
        logging: {},
        completions: {},
        extensions: { [TASKS]: {} },
      },
      requestState: { verify: state.verify },
    },
  )
  plainTools(server)
  talkingTools(server, door)
  inputTools(server)
  registerTaskTools(server)
  resources(server)
  prompts(server)
  const low = server.server
  low.setRequestHandler('resources/subscribe', () => ({}))
  low.setRequestHandler('resources/unsubscribe', () => ({}))
  low.setRequestHandler('logging/setLevel', () => ({}))
  low.setRequestHandler('completion/complete', () => ({
    completion: { values: ['paris', 'park', 'party'], total: 3, hasMore: false },
  }))
  return server
}

/** Tools that only answer. */
function plainTools(server: McpServer): void {
  const plain = (name: string, answer: () => CallToolResult) =>
    server.registerTool(name, { description: `answers as ${name} should`, inputSchema: NOTHING }, answer)
  plain('test_simple_text', () => text('This is a simple text response for testing.'))
  plain('test_streaming_elicitation', () => text('no request travels on this stream'))
  plain('test_image_content', () => ({ content: [{ type: 'image', data: PNG, mimeType: 'image/png' }] }))
  plain('test_audio_content', () => ({ content: [{ type: 'audio', data: WAV, mimeType: 'audio/wav' }] }))
  plain('test_embedded_resource', () => ({
    content: [
      {
        type: 'resource',
        resource: {
          uri: 'test://embedded-resource',
          mimeType: 'text/plain',
          text: 'This is an embedded resource content.',
        },
      },
    ],
  }))
  plain('test_multiple_content_types', () => ({
    content: [
      { type: 'text', text: 'Multiple content types test:' },
      { type: 'image', data: PNG, mimeType: 'image/png' },
      {
        type: 'resource',
        resource: {
          uri: 'test://mixed-content-resource',
          mimeType: 'application/json',
          text: JSON.stringify({ test: 'data', value: 123 }),
        },
      },
    ],
  }))
  plain('test_error_handling', () => {
    throw new Error('This tool intentionally returns an error for testing')
  })
  server.registerTool(
    'json_schema_2020_12_tool',
    { description: 'its schema uses the 2020-12 vocabulary', inputSchema: fromJsonSchema(ADDRESS_SCHEMA) },
    (args) => text(JSON.stringify(args)),
  )
  const region = { type: 'string', description: 'mirrored into a header', 'x-mcp-header': 'Region' }
  server.registerTool(
    'test_x_mcp_header',
    {
      description: 'one argument travels in Mcp-Param-Region',
      inputSchema: fromJsonSchema<{ region?: string }>({
        type: 'object',
        properties: { region, level: { type: 'integer' } },
      }),
    },
    (args) => text(`region=${args.region ?? 'none'}`),
  )
}

/** Tools that say something to the client, or ask it, before they answer. */
function talkingTools(server: McpServer, door: Door): void {
  const talking = <Shape extends z.ZodRawShape>(
    name: string,
    shape: Shape,
    answer: (args: z.infer<z.ZodObject<Shape>>, context: ServerContext) => Promise<CallToolResult>,
  ) =>
    server.registerTool(
      name,
      { description: `talks to the client as ${name} should`, inputSchema: z.object(shape) },
      // biome-ignore lint/suspicious/noExplicitAny: the SDK infers the arguments from the schema, a generic one hides them
      answer as any,
    )
  talking('test_tool_with_logging', {}, async (_, { mcpReq }) => {
    for (const data of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
      await mcpReq.notify({ method: 'notifications/message', params: { level: 'info', data } })
      await pause(50)
    }
    return text('logged three times')
  })
  // Logs only where the request asked for a level (2026-07-28).
  talking('test_logging_tool', {}, async (_, { mcpReq }) => {
    await mcpReq.log('info', 'a word from the tool')
    return text('logged where asked')
  })
  talking('test_tool_with_progress', {}, async (_, { mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken
    for (const progress of [0, 50, 100]) {
      const params = { progressToken: progressToken ?? '', progress, total: 100 }
      if (progressToken !== undefined) await mcpReq.notify({ method: 'notifications/progress', params })
      await pause(50)
    }
    return text(String(progressToken))
  })
  talking('test_reconnection', {}, async (_, context) => {
    if (context.sessionId !== undefined) door.close(context.sessionId, context.mcpReq.id)
    await pause(100)
    return text('the answer comes by another stream')
  })
  talking('test_sampling', { prompt: z.string() }, async ({ prompt }, { mcpReq }) => {
    const params = { messages: [user({ type: 'text', text: prompt })], maxTokens: 100 }
    const answer = (await mcpReq.send({ method: 'sampling/createMessage', params })) as {
      content?: { text?: string }
    }
    return text(`LLM response: ${answer.content?.text}`)
  })
  const elicit = async ({ mcpReq }: ServerContext, message: string, requestedSchema: object) => {
    const params = { message, requestedSchema } as Parameters<typeof mcpReq.elicitInput>[0]
    const { action, content } = (await mcpReq.send({ method: 'elicitation/create', params })) as {
      action: string
      content?: object
    }
    return `action=${action}, content=${JSON.stringify(content ?? {})}`
  }
  talking('test_elicitation', { message: z.string() }, async ({ message }, context) =>
    text(`User response: ${await elicit(context, message, USER_SCHEMA)}`),
  )
  talking('test_elicitation_sep1034_defaults', {}, async (_, context) =>
    text(`Elicitation completed: ${await elicit(context, 'Review the defaults', DEFAULTS_SCHEMA)}`),
  )
  talking('test_elicitation_sep1330_enums', {}, async (_, context) =>
    text(`Elicitation completed: ${await elicit(context, 'Choose', ENUMS_SCHEMA)}`),
  )
  talking('test_trigger_tool_change', {}, async () => {
    door.changed('tools')
    return text('said that the tools changed')
  })
  talking('test_trigger_prompt_change', {}, async () => {
    door.changed('prompts')
    return text('said that the prompts changed')
  })
}

const field = (type: 'string' | 'boolean') =>
  type === 'string' ? { type: 'string' as const } : { type: 'boolean' as const }

const ASK = {
  name: (message: string) => inputRequired.elicit({ message, requestedSchema: NAME_SCHEMA }),
  sample: (question: string, maxTokens: number) =>
    inputRequired.createMessage({ messages: [user({ type: 'text', text: question })], maxTokens }),
  other: (message: string, property: string, type: 'string' | 'boolean') =>
    inputRequired.elicit({
      message,
      requestedSchema: { type: 'object', properties: { [property]: field(type) }, required: [property] },
    }),
}

/** The content of an accepted elicitation, or undefined. */
function accepted({ mcpReq }: ServerContext, key: string): Record<string, unknown> | undefined {
  const response = mcpReq.inputResponses?.[key] as { action?: string; content?: unknown } | undefined
  const content = response?.action === 'accept' ? response.content : undefined
  return typeof content === 'object' && content !== null ? (content as Record<string, unknown>) : undefined
}

/** Tools of 2026-07-28 that answer `input_required` first. */
function inputTools(server: McpServer): void {
  const asking = (name: string, answer: (context: ServerContext) => Promise<Outcome>) =>
    server.registerTool(
      name,
      { description: `asks for input as ${name} should`, inputSchema: NOTHING },
      (_: object, context: ServerContext) => answer(context),
    )
  const mint = (step: string) => state.mint({ step })
  const stepOf = ({ mcpReq }: ServerContext) => mcpReq.requestState<{ step: string }>()?.step

  asking('test_missing_capability', async ({ mcpReq }) =>
    mcpReq.inputResponses?.answer === undefined
      ? inputRequired({ inputRequests: { answer: ASK.sample('Say pong', 16) } })
      : text('sampled'),
  )
  asking('test_input_required_result_elicitation', async (context) => {
    const name = accepted(context, 'user_name')?.name
    return typeof name === 'string'
      ? text(`Hello, ${name}!`)
      : inputRequired({ inputRequests: { user_name: ASK.name('What is your name?') } })
  })
  asking('test_input_required_result_sampling', async ({ mcpReq }) => {
    const answer = mcpReq.inputResponses?.capital_question as { content?: { text?: string } } | undefined
    return answer
      ? text(`The model said: ${answer.content?.text}`)
      : inputRequired({
          inputRequests: { capital_question: ASK.sample('What is the capital of France?', 100) },
        })
  })
  asking('test_input_required_result_list_roots', async ({ mcpReq }) => {
    const answer = mcpReq.inputResponses?.client_roots as { roots?: { uri: string }[] } | undefined
    return answer
      ? text(`Roots: ${answer.roots?.map((root) => root.uri).join(', ')}`)
      : inputRequired({ inputRequests: { client_roots: inputRequired.listRoots() } })
  })
  for (const name of ['request_state', 'tampered_state']) {
    asking(`test_input_required_result_${name}`, async (context) =>
      stepOf(context) === name && accepted(context, 'confirm')
        ? text('state-ok')
        : inputRequired({
            inputRequests: { confirm: ASK.other('Please confirm', 'ok', 'boolean') },
            requestState: await mint(name),
          }),
    )
  }
  asking('test_input_required_result_multiple_inputs', async (context) => {
    const { inputResponses = {} } = context.mcpReq
    const whole = ['user_name', 'greeting', 'client_roots'].every((key) => key in inputResponses)
    return whole && stepOf(context) === 'many'
      ? text('all three came')
      : inputRequired({
          inputRequests: {
            user_name: ASK.name('What is your name?'),
            greeting: ASK.sample('Generate a greeting', 50),
            client_roots: inputRequired.listRoots(),
          },
          requestState: await mint('many'),
        })
  })
  asking('test_input_required_result_multi_round', async (context) => {
    const step = stepOf(context)
    if (step === 'two' && accepted(context, 'step2')) return text('both rounds are done')
    if (step === 'one' && accepted(context, 'step1')) {
      const step2 = ASK.other('Step 2: What is your favorite color?', 'color', 'string')
      return inputRequired({ inputRequests: { step2 }, requestState: await mint('two') })
    }
    const step1 = ASK.name('Step 1: What is your name?')
    return inputRequired({ inputRequests: { step1 }, requestState: await mint('one') })
  })
  asking('test_input_required_result_capabilities', async ({ mcpReq }) => {
    const envelope = mcpReq.envelope as Record<string, unknown> | undefined
    const can = (envelope?.[CLIENT_CAPABILITIES_META_KEY] ?? {}) as Record<string, unknown>
    const inputRequests: InputRequests = {}
    if (can.elicitation) inputRequests.user_name = ASK.name('What is your name?')
    if (can.sampling) inputRequests.greeting = ASK.sample('Generate a greeting', 50)
    if (can.roots) inputRequests.client_roots = inputRequired.listRoots()
    if (mcpReq.inputResponses || Object.keys(inputRequests).length === 0)
      return text('nothing more is needed')
    return inputRequired({ inputRequests })
  })
}

function resources(server: McpServer): void {
  const fixed = (name: string, uri: string, mimeType: string, content: { text: string } | { blob: string }) =>
    server.registerResource(name, uri, { description: `the resource ${name}`, mimeType }, () => ({
      contents: [{ uri, mimeType, ...content }],
    }))
  const said = { text: 'This is the content of the static text resource.' }
  fixed('static-text', 'test://static-text', 'text/plain', said)
  fixed('static-binary', 'test://static-binary', 'image/png', { blob: PNG })
  fixed('watched', 'test://watched-resource', 'text/plain', { text: 'Watched resource content' })
  const template = new ResourceTemplate('test://template/{id}/data', { list: undefined })
  const mimeType = 'application/json'
  server.registerResource('template', template, { description: 'data by id', mimeType }, (uri, { id }) => {
    const data = JSON.stringify({ id, templateTest: true, data: `Data for ID: ${String(id)}` })
    return { contents: [{ uri: uri.href, mimeType, text: data }] }
  })
}

function prompts(server: McpServer): void {
  const says = (...contents: object[]) => ({ messages: contents.map(user) })
  server.registerPrompt('test_simple_prompt', { description: 'no arguments' }, () =>
    says({ type: 'text', text: 'This is a simple prompt for testing.' }),
  )
  server.registerPrompt(
    'test_prompt_with_arguments',
    { description: 'two arguments', argsSchema: z.object({ arg1: z.string(), arg2: z.string() }) },
    ({ arg1, arg2 }) => says({ type: 'text', text: `Prompt with arguments: arg1='${arg1}', arg2='${arg2}'` }),
  )
  server.registerPrompt(
    'test_prompt_with_embedded_resource',
    { description: 'embeds a resource', argsSchema: z.object({ resourceUri: z.string() }) },
    ({ resourceUri: uri }) =>
      says(
        {
          type: 'resource',
          resource: { uri, mimeType: 'text/plain', text: 'Embedded resource content for testing.' },
        },
        { type: 'text', text: 'Please process the embedded resource above.' },
      ),
  )
  server.registerPrompt('test_prompt_with_image', { description: 'shows an image' }, () =>
    says(
      { type: 'image', data: PNG, mimeType: 'image/png' },
      { type: 'text', text: 'Please analyze the image above.' },
    ),
  )
  server.registerPrompt('test_input_required_result_prompt', { description: 'asks first' }, (context) => {
    const given = accepted(context, 'user_context')?.context
    const question = 'What context should the prompt use?'
    if (typeof given === 'string') return says({ type: 'text', text: `Context: ${given}` })
    return inputRequired({ inputRequests: { user_context: ASK.other(question, 'context', 'string') } })
  })
}

/** Events of one session, by stream, so that a stream can go on after a break. */
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

/** Sets a header of a request that came, where the SDK's reader looks for it. */
function say({ headers, rawHeaders }: IncomingMessage, name: string, value: string): void {
  headers[name] = value
  const at = rawHeaders.findIndex((header, i) => i % 2 === 0 && header.toLowerCase() === name)
  if (at === -1) rawHeaders.push(name, value)
  else rawHeaders[at + 1] = value
}

/** One endpoint for both eras: sessions for the legacy one, single requests for the modern one. */
export async function startServer(port = 0): Promise<{ url: string; close: () => Promise<void> }> {
  const sessions = new Map<string, NodeStreamableHTTPServerTransport>()
  const versions = new Map<string, () => string | undefined>()
  const door: Door = {
    close: (session, request) => sessions.get(session)?.closeSSEStream(request),
    changed: (kind) => (kind === 'tools' ? modern.notify.toolsChanged() : modern.notify.promptsChanged()),
  }
  const modern = createMcpHandler(() => build(door))
  const modernHandler = toNodeHandler(modern)
  const tasks = createTasks()

  async function legacy(request: IncomingMessage, response: ServerResponse, body: unknown): Promise<void> {
    const id = request.headers['mcp-session-id']
    const known = typeof id === 'string' ? sessions.get(id) : undefined
    if (known) {
      // A session keeps the revision that its handshake agreed on, whatever a later request says or leaves out.
      const version = versions.get(String(id))?.()
      if (version !== undefined) say(request, 'mcp-protocol-version', version)
      return known.handleRequest(request, response, body)
    }
    if (id !== undefined || !isInitializeRequest(body)) {
      response.writeHead(id === undefined ? 400 : 404, { 'content-type': 'application/json' })
      const error = { code: -32000, message: id === undefined ? 'no session' : 'unknown session' }
      response.end(JSON.stringify({ jsonrpc: '2.0', id: null, error }))
      return
    }
    const server = build(door)
    const transport = new NodeStreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      eventStore: createEvents(),
      retryInterval: 1000,
      onsessioninitialized: (session) => {
        sessions.set(session, transport)
        versions.set(session, () => server.server.getNegotiatedProtocolVersion())
      },
    })
    transport.onclose = () => void sessions.delete(transport.sessionId ?? '')
    await server.connect(transport)
    return transport.handleRequest(request, response, body)
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { host = '', origin } = request.headers
    const local = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/
    if (!local.test(host) || (origin !== undefined && !local.test(origin.replace(/^https?:\/\//, '')))) {
      response.writeHead(403).end()
      return
    }
    if (request.url !== '/mcp') {
      response.writeHead(404).end()
      return
    }
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    let body: unknown
    try {
      if (chunks.length > 0) body = JSON.parse(Buffer.concat(chunks).toString())
    } catch {
      response.writeHead(400).end()
      return
    }
    const version = request.headers['mcp-protocol-version']
    const method = request.headers['mcp-method']
    const inbound = classifyInboundRequest({
      httpMethod: request.method ?? '',
      ...(typeof version === 'string' && { protocolVersionHeader: version }),
      ...(typeof method === 'string' && { mcpMethodHeader: method }),
      body,
    })
    if (inbound.kind === 'modern' && tasks(request, response, body as Record<string, unknown>)) return
    await (request.method === 'POST' && inbound.kind !== 'legacy'
      ? modernHandler(request as Parameters<typeof modernHandler>[0], response, body)
      : legacy(request, response, body))
  }

  const server = createServer((request, response) => {
    serve(request, response).catch(() => response.headersSent || response.writeHead(500).end())
  })
  server.requestTimeout = 0
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    close: async () => {
      for (const session of sessions.values()) await session.close()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
