import { spawn } from 'node:child_process'
import { request } from 'undici'
import { createFrameReader } from '../mcp/sse.ts'
import { isObject, type Json, type JsonObject, parseStrict } from '../mcp/strict-json.ts'
import { createLineSplitter } from './stdio/lines.ts'

/** An MCP server whose tools are to be listed, over Streamable HTTP or stdio (2025-11-25). */
export type ToolServer =
  | { kind: 'url'; url: string; headers: Record<string, string> }
  | { kind: 'command'; command: string[]; env: Record<string, string | undefined> }

/** Why the tools could not be listed; the text says what to do. */
export class ToolListError extends Error {
  override name = 'ToolListError'
}

type Ask = (message: JsonObject) => Promise<JsonObject | undefined>
type Connection = { ask: Ask; close: () => Promise<void> }

const VERSION = '2025-11-25'
const LIMIT = 16 << 20
const LIMITS = { bytes: LIMIT, depth: 128, keys: 1_000_000, string: 1 << 20 }
const PAGES = 1_000

/** All pages of `tools/list`, after the handshake. @throws ToolListError */
export async function listTools(server: ToolServer, version: string, timeout: number): Promise<JsonObject[]> {
  const signal = AbortSignal.timeout(timeout)
  const connection = server.kind === 'url' ? overHttp(server, signal) : overStdio(server, signal)
  let id = 0
  const ask = async (method: string, params: JsonObject): Promise<JsonObject> => {
    const answer = await connection.ask({ jsonrpc: '2.0', id: ++id, method, params })
    if (isObject(answer?.result)) return answer.result
    const { message, code } = isObject(answer?.error) ? answer.error : {}
    throw new ToolListError(
      `${method}: the server answered ${message ?? 'with no result'}${code === undefined ? '' : ` (${code})`}`,
    )
  }
  try {
    const clientInfo = { name: 'mcp-opa-sidecar', version }
    await ask('initialize', { protocolVersion: VERSION, capabilities: {}, clientInfo })
    await connection.ask({ jsonrpc: '2.0', method: 'notifications/initialized' })
    const tools: JsonObject[] = []
    let cursor: Json | undefined
    for (let page = 0; page < PAGES; page++) {
      const result = await ask('tools/list', cursor === undefined ? {} : { cursor })
      tools.push(...readTools(result))
      cursor = result.nextCursor
      if (cursor === undefined || cursor === null || cursor === '') return tools
    }
    throw new ToolListError(`tools/list: more than ${PAGES} pages`)
  } catch (error) {
    if (error instanceof ToolListError) throw error
    if (signal.aborted) throw new ToolListError(`the server did not answer within ${timeout / 1000} s`)
    throw new ToolListError(`the server cannot be asked: ${(error as Error).message}`)
  } finally {
    await connection.close().catch(() => undefined)
  }
}

/** The definitions of a list, as a result or alone. @throws ToolListError */
export function readTools(list: Json): JsonObject[] {
  const tools = isObject(list) ? (isObject(list.result) ? list.result.tools : list.tools) : list
  if (!Array.isArray(tools)) throw new ToolListError('there is no list of tools')
  return tools.map((tool) => {
    if (!isObject(tool) || typeof tool.name !== 'string' || tool.name === '')
      throw new ToolListError('a tool has no name')
    return tool
  })
}

function read(text: string): JsonObject {
  const parsed = parseStrict(text, LIMITS)
  if (!parsed.ok) throw new ToolListError(`the server’s answer is not strict JSON (${parsed.fault})`)
  if (!isObject(parsed.value)) throw new ToolListError('the server’s answer is not one message')
  return parsed.value
}

const answers = (message: JsonObject, to: JsonObject): boolean =>
  message.id === to.id && message.method === undefined

