import { spawn } from 'node:child_process'
import { request } from 'undici'
import { LATEST_LEGACY, MODERN_VERSIONS } from '../mcp/headers.ts'
import { createFrameReader } from '../mcp/sse.ts'
import { isObject, type Json, type JsonObject, parseStrict } from '../mcp/strict-json.ts'
import { createLineSplitter } from './stdio/lines.ts'

/** An MCP server whose tools are to be listed, over Streamable HTTP or stdio (2026-07-28, or 2025-11-25). */
export type ToolServer =
  | { kind: 'url'; url: string; headers: Record<string, string> }
  | { kind: 'command'; command: string[]; env: Record<string, string | undefined> }

/** Why the tools could not be listed; the text says what to do. */
export class ToolListError extends Error {
  override name = 'ToolListError'
  /** of HTTP, where that is what is wrong */
  status: number | undefined
}

export type Era = 'legacy' | 'modern'
export type Connection = {
  /**
   * @param within milliseconds, where silence is an answer: then it is undefined
   */
  ask: (message: JsonObject, era: Era, within?: number) => Promise<JsonObject | undefined>
  close: () => Promise<void>
}

/** The revision of a server that is asked without a session. */
export const MODERN = MODERN_VERSIONS[0] as string
const LIMIT = 16 << 20
const LIMITS = { bytes: LIMIT, depth: 128, keys: 1_000_000, string: 1 << 20 }

/** @param signal of all that is asked */
export const connectTo = (server: ToolServer, signal: AbortSignal): Connection =>
  server.kind === 'url' ? overHttp(server, signal) : overStdio(server, signal)

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
  const common = (era: Era, method: Json | undefined) => ({
    ...headers,
    ...(era === 'legacy' ? session : { 'mcp-method': String(method) }),
    'mcp-protocol-version': era === 'legacy' ? LATEST_LEGACY : MODERN,
  })
  return {
    async ask(message, era) {
      const {
        statusCode,
        headers: got,
        body,
      } = await request(url, {
        method: 'POST',
        headers: {
          ...common(era, message.method),
          'content-type': 'application/json',
          accept: 'application/json, text/event-stream',
        },
        body: JSON.stringify(message),
        signal,
      })
      const id = got['mcp-session-id']
      if (typeof id === 'string' && era === 'legacy') session = { 'mcp-session-id': id }
      if (statusCode >= 300) {
        const found = errorIn(await textOf(body))
        if (statusCode === 400 && found) return found
        const error = new ToolListError(`${url} answered with status ${statusCode}`)
        error.status = statusCode
        throw error
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
        headers: common('legacy', undefined),
        signal: AbortSignal.timeout(2_000),
      })
      await body.dump()
    },
  }
}

const ERROR_BYTES = 64 << 10

/** The beginning of a body that is an error. */
async function textOf(body: AsyncIterable<unknown> & { destroy: () => unknown }): Promise<string> {
  let text = ''
  for await (const chunk of body) {
    text += (chunk as Buffer).toString('utf8')
    if (text.length > ERROR_BYTES) break
  }
  body.destroy()
  return text
}

/** A JSON-RPC error, where it is one. */
function errorIn(text: string): JsonObject | undefined {
  const parsed = parseStrict(text, LIMITS)
  return parsed.ok && isObject(parsed.value) && isObject(parsed.value.error) ? parsed.value : undefined
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
    ask: (message, _era, within) =>
      new Promise((resolve, reject) => {
        if (ended) return reject(ended)
        const late = within === undefined ? undefined : setTimeout(() => settle(), within)
        const settle = (found?: JsonObject) => {
          clearTimeout(late)
          if (waiting?.to === message) waiting = undefined
          resolve(found)
        }
        if (message.id !== undefined) waiting = { to: message, resolve: settle, reject }
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
