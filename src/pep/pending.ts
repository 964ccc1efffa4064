import type { RpcId } from '../mcp/message.ts'
import type { Parent } from '../pdp/input.ts'

/** A request of the server that a client was given: what its answer will be taken for. */
export type Asking = {
  method: string
  /** of the decision that let it through */
  decision_id: string
  /** what it was asked within */
  parent?: Parent
  /** milliseconds since the epoch */
  at: number
}
export type AskingKey = { owner: string; session: string; id: RpcId }

/** Requests of servers that wait for an answer, in this process only: an answer to none of them is refused. */
export type Pending = {
  /** why it may not be given to the client; undefined: it waits now */
  add: (key: AskingKey, asking: Asking) => 'repeated' | 'full' | undefined
  find: (key: AskingKey) => Asking | undefined
  /** true once for each that waits: two answers to one request are one too many */
  take: (key: AskingKey) => boolean
  /** the session is over, and nobody asks any more */
  end: (owner: string, session: string) => void
}

/** Open requests of one session, and of all; milliseconds that an answer may take. */
const BOUNDS = { session: 64, all: 20_000, age: 3_600_000 }

export function createPending(now: () => number, bounds = BOUNDS): Pending {
  const sessions = new Map<string, Map<RpcId, Asking>>()
  let count = 0

  const nameOf = ({ owner, session }: Pick<AskingKey, 'owner' | 'session'>) =>
    JSON.stringify([owner, session])
  const drop = (name: string, id: RpcId) => {
    const open = sessions.get(name)
    if (!open?.delete(id)) return false
    count--
    if (open.size === 0) sessions.delete(name)
    return true
  }
  /** Oldest first, so the look ends at the first that is young enough. */
  const forget = (name: string) => {
    for (const [id, { at }] of sessions.get(name) ?? []) {
      if (now() - at < bounds.age) return
      drop(name, id)
    }
  }

  return {
    add(key, asking) {
      const name = nameOf(key)
      forget(name)
      if (count >= bounds.all) for (const other of [...sessions.keys()]) forget(other)
      const open = sessions.get(name)
      const known = open?.get(key.id)
      // A stream that is resumed brings it again; another request of this id could not be told from it.
      if (known && known.method !== asking.method) return 'repeated'
      if (!known && (count >= bounds.all || (open?.size ?? 0) >= bounds.session)) return 'full'
      if (known) drop(name, key.id)
      const into = sessions.get(name) ?? new Map<RpcId, Asking>()
      sessions.set(name, into)
      into.set(key.id, asking)
      count++
      return undefined
    },
    find(key) {
      const name = nameOf(key)
      forget(name)
      return sessions.get(name)?.get(key.id)
    },
    take: (key) => drop(nameOf(key), key.id),
    end(owner, session) {
      const name = nameOf({ owner, session })
      count -= sessions.get(name)?.size ?? 0
      sessions.delete(name)
    },
  }
}