function overHttp({ url, headers }: ToolServer & { kind: 'url' }, signal: AbortSignal): Connection {
  let session: Record<string, string> = {}
  const common = () => ({ ...headers, ...session, 'mcp-protocol-version': VERSION })
  return {
    async ask(message) {
      const {
        statusCode,
        headers: got,
        body,
      } = await request(url, {
        method: 'POST',
        headers: {
          ...common(),
          'content-type': 'application/json',
          accept: 'application/json, text/event-stream',
        },
        body: JSON.stringify(message),
        signal,
      })
      const id = got['mcp-session-id']
      if (typeof id === 'string') session = { 'mcp-session-id': id }
      if (statusCode >= 300) {
        await body.dump()
        throw new ToolListError(`${url} answered with status ${statusCode}`)
      }
      if (message.id === undefined) {
        await body.dump()
        return undefined
      }
      const type = String(got['content-type'] ?? '')
      const frames = createFrameReader(LIMIT)
      const decoder = new TextDecoder('utf-8', { fatal: true })
      let text = ''
      for await (const chunk of body) {
        const part = decoder.decode(chunk as Uint8Array, { stream: true })
        if (!type.startsWith('text/event-stream')) {
          text += part
          if (text.length > LIMIT) throw new ToolListError('the answer is too long')
          continue
        }
        const pushed = frames.push(part)
        if (!pushed.ok) throw new ToolListError('the answer is too long')
        for (const { data } of pushed.frames) {
          const found = data === '' ? undefined : read(data)
          if (found && answers(found, message)) return found
        }
      }
      return text === '' ? undefined : read(text)
    },
    async close() {
      if (!session['mcp-session-id']) return
      const { body } = await request(url, {
        method: 'DELETE',
        headers: common(),
        signal: AbortSignal.timeout(2_000),
      })
      await body.dump()
    },
  }
}

/** Milliseconds for a server to end by itself once its input is closed. */
const KILL_AFTER = 2_000

function overStdio({ command, env }: ToolServer & { kind: 'command' }, signal: AbortSignal): Connection {
  const [file = '', ...args] = command
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'], env: env as NodeJS.ProcessEnv })
  const split = createLineSplitter(LIMIT)
  let waiting:
    | { to: JsonObject; resolve: (found: JsonObject) => void; reject: (error: Error) => void }
    | undefined
  let ended: Error | undefined
  const fail = (error: Error) => {
    ended ??= error
    waiting?.reject(ended)
    waiting = undefined
  }
  child.once('error', (error) => fail(new ToolListError(`${file}: ${error.message}`)))
  child.once('exit', (code) =>
    fail(new ToolListError(`${file} ended (${code ?? 'by a signal'}) before it answered`)),
  )
  child.stdin.on('error', () => undefined)
  const onAbort = () => fail(new Error('timeout'))
  signal.addEventListener('abort', onAbort, { once: true })
  const write = (message: JsonObject) => child.stdin.write(`${JSON.stringify(message)}\n`)
  child.stdout.on('data', (chunk: Buffer) => {
    const lines = split(chunk)
    if (lines === 'line_too_long') return fail(new ToolListError('a line of the server is too long'))
    for (const line of lines) {
      if (line.length === 0) continue
      try {
        const message = read(line.toString('utf8'))
        if (waiting && answers(message, waiting.to)) {
          waiting.resolve(message)
          waiting = undefined
        } else if (message.method === 'ping' && message.id !== undefined)
          write({ jsonrpc: '2.0', id: message.id, result: {} })
        else if (message.method !== undefined && message.id !== undefined)
          write({ jsonrpc: '2.0', id: message.id, error: { code: -32601, message: 'not here' } })
      } catch (error) {
        fail(error as Error)
      }
    }
  })
  return {
    ask: (message) =>
      new Promise((resolve, reject) => {
        if (ended) return reject(ended)
        if (message.id !== undefined) waiting = { to: message, resolve, reject }
        write(message)
        if (message.id === undefined) resolve(undefined)
      }),
    close: () =>
      new Promise((resolve) => {
        signal.removeEventListener('abort', onAbort)
        if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return resolve()
        const kill = setTimeout(() => child.kill('SIGKILL'), KILL_AFTER)
        child.once('exit', () => {
          clearTimeout(kill)
          resolve()
        })
        child.stdin.end()
        child.kill('SIGTERM')
      }),
  }
}
