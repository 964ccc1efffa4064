import type { JsonObject } from '../../../mcp/strict-json.ts'

/** One line of the spool: the bytes that were recorded, and what they say. */
export type Line = {
  /** without its line end */
  text: string
  event: JsonObject
}

/**
 * What a receiver made of a batch. Only `accepted` lets it be forgotten. `said` is for logs; what a receiver wrote in its
 * own words, which may quote a record, is `detail`, and is kept with the dead letters only.
 */
export type Answer = (
  | { kind: 'accepted'; said: string }
  /**
   * Nothing is known to be taken: the same again.
   * @property after milliseconds that the receiver asked for
   * @property slow what is wrong is a setting (a credential, a path): it is tried again rarely, until somebody mends it
   */
  | { kind: 'retry'; said: string; after?: number; slow?: boolean }
  /** Each line by its index: what is never taken, with the reason, and what is to be sent again. The rest is taken. */
  | { kind: 'partly'; said: string; refused: Map<number, string>; again: number[]; after?: number }
  /** One of the lines is never taken, and nobody said which. */
  | { kind: 'refused'; said: string }
  /** More than one request may carry. */
  | { kind: 'too_large'; said: string }
  /** There is nobody any more, and will not be. */
  | { kind: 'gone'; said: string }
) & { detail?: string }

/**
 * Where records go. A sink knows how a batch is written and how an answer is read, and nothing of order, repetition
 * and cursors: that is the runner's.
 */
export type Sink = {
  name: string
  type: string
  /** where to, for people: without credentials */
  to: string
  /** the status of OPA's `decision_logs_status_gauge`: that of the last HTTP answer */
  status?: () => number | undefined
  /** makes what is sent of a line, so that a large batch is not made all at once */
  prepare?: (line: Line) => void
  /** One batch, in order. It never throws; an aborted one is a `retry`. */
  send: (batch: Line[], signal: AbortSignal) => Promise<Answer>
  close: () => Promise<void>
}

/** How much is sent in one request, and how long the first line waits for company. */
export type Batching = { count: number; bytes: number; period: number }

/** The records that a sink has not taken yet, out of the spool: its reader, see there. */
export type Source<At = unknown> = {
  read(limits: { lines: number; bytes: number }): Promise<{ lines: { text: string }[]; next: At }>
  /** until there is more; false: there will be none, or the signal fired */
  wait(from: undefined, signal: AbortSignal): Promise<boolean>
  commit(next: At): Promise<void>
  lag(): { lines: number; bytes: number; since: number | undefined }
}

export function lineOf(text: string): Line | undefined {
  try {
    const event: unknown = JSON.parse(text)
    if (typeof event !== 'object' || event === null || Array.isArray(event)) return undefined
    return { text, event: event as Line['event'] }
  } catch {
    return undefined
  }
}

const customOf = ({ event }: Line): Record<string, unknown> => (event.custom ?? {}) as Record<string, unknown>
export const idOf = (line: Line): string => String(customOf(line).event_id ?? line.event.decision_id ?? '')
export const kindOf = (line: Line): string => String(customOf(line).event ?? '')
