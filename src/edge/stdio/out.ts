import { randomUUID } from 'node:crypto'
import { declineText } from '../../mcp/decline.ts'
import { isModernError } from '../../mcp/error.ts'
import type { RpcId } from '../../mcp/message.ts'
import { isPermit } from '../../pdp/decision.ts'
import { readUpstream } from '../../pep/filter.ts'
import type { Call, Reply, UpstreamFrame } from '../../pep/ports.ts'
import type { Upstream } from '../http/upstream.ts'
import { type Child, type ChildSettings, startChild } from './child.ts'
import { cancelText, createExchanges, type Exchanges } from './exchanges.ts'
import { createQueue } from './queue.ts'

export type StdioUpstreamSettings = ChildSettings & {
  maxSessions: number
  /** milliseconds until the answer to one request */
  timeout: number
  /** milliseconds without a call after which a session ends */
  idle: number
}

type Process = { child: Child; busy: () => boolean; over: () => void; idle: NodeJS.Timeout }
type Session = Process & {
  id: string
  /** who waits for the answer to a request */
  pending: Map<RpcId, (reply: Reply) => void>
  /** Requests that nobody waits for any more. An answer may still come, and must not be taken for that of another. */
  abandoned: Set<RpcId>
  /** the one open stream of the session, if there is one */
  stream: { push: (text: string) => void; end: () => void } | undefined
  /** Requests of the server that came while no stream was open: a client opens its own a moment after the handshake. */
  early: Map<RpcId, string>
}

/** Requests of one session that were given up; a server that leaves more of them open is broken. */
const ABANDONED = 10_000
/** Requests of a server that wait for the stream of the session, and for how many milliseconds. */
const EARLY = { most: 16, wait: 2_000 }
const INITIALIZE = 'initialize'
const DISCOVER = 'server/discover'
const FAILED: Reply = { kind: 'failed', fault: 'upstream_failed' }
const BUSY: Reply = { kind: 'failed', fault: 'upstream_busy' }

/**
 * An MCP server that speaks over stdio: one process a session (2025-11-25, "stdio"), started by its handshake and ended
 * with it; in 2026-07-28, which has none, one a person, ended when it is idle. Two people never share one.
 */
