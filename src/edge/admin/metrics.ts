import { Counter, collectDefaultMetrics, exponentialBuckets, Gauge, Histogram, Registry } from 'prom-client'
import type { SinkState } from '../audit/sinks/runner.ts'
import type { CandidatePorts } from '../bundles/candidate.ts'
import type { BundleNews } from '../bundles/status.ts'
import { sinkMetrics } from './sink-metrics.ts'

/** Names that an OPA operator knows where the thing is the same (OPA docs, "Monitoring"); `mcp_` where it is ours. */
export type Metrics = {
  /** @param reason of a refusal, out of the closed table of them */
  count: (name: string, reason?: string) => void
  replayed: () => void
  observe: (method: string, status: number, seconds: number) => void
  bundles: BundleNews
  candidate: {
    compared: CandidatePorts['compared']
    failed: CandidatePorts['failed']
  }
  plugin: (name: string, ready: boolean) => void
  text: () => Promise<string>
  contentType: string
}

/** OPA's own (OPA v1/plugins/status/metrics.go). Its `message` is a text; here it is the kind of failure, of which there are few. */
function bundleMetrics(registers: Registry[]): BundleNews {
  const gauge = (name: string, help: string, more: string[] = []) =>
    new Gauge({ name, help, labelNames: ['name', ...more], registers })
  const request = gauge('last_bundle_request', 'Gauge for the last bundle request.')
  const answered = gauge('last_success_bundle_request', 'Gauge for the last success bundle request.')
  const downloaded = gauge('last_success_bundle_download', 'Gauge for the last success bundle download.')
  const activation = gauge(
    'last_success_bundle_activation',
    'Gauge for the last success bundle activation, in nanoseconds since the epoch.',
    ['active_revision'],
  )
  const loaded = new Counter({
    name: 'bundle_loaded_counter',
    help: 'Counter for the bundle loaded.',
    labelNames: ['name'],
    registers,
  })
  const failures = new Counter({
    name: 'bundle_failed_load_counter',
    help: 'Counter for the failed bundle load.',
    labelNames: ['name', 'code', 'message'],
    registers,
  })
  const duration = new Histogram({
    name: 'bundle_loading_duration_ns',
    help: 'Histogram for the bundle loading duration by stage.',
    labelNames: ['name', 'stage'],
    buckets: exponentialBuckets(1000, 2, 20),
    registers,
  })
  const revisions = new Map<string, string>()
  const begun = new Map<string, number>()
  const passed = (name: string, stage: string) => {
    const at = begun.get(name)
    // One that is on disk is put in force without a request.
    if (at !== undefined) duration.observe({ name, stage }, Math.round((performance.now() - at) * 1e6))
    begun.delete(name)
  }
  const now = () => Date.now() * 1e6
  return {
    requested(name) {
      request.set({ name }, now())
      begun.set(name, performance.now())
    },
    confirmed(name) {
      answered.set({ name }, now())
      loaded.inc({ name })
    },
    downloaded(name) {
      downloaded.set({ name }, now())
      passed(name, 'timer_bundle_request_ns')
      begun.set(name, performance.now())
    },
    activated(name, revision) {
      const old = revisions.get(name)
      // One series a bundle: revisions have no end.
      if (old !== undefined) activation.remove({ name, active_revision: old })
      revisions.set(name, revision ?? '')
      passed(name, 'timer_rego_load_bundles_ns')
      activation.set({ name, active_revision: revision ?? '' }, now())
    },
    failed: (name, error) => failures.inc({ name, code: 'bundle_error', message: error.code }),
    mended: () => undefined,
  }
}

/** Names of tools that are told apart; the rest is `other`, for a server may name as many as it likes. */
const TOOLS = 200

function candidateMetrics(registers: Registry[]): Metrics['candidate'] {
  const counter = (name: string, help: string, labelNames: string[]) =>
    new Counter({ name, help, labelNames, registers })
  const answers = counter('mcp_candidate_answers_total', 'Decisions that the candidate gave an answer to.', [
    'method',
  ])
  const flips = counter(
    'mcp_candidate_flips_total',
    'Answers of the candidate that are not the enforced one.',
    ['method', 'tool', 'direction'],
  )
  const failures = counter('mcp_candidate_failures_total', 'Decisions that the candidate had no answer to.', [
    'reason',
  ])
  const tools = new Set<string>()
  const labelOf = (tool: string | undefined): string => {
    if (tool !== undefined && tools.size < TOOLS) tools.add(tool)
    return tool !== undefined && tools.has(tool) ? tool : 'other'
  }
  return {
    compared({ method, tool }, flip) {
      answers.inc({ method })
      if (flip) flips.inc({ method, tool: labelOf(tool), direction: flip })
    },
    failed: (reason) => failures.inc({ reason }),
  }
}

/** @param read values that are asked for when metrics are */
export function createMetrics(
  version: string,
  read: {
    failed: () => number
    replaced: () => number
    spool: () => {
      seq: number
      lost: number
      lostEver: number
      bytes: number
      maxBytes: number
      room: { held: number; left: number }
    }
    sinks: () => SinkState[]
  },
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
  gauge('mcp_judge_failed', 'Evaluations that aborted or passed their deadline.', read.failed)
  gauge('mcp_judge_replaced', 'Judging threads that were stopped at a deadline or died.', read.replaced)
  gauge('mcp_spool_seq', 'Sequence number of the last record.', () => read.spool().seq)
  gauge('mcp_spool_bytes', 'Bytes of the record on disk.', () => read.spool().bytes)
  gauge('mcp_spool_max_bytes', 'Bytes that the record may have.', () => read.spool().maxBytes)
  gauge(
    'mcp_spool_lost',
    'Records that could not be written since the last that could.',
    () => read.spool().lost,
  )
  gauge(
    'mcp_spool_held_bytes',
    'Bytes of the record that a sink has not passed, and that are not deleted before.',
    () => read.spool().room.held,
  )
  gauge(
    'mcp_spool_left_bytes',
    'Bytes that may still come before the record is full: of max_bytes, or of the disk if that is less.',
    () => read.spool().room.left,
  )
  new Counter({
    name: 'mcp_spool_lost_total',
    help: 'Records that could not be written.',
    registers,
    collect() {
      this.reset()
      this.inc(read.spool().lostEver)
    },
  })
  sinkMetrics(registers, read.sinks)
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
    bundles: bundleMetrics(registers),
    candidate: candidateMetrics(registers),
    plugin(name, ready) {
      status.set({ name, status: ready ? 'OK' : 'NOT_READY' }, 1)
      status.set({ name, status: ready ? 'NOT_READY' : 'OK' }, 0)
    },
    text: () => registry.metrics(),
    contentType: registry.contentType,
  }
}
