import { Counter, Gauge, type Registry } from 'prom-client'
import type { SinkState } from '../audit/sinks/runner.ts'

/**
 * Of each sink, by its name. OPA's names where OPA has the thing (OPA docs, "Monitoring", decision logs), with the label
 * `sink` that OPA, which has one, does not need.
 */
export function sinkMetrics(registers: Registry[], read: () => SinkState[]): void {
  const of = (name: string, help: string, value: (state: SinkState) => number, kind: 'counter' | 'gauge') => {
    const collect = (set: { reset: () => void; inc: (labels: { sink: string }, value: number) => void }) => {
      set.reset()
      for (const state of read()) set.inc({ sink: state.name }, value(state))
    }
    const options = { name, help, labelNames: ['sink'] as const, registers }
    if (kind === 'gauge')
      new Gauge({
        ...options,
        collect() {
          collect(this)
        },
      })
    else
      new Counter({
        ...options,
        collect() {
          collect(this)
        },
      })
  }
  of(
    'decision_logs_chunks_uploaded_total',
    'Requests that a receiver took.',
    ({ chunks }) => chunks,
    'counter',
  )
  of(
    'decision_logs_chunks_upload_failed_total',
    'Requests that were not taken.',
    ({ failed }) => failed,
    'counter',
  )
  of(
    'decision_logs_buffer_size_bytes',
    'Bytes of the spool that are waiting.',
    ({ behind }) => behind.bytes,
    'gauge',
  )
  of('decision_logs_buffer_size_events', 'Records that are waiting.', ({ behind }) => behind.lines, 'gauge')
  of(
    'mcp_sink_lag_seconds',
    'Seconds since the oldest record that is waiting was recorded.',
    ({ behind }) => (behind.since === undefined ? 0 : Math.max(0, (Date.now() - behind.since) / 1000)),
    'gauge',
  )
  of('mcp_sink_events_total', 'Records that were taken.', ({ events }) => events, 'counter')
  of('mcp_sink_bytes_total', 'Bytes of the records that were taken.', ({ bytes }) => bytes, 'counter')
  of('mcp_sink_retries_total', 'Waits before the same was sent again.', ({ retries }) => retries, 'counter')
  of(
    'mcp_sink_dead_letters_total',
    'Records that are never taken.',
    ({ deadLetters }) => deadLetters,
    'counter',
  )
  of('mcp_sink_up', '1 if the last answer was acceptance.', ({ up }) => (up === false ? 0 : 1), 'gauge')
  new Gauge({
    name: 'decision_logs_status_gauge',
    help: 'Gauge for the last decision log upload by status.',
    labelNames: ['sink', 'code', 'http_code'],
    registers,
    collect() {
      this.reset()
      for (const { name, up, status } of read())
        this.set(
          {
            sink: name,
            code: up === false ? 'decision_log_error' : '',
            http_code: up === false ? String(status ?? '') : '',
          },
          1,
        )
    },
  })
}
