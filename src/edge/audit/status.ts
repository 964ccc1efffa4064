import type { JsonObject } from '../../mcp/strict-json.ts'
import type { SinkState } from './sinks/runner.ts'
import type { SpoolState } from './spool.ts'

/**
 * `decision_logs` of OPA's status: `code`, `message` and `http_code` as OPA has them for the first output that does not
 * take records; beside them what OPA, which has one output and no spool, has no names for.
 */
export function auditStatus(spool: SpoolState, sinks: SinkState[], now: number): JsonObject {
  const failing = sinks.find(({ up }) => up === false)
  return {
    ...(failing && {
      code: 'decision_log_error',
      message: `${failing.name}: ${failing.error ?? ''}`,
      ...(failing.status !== undefined && { http_code: String(failing.status) }),
    }),
    spool: {
      seq: spool.seq,
      bytes: spool.bytes,
      max_bytes: spool.maxBytes,
      held_bytes: spool.room.held,
      left_bytes: spool.room.left,
      lost: spool.lostEver,
      ...(spool.error !== undefined && { error: spool.error }),
      ...(spool.warning !== undefined && { warning: spool.warning }),
    },
    sinks: Object.fromEntries(sinks.map((sink) => [sink.name, ofSink(sink, now)])),
  }
}

const ofSink = (
  { type, up, error, events, bytes, retries, deadLetters, behind }: SinkState,
  now: number,
): JsonObject => ({
  type,
  ...(up !== undefined && { up }),
  ...(error !== undefined && { error }),
  waiting_events: behind.lines,
  waiting_bytes: behind.bytes,
  lag_seconds: behind.since === undefined ? 0 : Math.max(0, (now - behind.since) / 1000),
  events,
  bytes,
  retries,
  dead_letters: deadLetters,
})
