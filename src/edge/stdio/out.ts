import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import type { RpcId } from '../../mcp/message.ts'
import { isPermit } from '../../pdp/decision.ts'
import { readUpstream } from '../../pep/filter.ts'
import type { Call, Reply, UpstreamFrame } from '../../pep/ports.ts'
import { declineText, type Upstream } from '../http/upstream.ts'
import { createLineSplitter, oneLine } from './lines.ts'

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

type Session = {
  id: string
  child: ChildProcessWithoutNullStreams
  /** who waits for the answer to a request */
  pending: Map<RpcId, (reply: Reply) => void>
  /** Requests that nobody waits for any more. An answer may still come, and must not be taken for that of another. */
  abandoned: Set<RpcId>
  /** the one open stream of the session, if there is one */
  stream: { push: (text: string) => void; end: () => void } | undefined
  /** Requests of the server that came while no stream was open: a client opens its own a moment after the handshake. */
  early: Map<RpcId, string>
  idle: NodeJS.Timeout
}

/** Messages that wait for a slow reader of a session's stream, and their length together; what is more is dropped. */
const STREAM_QUEUE = 1000
const STREAM_LENGTH = 16 << 20
/** Requests of one session that were given up; a server that leaves more of them open is broken. */
const ABANDONED = 10_000
/** Requests of a server that wait for the stream of the session, and for how many milliseconds. */
const EARLY = { most: 16, wait: 2_000 }
const KILL_AFTER = 2_000
const INITIALIZE = 'initialize'
const FAILED: Reply = { kind: 'failed', fault: 'upstream_failed' }

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
    for (const settle of [...session.pending.values()]) settle(FAILED)
    session.stream?.end()
    session.child.stdin.end()
    session.child.kill('SIGTERM')
    setTimeout(() => session.child.kill('SIGKILL'), KILL_AFTER).unref()
  }

  /** Undefined if there is no process to be had, e.g. no descriptor is left. */
  const launch = (onEnd: () => void): ChildProcessWithoutNullStreams | undefined => {
    const [command = '', ...args] = settings.command
    try {
      const child = spawn(command, args, {
        stdio: ['pipe', 'pipe', 'pipe'],
        env: settings.env,
        ...(settings.cwd !== undefined && { cwd: settings.cwd }),
      })
      // First of all: an error that nobody listens to would end this process.
      child.on('error', onEnd)
      child.once('exit', onEnd)
      // They are not there when the pipes could not be made, whatever the type says.
      return child.stdin && child.stdout && child.stderr ? child : undefined
    } catch {
      return undefined
    }
  }

  const begin = (): Session | undefined => {
    const id = randomUUID()
    const child = launch(() => end(id))
    if (!child) return undefined
    const onIdle = () => {
      if (session.pending.size > 0) session.idle.refresh()
      else end(id)
    }
    const session: Session = {
      id,
      child,
      pending: new Map(),
      abandoned: new Set(),
      stream: undefined,
      early: new Map(),
      idle: setTimeout(onIdle, settings.idle),
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
    sessions.set(id, session)
    return session
  }

  /** False if the session ended because the child does not read what it was told before. */
  const tell = ({ id, child }: Session, text: string): boolean => {
    if (child.stdin.writableLength > 2 * settings.messageLimit) {
      end(id)
      return false
    }
    child.stdin.write(`${oneLine(text)}\n`)
    return true
  }

  /** Nobody listens yet. If nobody does soon, the server is told, so that it does not wait. */
  const hold = (session: Session, { id, method }: { id: RpcId; method: string }, text: string) => {
    const { early } = session
    if (early.size >= EARLY.most || early.has(id)) return void tell(session, declineText(id, method))
    early.set(id, text)
    const giveUp = () => {
      if (sessions.get(session.id) === session && early.get(id) === text && early.delete(id))
        tell(session, declineText(id, method))
    }
    setTimeout(giveUp, EARLY.wait).unref()
  }

  const receive = (session: Session, line: Buffer) => {
    if (line.length === 0) return
    const message = readUpstream(line)
    if (message?.kind === 'response') {
      session.abandoned.delete(message.id)
      session.idle.refresh()
      session.pending.get(message.id)?.({ kind: 'message', status: 200, body: line, message })
    } else if (message && session.stream) session.stream.push(line.toString('utf8'))
    else if (message?.kind === 'request') hold(session, message, line.toString('utf8'))
  }

  const ask = (session: Session, call: Call, id: RpcId): Promise<Reply> =>
    new Promise((resolve) => {
      const { pending, abandoned } = session
      // Two open requests of one id: their answers could not be told apart.
      if (pending.has(id) || abandoned.has(id)) return resolve({ kind: 'failed', fault: 'upstream_busy' })
      if (call.signal.aborted) return resolve(FAILED)
      const settle = (reply: Reply) => {
        clearTimeout(timer)
        call.signal.removeEventListener('abort', onGone)
        pending.delete(id)
        resolve(reply)
      }
      const giveUp = (reply: Reply, reason: string) => {
        abandoned.add(id)
        settle(reply)
        if (abandoned.size > ABANDONED) end(session.id)
        // An initialize may not be cancelled; its session ends instead.
        else if (call.method !== INITIALIZE) tell(session, cancelText(id, reason))
      }
      const onGone = () => giveUp(FAILED, 'The client has gone')
      const onLate = () => giveUp({ kind: 'failed', fault: 'upstream_timeout' }, 'The answer takes too long')
      const timer = setTimeout(onLate, settings.timeout)
      call.signal.addEventListener('abort', onGone, { once: true })
      pending.set(id, settle)
      tell(session, call.text)
    })

  return {
    async forward(permit, call) {
      if (!isPermit(permit)) throw new TypeError('no permit')
      if (call.method === INITIALIZE && call.id !== undefined) {
        if (sessions.size >= settings.maxSessions) return { kind: 'failed', fault: 'upstream_busy' }
        const session = begin()
        if (!session) return FAILED
        const reply = await ask(session, call, call.id)
        if (reply.kind !== 'message' || reply.message?.kind !== 'response' || reply.message.error) {
          end(session.id)
          return reply
        }
        return { ...reply, session: session.id }
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
        case 'response':
          return tell(session, call.text) ? { kind: 'accepted' } : FAILED
        case 'request':
          return call.id === undefined ? FAILED : ask(session, call, call.id)
      }
    },
    decline(call, id, method) {
      const session = call.session === undefined ? undefined : sessions.get(call.session)
      if (session) tell(session, declineText(id, method))
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

const cancelText = (requestId: RpcId, reason: string): string =>
  JSON.stringify({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId, reason } })

/** Takes the place of the session's stream at once, not when it is first read; gives up no place but its own. */
function openStream(session: Session, signal: AbortSignal): AsyncGenerator<UpstreamFrame> {
  const queue: string[] = []
  let length = 0
  let over = false
  let wake = () => {}
  const stream = {
    push: (text: string) => {
      if (queue.length >= STREAM_QUEUE || length + text.length > STREAM_LENGTH) return
      queue.push(text)
      length += text.length
      wake()
    },
    end: () => {
      over = true
      signal.removeEventListener('abort', stream.end)
      if (session.stream === stream) session.stream = undefined
      wake()
    },
  }
  const read = async function* () {
    try {
      for (;;) {
        const text = queue.shift()
        if (text !== undefined) {
          length -= text.length
          yield { data: text }
        } else if (over) return
        else
          await new Promise<void>((resolve) => {
            wake = resolve
          })
      }
    } finally {
      stream.end()
    }
  }
  session.stream = stream
  for (const text of session.early.values()) stream.push(text)
  session.early.clear()
  signal.addEventListener('abort', stream.end)
  if (signal.aborted) stream.end()
  return read()
}
