import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

/** The connections of a listener: what each still owes its client, and which carry no next request. */
export type Connections = {
  opened: (socket: Duplex) => void
  has: (socket: Duplex) => boolean
  /** it came when there were as many as there may be */
  isSurplus: (socket: Duplex) => boolean
  /** one answer more, and one less, those that are written and not flushed included */
  owe: (socket: Duplex) => void
  settle: (socket: Duplex) => void
  owed: (socket: Duplex) => number
  /** Nothing more is taken from it: it sent what is no request. False where that is known already. */
  refuse: (socket: Duplex) => boolean
  /** whether it may carry a next request */
  reusable: (socket: Duplex) => boolean
  /** those that are open now end with their next answer */
  renew: () => void
  /** those that are open, and those to come, end with what they owe */
  drain: () => void
  draining: () => boolean
}

/** @param most that there may be */
export function createConnections(most: number): Connections {
  const owed = new Map<Duplex, number>()
  const surplus = new WeakSet<Duplex>()
  const refused = new WeakSet<Duplex>()
  let old = new WeakSet<Duplex>()
  let draining = false
  const endIdle = () => {
    for (const [socket, answers] of owed) if (answers === 0) end(socket)
  }
  return {
    opened(socket) {
      owed.set(socket, 0)
      if (owed.size > most) surplus.add(socket)
      socket.once('close', () => owed.delete(socket))
    },
    has: (socket) => owed.has(socket),
    isSurplus: (socket) => surplus.has(socket),
    owe: (socket) => owed.set(socket, (owed.get(socket) ?? 0) + 1),
    settle(socket) {
      const left = (owed.get(socket) ?? 1) - 1
      if (owed.has(socket)) owed.set(socket, left)
      // After the last one there is nothing to wait for, in a drain and where the next was refused.
      if (left === 0 && (draining || refused.has(socket))) end(socket)
    },
    owed: (socket) => owed.get(socket) ?? 0,
    refuse(socket) {
      if (refused.has(socket)) return false
      refused.add(socket)
      return true
    },
    reusable: (socket) => !draining && !refused.has(socket) && !old.has(socket),
    renew() {
      old = new WeakSet(owed.keys())
      endIdle()
    },
    drain() {
      draining = true
      endIdle()
    },
    draining: () => draining,
  }
}

/** What is written is flushed first. */
const end = (socket: Duplex) => (socket as Socket).destroySoon()
