// An MCP server in the shape of GitHub's, for demonstrations and tests: both eras on one URL, sessions for the
// legacy one, on loopback only. It asks for no token; it notes whether one came.
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  localhostHostValidation,
  localhostOriginValidation,
  type NodeIncomingMessageLike,
  toNodeHandler,
} from '@modelcontextprotocol/node'
import {
  type CallToolResult,
  createMcpHandler,
  fromJsonSchema,
  isLegacyRequest,
  type JsonSchemaType,
  ProtocolError,
  ResourceNotFoundError,
  Server,
  type ServerContext,
  WebStandardStreamableHTTPServerTransport,
} from '@modelcontextprotocol/server'
import { contents } from './contents.ts'
import { Refusal } from './git.ts'
import { issues } from './issues.ts'
import { createRepository, type Repository } from './repository.ts'

/** One tools/call as it arrived, before anything was checked. */
export type Call = { tool: string; arguments: Record<string, unknown>; authorization: boolean }
export type DemoServer = { url: string; repository: Repository; calls: Call[]; close: () => Promise<void> }

const INVALID_PARAMS = -32602
const tools = new Map(
  [...contents, ...issues].map(({ definition, run }) => {
    const { validate } = fromJsonSchema(definition.inputSchema as JsonSchemaType)['~standard']
    return [definition.name, { definition, run, validate }]
  }),
)

const prompt = {
  name: 'issue_to_fix',
  description: 'From an issue to a pull request that fixes it',
  arguments: [{ name: 'issue_number', description: 'Number of the issue in acme/app', required: true }],
}
const contentsUri = 'repo://acme/app/contents/'
const readme = { uri: `${contentsUri}README.md`, name: 'README.md', mimeType: 'text/plain' }
const template = { uriTemplate: `${contentsUri}{+path}`, name: 'contents', description: 'A file on main' }

const failed = (text: string): CallToolResult => ({ content: [{ type: 'text', text }], isError: true })

export const startDemoServer = async ({ port = 0 }: { port?: number } = {}): Promise<DemoServer> => {
  const repository = createRepository()
  const calls: Call[] = []

  const call = async (name: string, args: Record<string, unknown>, context: ServerContext) => {
    const authorization = context.http?.req?.headers.has('authorization') ?? false
    calls.push({ tool: name, arguments: args, authorization })
    const tool = tools.get(name)
    if (!tool) throw new ProtocolError(INVALID_PARAMS, `Unknown tool: ${name}`)
    const checked = await tool.validate(args)
    if (checked.issues)
      return failed(`invalid arguments: ${checked.issues.map((one) => one.message).join('; ')}`)
    try {
      return tool.run(repository, args)
    } catch (error) {
      if (error instanceof Refusal)
        return failed(`failed to ${name.replaceAll('_', ' ')}: ${error.status} ${error.message}`)
      throw error
    }
  }

  const read = (uri: string) => {
    const text = uri.startsWith(contentsUri) && repository.files().get(uri.slice(contentsUri.length))
    if (typeof text !== 'string') throw new ResourceNotFoundError(uri)
    return { contents: [{ uri, mimeType: 'text/plain', text }] }
  }

  const createMcp = () => {
    const capabilities = { tools: {}, prompts: {}, resources: {} }
    const mcp = new Server({ name: 'github-mcp-server', version: '0.12.1-demo' }, { capabilities })
    mcp.setRequestHandler('tools/list', () => ({
      tools: [...tools.values()].map(({ definition }) => definition),
    }))
    mcp.setRequestHandler('tools/call', ({ params }, context) =>
      call(params.name, params.arguments ?? {}, context),
    )
    mcp.setRequestHandler('prompts/list', () => ({ prompts: [prompt] }))
    mcp.setRequestHandler('prompts/get', ({ params }) => {
      if (params.name !== prompt.name)
        throw new ProtocolError(INVALID_PARAMS, `Unknown prompt: ${params.name}`)
      const text = `Read issue ${params.arguments?.issue_number} of acme/app, fix it on a branch and open a pull request.`
      return { messages: [{ role: 'user', content: { type: 'text', text } }] }
    })
    mcp.setRequestHandler('resources/list', () => ({ resources: [readme] }))
    mcp.setRequestHandler('resources/templates/list', () => ({ resourceTemplates: [template] }))
    mcp.setRequestHandler('resources/read', ({ params }) => read(params.uri))
    return mcp
  }

  const modern = createMcpHandler(createMcp, { legacy: 'reject' })
  const sessions = new Map<string, WebStandardStreamableHTTPServerTransport>()

  const legacy = async (request: Request): Promise<Response> => {
    const id = request.headers.get('mcp-session-id')
    if (id !== null) {
      const error = { code: -32001, message: 'Session not found' }
      return (
        sessions.get(id)?.handleRequest(request) ??
        Response.json({ jsonrpc: '2.0', error, id: null }, { status: 404 })
      )
    }
    const transport = new WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      onsessioninitialized: (made) => void sessions.set(made, transport),
      onsessionclosed: (made) => void sessions.delete(made),
    })
    await createMcp().connect(transport)
    return transport.handleRequest(request)
  }

  const hostIsLocal = localhostHostValidation()
  const originIsLocal = localhostOriginValidation()
  const handle = toNodeHandler({
    fetch: async (request) => ((await isLegacyRequest(request)) ? legacy(request) : modern.fetch(request)),
  })
  const http = createServer((req, res) => {
    if (!hostIsLocal(req, res) || !originIsLocal(req, res)) return
    if (req.url === '/mcp') return void handle(req as NodeIncomingMessageLike, res)
    res.writeHead(404).end()
  })
  await new Promise<void>((resolve, reject) => http.once('error', reject).listen(port, '127.0.0.1', resolve))

  return {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`,
    repository,
    calls,
    close: async () => {
      await Promise.all([...sessions.values()].map((transport) => transport.close()))
      await modern.close()
      const closed = new Promise((resolve) => http.close(resolve))
      http.closeAllConnections()
      await closed
    },
  }
}

if (import.meta.main) {
  const { url } = await startDemoServer({ port: Number(process.env.PORT ?? 0) })
  console.log(url)
  // The first process of a container hears only the signals that it asks for.
  process.once('SIGTERM', () => process.exit(0))
}
