import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

/** Names that an OPA operator knows where the thing is the same (OPA docs, "Monitoring"); `mcp_` where it is ours. */
export type Metrics = {
  /** @param reason of a refusal, out of the closed table of them */
  count: (name: string, reason?: string) => void
  replayed: () => void
  observe: (method: string, status: number, seconds: number) => void
  bundleActivated: (name: string, revision: string | undefined) => void
  plugin: (name: string, ready: boolean) => void
  text: () => Promise<string>
  contentType: string
}

/** @param read values that are asked for when metrics are */
export function createMetrics(
  version: string,
  read: { replaced: () => number; spool: () => { seq: number; lost: number } },
): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  const messages = new Counter({
    name: 'mcp_messages_total',
    help: 'MCP messages by what was done with them.',
    labelNames: ['outcome'],
    registers,
  })
  const refusals = new Counter({
    name: 'mcp_refusals_total',
    help: 'What was refused before it was a question, by reason.',
    labelNames: ['reason'],
    registers,
  })
  const replays = new Counter({
    name: 'mcp_assertion_replays_total',
    help: 'Assertions that came a second time.',
    registers,
  })
  const duration = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'A histogram of duration for requests.',
    labelNames: ['code', 'handler', 'method'],
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30],
    registers,
  })
  const activation = new Gauge({
    name: 'last_success_bundle_activation',
    help: 'Gauge for the last success bundle activation, in nanoseconds since the epoch.',
    labelNames: ['name', 'active_revision'],
    registers,
  })
  const loaded = new Counter({
    name: 'bundle_loaded_counter',
    help: 'Counter for the bundle loaded.',
    labelNames: ['name'],
    registers,
  })
  const status = new Gauge({
    name: 'plugin_status_gauge',
    help: 'Gauge for the plugin by status.',
    labelNames: ['name', 'status'],
    registers,
  })
  const gauge = (name: string, help: string, value: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value())
      },
    })
  gauge('mcp_judge_replaced', 'Judging threads that were stopped at a deadline or died.', read.replaced)
  gauge('mcp_spool_seq', 'Sequence number of the last record.', () => read.spool().seq)
  gauge(
    'mcp_spool_lost',
    'Records that could not be written since the last that could.',
    () => read.spool().lost,
  )
  new Gauge({
    name: 'mcp_opa_sidecar_info',
    help: 'The running version.',
    labelNames: ['version'],
    registers,
  }).set({ version }, 1)

  return {
    count(outcome, reason) {
      messages.inc({ outcome })
      if (reason !== undefined) refusals.inc({ reason })
    },
    replayed: () => replays.inc(),
    observe: (method, code, seconds) => duration.observe({ code, handler: 'mcp', method }, seconds),
    bundleActivated(name, revision) {
      loaded.inc({ name })
      activation.set({ name, active_revision: revision ?? '' }, Date.now() * 1e6)
    },
    plugin(name, ready) {
      status.set({ name, status: ready ? 'OK' : 'NOT_READY' }, 1)
      status.set({ name, status: ready ? 'NOT_READY' : 'OK' }, 0)
    },
    text: () => registry.metrics(),
    contentType: registry.contentType,
  }
}
