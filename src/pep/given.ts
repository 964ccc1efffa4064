import type { Parent } from '../pdp/input.ts'

/** Ids that client and server have of something between them: a task that the client hosts, a page that it was given. */
export type GivenKind = 'task' | 'page'
/** Whose, and in which session of the upstream; empty where it has none. */
export type Between = { owner: string; session: string }

export type Given = {
  add: (between: Between, kind: GivenKind, id: string, parent: Parent) => void
  /** what it was given within; undefined: it was not, as far as this process knows */
  find: (between: Between, kind: GivenKind, id: string) => Parent | undefined
  /** the session is over */
  end: (between: Between) => void
}

/** Ids of one session, and of all; beyond it the oldest is forgotten. UTF-16 units of one. */
const BOUNDS = { session: 256, all: 20_000, id: 1024 }

export function createGiven(bounds = BOUNDS): Given {
  const sessions = new Map<string, Map<string, Parent>>()
  let count = 0

  const nameOf = ({ owner, session }: Between) => JSON.stringify([owner, session])
  const keyOf = (kind: GivenKind, id: string) => `${kind} ${id}`
  const drop = (name: string) => {
    const ids = sessions.get(name)
    const [oldest] = ids?.keys() ?? []
    if (!ids || oldest === undefined) return
    ids.delete(oldest)
    count--
    if (ids.size === 0) sessions.delete(name)
  }

  return {
    add(between, kind, id, parent) {
      if (id === '' || id.length > bounds.id) return
      const name = nameOf(between)
      const ids = sessions.get(name) ?? new Map<string, Parent>()
      if (ids.delete(keyOf(kind, id))) count--
      if (ids.size >= bounds.session) drop(name)
      // Moved to the end: the session that was heard of last is forgotten from last.
      sessions.delete(name)
      sessions.set(name, ids)
      ids.set(keyOf(kind, id), parent)
      count++
      const [first] = sessions.keys()
      if (count > bounds.all && first !== undefined) drop(first)
    },
    find: (between, kind, id) => sessions.get(nameOf(between))?.get(keyOf(kind, id)),
    end(between) {
      const name = nameOf(between)
      count -= sessions.get(name)?.size ?? 0
      sessions.delete(name)
    },
  }
}
