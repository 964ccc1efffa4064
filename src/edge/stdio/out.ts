import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import type { RpcId } from '../../mcp/message.ts'
import { isPermit } from '../../pdp/decision.ts'
import { readUpstream } from '../../pep/filter.ts'
import type { Call, Reply } from '../../pep/ports.ts'
import { declineText, type Upstream } from '../http/upstream.ts'
import { createLineSplitter } from './lines.ts'

export type StdioUpstreamSettings = {
  command: string[]
  /** the whole environment of the child */
  env: Record<string, string>
  cwd?: string
  maxSessions: number
  /** milliseconds until the answer to one request */
  timeout: number
  /** milliseconds without a call after which a session ends */
  idle: number
  /** bytes of one message */
  messageLimit: number
  /** a line of the child's stderr */
  onStderr: (line: string) => void
}

type Pending = { resolve: (reply: Reply) => void; timer: NodeJS.Timeout }
type Session = {
  child: ChildProcess
  pending: Map<RpcId, Pending>
  /** the one open stream of the session, if there is one */
  stream: { push: (text: string) => void; end: () => void } | undefined
  idle: NodeJS.Timeout
}

/** Messages that wait for a slow reader of a session's stream. */
const STREAM_QUEUE = 1000
const KILL_AFTER = 2_000
const INITIALIZE = 'initialize'

/**
 * An MCP server that speaks over stdio (2025-11-25, "stdio"): one process a session, started by its handshake and
 * ended with it, so that two people never share one.
 */
export function createStdioUpstream(settings: StdioUpstreamSettings): Upstream {
  const sessions = new Map<string, Session>()

  const end = (id: string) => {
    const session = sessions.get(id)
    if (!session) return
    sessions.delete(id)
    clearTimeout(session.idle)
    for (const [rpc, { resolve, timer }] of session.pending) {
      clearTimeout(timer)
      session.pending.delete(rpc)
      resolve({ kind: 'failed', fault: 'upstream_failed' })
    }
    session.stream?.end()
    session.child.stdin?.end()
    session.child.kill('SIGTERM')
    setTimeout(() => session.child.kill('SIGKILL'), KILL_AFTER).unref()
  }

  const begin = (id: string): Session => {
    const [command = '', ...args] = settings.command
    const child = spawn(command, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: settings.env,
      ...(settings.cwd !== undefined && { cwd: settings.cwd }),
    })
    const session: Session = {
      child,
      pending: new Map(),
      stream: undefined,
      idle: setTimeout(() => end(id), settings.idle),
    }
    session.idle.unref()
    const split = createLineSplitter(settings.messageLimit)
    child.stdout.on('data', (chunk: Buffer) => {
      const lines = split(chunk)
      if (lines === 'line_too_long') return end(id)
      for (const line of lines) receive(session, line)
    })
    const splitErrors = createLineSplitter(64 << 10)
    child.stderr.on('data', (chunk: Buffer) => {
      const lines = splitErrors(chunk)
      if (Array.isArray(lines)) for (const line of lines) settings.onStderr(line.toString('utf8'))
    })
    // A write to a child that is gone: `exit` follows and ends the session.
    child.stdin.on('error', () => undefined)
    child.once('error', () => end(id))
    child.once('exit', () => end(id))
    sessions.set(id, session)
    return session
  }

  const receive = (session: Session, line: Buffer) => {
    if (line.length === 0) return
    const message = readUpstream(line)
    if (message?.kind === 'response') {
      const waiting = session.pending.get(message.id)
      if (!waiting) return
      session.pending.delete(message.id)
      clearTimeout(waiting.timer)
      waiting.resolve({ kind: 'message', status: 200, body: line })
    } else if (message && session.stream) session.stream.push(line.toString('utf8'))
    else if (message?.kind === 'request')
      session.child.stdin?.write(`${declineText(message.id, message.method)}\n`)
  }

  const ask = (session: Session, call: Call, id: RpcId): Promise<Reply> =>
    new Promise((resolve) => {
      // Two open requests of one id: their answers could not be told apart.
      if (session.pending.has(id)) return resolve({ kind: 'failed', fault: 'upstream_busy' })
      const timer = setTimeout(() => {
        session.pending.delete(id)
        resolve({ kind: 'failed', fault: 'upstream_timeout' })
      }, settings.timeout)
      session.pending.set(id, { resolve, timer })
      session.child.stdin?.write(`${call.text}\n`)
    })

  return {
    async forward(permit, call) {
      if (!isPermit(permit)) throw new TypeError('no permit')
      if (call.method === INITIALIZE && call.id !== undefined) {
        if (sessions.size >= settings.maxSessions) return { kind: 'failed', fault: 'upstream_busy' }
        const id = randomUUID()
        const reply = await ask(begin(id), call, call.id)
        const agreed = reply.kind === 'message' ? readUpstream(reply.body) : undefined
        if (reply.kind !== 'message' || agreed?.kind !== 'response' || agreed.error) {
          end(id)
          return reply
        }
        return { ...reply, session: id }
      }
      const session = call.session === undefined ? undefined : sessions.get(call.session)
      if (!session || call.session === undefined) return { kind: 'status', status: 404 }
      session.idle.refresh()
      switch (call.kind) {
        case 'end':
          end(call.session)
          return { kind: 'accepted' }
        case 'open':
          // A second stream of a session would take the first one's messages.
          if (session.stream) return { kind: 'status', status: 405 }
          return { kind: 'stream', frames: openStream(session, call.signal) }
        case 'notification':
          session.child.stdin?.write(`${call.text}\n`)
          return { kind: 'accepted' }
        case 'request':
          return call.id === undefined
            ? { kind: 'failed', fault: 'upstream_failed' }
            : ask(session, call, call.id)
      }
    },
    decline(call, id, method) {
      const session = call.session === undefined ? undefined : sessions.get(call.session)
      session?.child.stdin?.write(`${declineText(id, method)}\n`)
    },
    async close() {
      const exits = [...sessions.values()].map(
        ({ child }) => new Promise((resolve) => child.once('exit', resolve)),
      )
      for (const id of [...sessions.keys()]) end(id)
      await Promise.all(exits)
    },
  }
}

async function* openStream(session: Session, signal: AbortSignal): AsyncGenerator<string> {
  const queue: string[] = []
  let over = false
  let wake = () => {}
  const stream = {
    push: (text: string) => {
      if (queue.length < STREAM_QUEUE) queue.push(text)
      wake()
    },
    end: () => {
      over = true
      wake()
    },
  }
  session.stream = stream
  signal.addEventListener('abort', stream.end, { once: true })
  if (signal.aborted) stream.end()
  try {
    for (;;) {
      const text = queue.shift()
      if (text !== undefined) yield text
      else if (over) return
      else
        await new Promise<void>((resolve) => {
          wake = resolve
        })
    }
  } finally {
    session.stream = undefined
  }
}