export function createStdioUpstream(settings: StdioUpstreamSettings): Upstream {
  /** By session, or by owner where there are none. */
  const processes = new Map<string, Process>()
  const sessions = new Map<string, Session>()
  const people = new Map<string, Exchanges>()

  const end = (id: string) => {
    const process = processes.get(id)
    if (!process) return
    processes.delete(id)
    sessions.delete(id)
    people.delete(id)
    clearTimeout(process.idle)
    process.over()
    process.child.end()
  }

  /** Counted and ended when it is idle. Undefined if there is none to be had. */
  const begin = (id: string, onLine: (line: Buffer) => void, does: Pick<Process, 'busy' | 'over'>) => {
    const child = startChild(settings, onLine, () => end(id))
    if (!child) return undefined
    const onIdle = () => {
      if (does.busy()) process.idle.refresh()
      else end(id)
    }
    const process: Process = { child, ...does, idle: setTimeout(onIdle, settings.idle) }
    process.idle.unref()
    processes.set(id, process)
    return process
  }

  const beginSession = (): Session | undefined => {
    const id = randomUUID()
    const pending: Session['pending'] = new Map()
    const process = begin(id, (line) => receive(session, line), {
      busy: () => pending.size > 0,
      over() {
        for (const settle of [...pending.values()]) settle(FAILED)
        session.stream?.end()
      },
    })
    if (!process) return undefined
    // One object: its idle timer is the process's.
    const session: Session = Object.assign(process, {
      id,
      pending,
      abandoned: new Set<RpcId>(),
      stream: undefined,
      early: new Map<RpcId, string>(),
    })
    sessions.set(id, session)
    return session
  }

  /** Nobody listens yet. If nobody does soon, the server is told, so that it does not wait. */
  const hold = (session: Session, { id, method }: { id: RpcId; method: string }, text: string) => {
    const { early, child } = session
    if (early.size >= EARLY.most || early.has(id)) return void child.tell(declineText(id, method))
    early.set(id, text)
    const giveUp = () => {
      if (sessions.get(session.id) === session && early.get(id) === text && early.delete(id))
        child.tell(declineText(id, method))
    }
    setTimeout(giveUp, EARLY.wait).unref()
  }

  const receive = (session: Session, line: Buffer) => {
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
      const { pending, abandoned, child } = session
      // Two open requests of one id: their answers could not be told apart.
      if (pending.has(id) || abandoned.has(id)) return resolve(BUSY)
      if (call.signal.aborted) return resolve(FAILED)
      const settle = (reply: Reply) => {
        clearTimeout(timer)
        call.signal.removeEventListener('abort', onGone)
        pending.delete(id)
        resolve(reply)
      }
      /** @returns whether the session lives on */
      const giveUp = (reply: Reply): boolean => {
        abandoned.add(id)
        settle(reply)
        if (abandoned.size <= ABANDONED) return true
        end(session.id)
        return false
      }
      // To leave is not to cancel: a client that wants its call to end says so (2025-11-25, "Cancellation").
      const onGone = () => giveUp(FAILED)
      const onLate = () => {
        const lives = giveUp({ kind: 'failed', fault: 'upstream_timeout' })
        // An initialize may not be cancelled; its session ends instead.
        if (lives && call.method !== INITIALIZE) child.tell(cancelText(id, 'The answer takes too long'))
      }
      const timer = setTimeout(onLate, settings.timeout)
      call.signal.addEventListener('abort', onGone, { once: true })
      pending.set(id, settle)
      child.tell(call.text)
    })

  /** A process that has nothing in hand gives way: where each request stands for itself, nothing is lost with it. */
  const hasRoom = (): boolean => {
    if (processes.size < settings.maxSessions) return true
    for (const [owner, exchanges] of people) {
      if (exchanges.busy()) continue
      end(owner)
      return true
    }
    return false
  }

  const shake = async (call: Call, id: RpcId): Promise<Reply> => {
    if (!hasRoom()) return BUSY
    const session = beginSession()
    if (!session) return FAILED
    const reply = await ask(session, call, id)
    if (reply.kind !== 'message' || reply.message?.kind !== 'response' || reply.message.error) {
      end(session.id)
      return reply
    }
    return { ...reply, session: session.id }
  }

  /** The one process of a person, started where there is none. */
  const exchangesOf = (owner: string): Exchanges | Reply => {
    const known = people.get(owner)
    if (known) {
      // Moved to the end: of those with nothing in hand, the one that was used last ends last.
      people.delete(owner)
      people.set(owner, known)
      return known
    }
    if (!hasRoom()) return BUSY
    const exchanges = createExchanges((text) => process?.child.tell(text) ?? false, settings.timeout)
    const process = begin(
      owner,
      (line) => {
        const message = readUpstream(line)
        if (message) exchanges.receive(message)
      },
      { busy: exchanges.busy, over: exchanges.end },
    )
    if (!process) return FAILED
    people.set(owner, exchanges)
    return exchanges
  }

  const single = async (call: Call, owner: string): Promise<Reply> => {
    const exchanges = exchangesOf(owner)
    if ('kind' in exchanges) return exchanges
    processes.get(owner)?.idle.refresh()
    const reply = await exchanges.ask(call)
    processes.get(owner)?.idle.refresh()
    const refused =
      reply.kind === 'message'
        ? reply.message?.kind === 'response' &&
          reply.message.error &&
          !isModernError(reply.message.error.code)
        : reply.kind === 'status'
    // It knows no such revision: the client will begin a session, which has a process of its own.
    if (call.method === DISCOVER && refused && people.get(owner) === exchanges && !exchanges.busy())
      end(owner)
    return reply
  }

  return {
    async forward(permit, call) {
      if (!isPermit(permit)) throw new TypeError('no permit')
      if (call.era === 'modern') {
        if (call.kind !== 'request' || call.owner === undefined) return FAILED
        return single(call, call.owner)
      }
      if (call.method === INITIALIZE && call.id !== undefined) return shake(call, call.id)
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
          return session.child.tell(call.text) ? { kind: 'accepted' } : FAILED
        case 'request':
          return call.id === undefined ? FAILED : ask(session, call, call.id)
      }
    },
    decline(call, id, method) {
      const key = call.session ?? call.owner
      const process = key === undefined ? undefined : processes.get(key)
      process?.child.tell(declineText(id, method))
    },
    async close() {
      const exits = [...processes.values()].map(({ child }) => child.exited)
      for (const id of [...processes.keys()]) end(id)
      await Promise.all(exits)
    },
  }
}

/** Takes the place of the session's stream at once, not when it is first read; gives up no place but its own. */
function openStream(session: Session, signal: AbortSignal): AsyncGenerator<UpstreamFrame> {
  const end = () => {
    signal.removeEventListener('abort', end)
    if (session.stream === stream) session.stream = undefined
    queue.end()
  }
  const queue = createQueue(end)
  // What there is no room for is dropped: nobody waits for it.
  const stream = { push: (text: string) => void queue.push(text), end }
  session.stream = stream
  for (const text of session.early.values()) stream.push(text)
  session.early.clear()
  signal.addEventListener('abort', end)
  if (signal.aborted) end()
  return queue.read()
}
