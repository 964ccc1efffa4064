import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { Parsed } from './raw.ts'

/** One request as the upstream saw it. */
export type Recorded = {
  method: string
  path: string
  /** as they came, names in lower case */
  headers: [name: string, value: string][]
  header: (name: string) => string | undefined
  body: string
  /** the body as JSON; undefined where it is none */
  json: Parsed
  /** which connection it came on, from 1 */
  connection: number
}

/** What to answer: `undefined` is the default answer, text and bytes go out as they are, `null` is nothing at all. */
export type Reply = string | Buffer | null | undefined
export type Responder = (request: Recorded, socket: Socket) => Reply | Promise<Reply>

export type Recorder = {
  url: string
  port: number
  /** everything that came since the start or the last `reset` */
  bytes: () => number
  raw: () => string
  requests: () => Recorded[]
  connections: () => number
  /** sets the responder; without one the default answers */
  respond: (responder?: Responder) => void
  /** forgets what came and the responder */
  reset: () => void
  close: () => Promise<void>
}

/**
 * An MCP server that believes nothing and keeps every byte. It reads HTTP by itself, so that no parser that the
 * sidecar uses too decides what it saw.
 */
export async function startRecorder(responder?: Responder): Promise<Recorder> {
  let answer = responder
  let total: Buffer[] = []
  let requests: Recorded[] = []
  let opened = 0
  const sockets = new Set<Socket>()

  const server = createServer((socket) => {
    const connection = ++opened
    let rest: Buffer = Buffer.alloc(0)
    let turn = Promise.resolve()
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => undefined)
    socket.on('data', (chunk: Buffer) => {
      total.push(chunk)
      rest = Buffer.concat([rest, chunk])
      for (let one = readRequest(rest, connection); one; one = readRequest(rest, connection)) {
        const { request } = one
        rest = one.rest
        requests.push(request)
        turn = turn.then(async () => {
          const reply = await answer?.(request, socket)
          if (reply === null || socket.destroyed) return
          socket.write(reply === undefined ? defaultAnswer(request) : reply)
        })
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}/mcp`,
    port,
    bytes: () => total.reduce((sum, part) => sum + part.length, 0),
    raw: () => Buffer.concat(total).toString('latin1'),
    requests: () => requests,
    connections: () => opened,
    respond: (next) => {
      answer = next
    },
    reset() {
      total = []
      requests = []
      answer = undefined
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

/** An HTTP answer; `headers` replace those that it would have, `undefined` leaves one out. */
export function httpAnswer(
  status: number,
  body: string | Buffer | object = '',
  headers: Record<string, string | string[] | undefined> = {},
): Buffer {
  const bytes = Buffer.isBuffer(body)
    ? body
    : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
  const all = { 'content-type': 'application/json', 'content-length': String(bytes.length), ...headers }
  const lines = Object.entries(all).flatMap(([name, value]) =>
    (value === undefined ? [] : [value].flat()).map((one) => `${name}: ${one}`),
  )
  const head = `HTTP/1.1 ${status} Status\r\n${lines.join('\r\n')}\r\n\r\n`
  return Buffer.concat([Buffer.from(head, 'latin1'), bytes])
}

/** The head of an event stream that ends with its connection. */
export const sseHead = (headers = ''): string =>
  `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n${headers}connection: close\r\n\r\n`
export const sseFrame = (message: object | string): string =>
  `event: message\ndata: ${typeof message === 'string' ? message : JSON.stringify(message)}\n\n`

export const rpcResult = (id: unknown, result: object): object => ({ jsonrpc: '2.0', id, result })

export const UPSTREAM_SESSION = 'upstream-session-1'
/** What the default answer to tools/list names. */
export const TOOLS = [
  'get_me',
  'issue_read',
  'merge_pull_request',
  'create_pull_request',
  'delete_repository',
]

/** A server of 2025-11-25 without sessions, that has these tools and says the same to each call. */
export const serving =
  (tools: object[], said: string): Responder =>
  ({ json }) => {
    if (json?.id === undefined) return httpAnswer(202)
    const results: Record<string, object> = {
      initialize: {
        protocolVersion: '2025-11-25',
        capabilities: { tools: {} },
        serverInfo: { name: 's', version: '1' },
      },
      'tools/list': { tools },
      'tools/call': { content: [{ type: 'text', text: said }] },
    }
    return httpAnswer(200, rpcResult(json.id, results[json.method] ?? {}))
  }

/** What an ordinary MCP server says. */
export function defaultAnswer(request: Recorded): Buffer {
  if (request.method === 'GET') return httpAnswer(405)
  if (request.method === 'DELETE') return httpAnswer(200)
  const { id, method, params } = request.json ?? {}
  if (id === undefined) return httpAnswer(202)
  switch (method) {
    case 'initialize': {
      const result = {
        protocolVersion: params?.protocolVersion,
        capabilities: { tools: { listChanged: true } },
        serverInfo: { name: 'recorder', version: '1.0.0' },
      }
      return httpAnswer(200, rpcResult(id, result), { 'mcp-session-id': UPSTREAM_SESSION })
    }
    case 'tools/list': {
      const tools = TOOLS.map((name) => ({ name, description: name, inputSchema: { type: 'object' } }))
      return httpAnswer(200, rpcResult(id, { tools }))
    }
    case 'tools/call':
      return httpAnswer(200, rpcResult(id, { content: [{ type: 'text', text: `called ${params?.name}` }] }))
    default:
      return httpAnswer(200, rpcResult(id, {}))
  }
}

function readRequest(raw: Buffer, connection: number): { request: Recorded; rest: Buffer } | undefined {
  const end = raw.indexOf('\r\n\r\n')
  if (end < 0) return undefined
  const [first = '', ...lines] = raw.subarray(0, end).toString('latin1').split('\r\n')
  const [method = '', path = ''] = first.split(' ')
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(':')
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
  })
  const header = (name: string) => headers.find(([key]) => key === name)?.[1]
  const size = Number(header('content-length') ?? 0)
  const after = raw.subarray(end + 4)
  if (after.length < size) return undefined
  const body = after.subarray(0, size).toString('utf8')
  let json: unknown
  try {
    json = JSON.parse(body)
  } catch {
    json = undefined
  }
  const request = { method, path, headers, header, body, json, connection }
  return { request, rest: Buffer.from(after.subarray(size)) }
}
