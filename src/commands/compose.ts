import { hkdfSync, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import type { Logger } from 'pino'
import type { Config } from '../config.ts'
import { createMetrics, type Metrics } from '../edge/admin/metrics.ts'
import { signWith, verifierOf } from '../edge/audit/checkpoint.ts'
import { openCounts } from '../edge/audit/counts.ts'
import { countRepeats } from '../edge/audit/repeats.ts'
import { startSinks } from '../edge/audit/sinks/open.ts'
import { openSpool } from '../edge/audit/spool.ts'
import { auditStatus } from '../edge/audit/status.ts'
import { type StatusSettings, startReporter } from '../edge/bundles/report.ts'
import { bodiesFor } from '../edge/http/memory.ts'
import { createSseUpstream } from '../edge/http/sse-upstream.ts'
import { createHttpUpstream, type Upstream } from '../edge/http/upstream.ts'
import { newId } from '../edge/id.ts'
import { createKeyStore } from '../edge/judge/keys.ts'
import { createPool, type Pool } from '../edge/judge/pool.ts'
import { createReplayGuard } from '../edge/judge/replay.ts'
import { pause } from '../edge/pause.ts'
import { createService } from '../edge/services/client.ts'
import { createStdioUpstream } from '../edge/stdio/out.ts'
import type { UpstreamConfig } from '../edge/upstream-settings.ts'
import { lifecycleEvent, type Origin, ownEvent, revisionOf } from '../log/event.ts'
import { DEFAULT_JSON_LIMITS, type JsonObject } from '../mcp/strict-json.ts'
import type { Context } from '../pep/handle.ts'
import { createKept } from '../pep/kept.ts'
import type { Judgement, Question } from '../pep/ports.ts'
import { composePolicies, digestsOf } from './policies.ts'

export type World = {
  log: Logger
  stdout: Writable
  env: Record<string, string | undefined>
  version: string
  /** told before the first record says that it has started */
  begins?: () => void
}

export type Composed = {
  context: Context
  metrics: Metrics
  /** why a bundle, or the record, or the keys are not in order */
  bundlesFault: () => string | undefined
  /** what OPA's status API says, with these plugins beside the others */
  status: (plugins: Plugins) => JsonObject
  keysFault: () => string | undefined
  auditFault: () => string | undefined
  revision: string
  /** Ends what was started, once nothing comes any more. @param clean whether all calls were let finish */
  close: (clean: boolean) => Promise<void>
}

/** Why each is not ready; undefined: it is. */
type Plugins = Record<string, string | undefined>

/** Bytes of answers of the upstream that are being received, less where the heap is small. */
const RECEIVING = 256 << 20

/** What of the record is as it should be. */
const QUIET = new Set(['segment_deleted', 'spool_draining', 'records_taken_again'])

/**
 * What decides, records and forwards, whatever carries the messages of clients: record, judge, bundles, keys, upstream.
 * Each is ready before the next is begun.
 */
export async function compose(config: Config, world: World): Promise<Composed> {
  const { log } = world
  const { mcp } = config
  const secret = mcp.sessionKey === undefined ? randomBytes(32) : Buffer.from(mcp.sessionKey)
  if (mcp.sessionKey === undefined)
    log.info('plugins.mcp.session_key is not set: sessions end with this process')
  const digestKey = Buffer.from(hkdfSync('sha256', secret, '', 'mcp-opa-sidecar digest', 32))

  const facts = () => ({ decision_id: newId(), event_id: newId(), time_ms: Date.now() })
  const spool = openSpool(config.audit.buffer, {
    say: (event, more) => ownEvent(origin(), facts(), event, more),
    now: Date.now,
    newId,
    sign: config.audit.checkpoint && signWith(config.audit.checkpoint),
    told: (cause) => log[QUIET.has(cause.code) ? 'info' : 'warn'](cause, `the record: ${cause.code}`),
  })
  if (config.audit.checkpoint)
    log.info({ verifier: verifierOf(config.audit.checkpoint, spool.id) }, 'checkpoints are signed')
  const labels = { id: spool.id, version: world.version, ...config.labels }
  let origin = (): Origin => ({ labels, bundles: {} })
  const lifecycle = (cause: JsonObject & { code: string }) =>
    spool.record(lifecycleEvent(origin(), facts(), cause), 'reserve')

  const { identityKey } = config.audit
  const counting = countRepeats(
    spool.record,
    (more) => ownEvent(origin(), facts(), 'repeat', more),
    Date.now,
    openCounts(join(config.audit.buffer.folder, 'counts.json')),
  )

  const pool = await createPool({ jwks: undefined, deadline: mcp.deadline, queue: mcp.queue })
  const metrics = createMetrics(world.version, {
    failed: pool.failed,
    replaced: pool.replaced,
    spool: spool.state,
    sinks: () => sinks.state(),
  })
  const { bundles, beside, setKeys, ...made } = await composePolicies(config, world, {
    pool,
    metrics,
    labels,
    digestKey,
    lifecycle: (cause) => void lifecycle(cause),
    record: (line) => void spool.record(line, 'best_effort'),
  })
  origin = made.origin
  const keys = mcp.identity.kind === 'pomerium' ? await createKeyStore(mcp.identity.keys, setKeys) : undefined
  const keyError = keys?.state().error
  if (keyError !== undefined)
    log.error(
      { error: keyError },
      'the keys that verify assertions are not there yet; calls get 503 until they are',
    )

  const replay =
    mcp.identity.kind === 'pomerium'
      ? createReplayGuard(
          mcp.identity.replay,
          mcp.identity.expected.tolerance,
          () => Date.now() / 1000,
          metrics.replayed,
        )
      : (judged: Judgement) => judged
  const upstream = openUpstream(config, world)
  const context: Context = {
    ports: {
      judge: beside(judgeWith(pool, bundles.stale, keys?.refresh, replay)),
      forward: upstream.forward,
      decline: upstream.decline,
      record: counting.record,
      count: metrics.count,
      now: Date.now,
      newId,
    },
    settings: {
      server: mcp.server,
      ...(mcp.help !== undefined && { help: mcp.help }),
      limits: { ...DEFAULT_JSON_LIMITS, bytes: mcp.bodyLimit },
      forwardsAuthorization: mcp.upstream.kind === 'http' && mcp.upstream.authorization === 'forward',
      eras: speaksModern(mcp.upstream) ? ['legacy', 'modern'] : ['legacy'],
      streamMaxAge: mcp.streamMaxAge,
      streamAfterExpiry: mcp.streamAfterExpiry,
      digestKey,
      ...(identityKey && { identityKey }),
    },
    ...createKept(secret, Date.now),
    narrows: made.narrows,
    origin: () => origin(),
  }
  const sinks = startSinks(
    config.audit.outputs,
    config.audit.buffer.folder,
    spool.reader,
    world,
    (sink, { kind, said, event_id }) =>
      kind === 'gone'
        ? log.error({ sink, error: said }, 'the copy of the records broke off; the spool has them all')
        : log.warn({ sink, answer: kind, error: said, event_id }, 'a sink did not take records'),
  )
  spool.retain()
  const revision = revisionOf(origin())
  world.begins?.()
  await lifecycle({ code: 'started', revision })
  bundles.onActivated(({ from, to }) => {
    const change = { from: from?.revisions ?? {}, to: to.revisions }
    log.info(change, 'another policy is in force')
    void lifecycle({ code: 'bundle_activated', ...change, ...digestsOf(to) })
    context.changes.announce()
  })

  const status = (more: Plugins): JsonObject => {
    const { error, warning } = spool.state()
    const plugins: Plugins = {
      bundle: bundles.statuses.fault() ?? bundles.stale(),
      mcp: keysFault(keys?.state()),
      mcp_audit: error,
      ...more,
    }
    return {
      labels,
      bundles: bundles.statuses.all(),
      decision_logs: auditStatus(spool.state(), sinks.state(), Date.now()),
      plugins: Object.fromEntries(
        Object.entries(plugins).map(([name, why]) => [
          name,
          why === undefined && name === 'mcp_audit' && warning !== undefined
            ? { state: 'WARN', message: warning }
            : { state: why === undefined ? 'OK' : 'NOT_READY' },
        ]),
      ),
    }
  }
  const reporter = reportTo(config.status, world, () => status({}))
  bundles.statuses.onChange(() => reporter?.changed())
  reporter?.changed()

  return {
    context,
    metrics,
    status,
    bundlesFault: () => bundles.statuses.fault() ?? bundles.stale(),
    keysFault: () => keysFault(keys?.state()),
    auditFault: () => spool.state().error,
    revision,
    async close(clean) {
      await upstream.close()
      await made.close()
      await reporter?.close()
      await keys?.close()
      await counting.close()
      await lifecycle({ code: clean ? 'stopped' : 'stopped_with_calls_cut' })
      // The file first: it is the record of truth, and nobody may be reading the copies.
      await spool.close()
      if (!(await sinks.stop(config.audit.grace)))
        log.warn('not every sink took all records; they go on where they were at the next start')
    },
  }
}

const speaksModern = (upstream: UpstreamConfig): boolean =>
  upstream.kind === 'stdio' || upstream.transport === 'streamable'

function openUpstream({ mcp }: Config, { log, env }: World): Upstream {
  const { upstream, messageLimit } = mcp
  if (upstream.kind === 'stdio') {
    const { PATH = '', HOME = '' } = env
    return createStdioUpstream({
      command: upstream.command,
      timeout: upstream.timeout,
      idle: upstream.idle,
      maxSessions: upstream.maxSessions,
      ...(upstream.cwd !== undefined && { cwd: upstream.cwd }),
      env: { PATH, HOME, ...upstream.env },
      messageLimit,
      onStderr: (line) => log.debug({ line: line.slice(0, 2000) }, 'upstream'),
    })
  }
  const create = upstream.transport === 'sse' ? createSseUpstream : createHttpUpstream
  return create({
    url: upstream.url,
    connections: 256,
    streams: mcp.bounds.streams,
    receiving: bodiesFor(RECEIVING, 2 * messageLimit),
    timeout: upstream.timeout,
    messageLimit,
    ...(upstream.credential !== undefined && { authorization: upstream.credential }),
    ...(upstream.ca !== undefined && { ca: upstream.ca }),
  })
}

function reportTo(settings: StatusSettings | undefined, { log, version }: World, body: () => JsonObject) {
  if (!settings) return undefined
  const client = settings.service && createService(settings.service, `mcp-opa-sidecar/${version}`)
  const stopped = new AbortController()
  const reporter = startReporter(settings, client, {
    body,
    log: (status) => log.info({ type: 'openpolicyagent.org/status', ...status }, 'Status Log'),
    failed: (error) => log.error({ error }, 'the status could not be sent'),
    pause: (ms) => pause(ms, stopped.signal),
    random: Math.random,
  })
  const close = () => {
    stopped.abort()
    return reporter.close()
  }
  return { ...reporter, close }
}

/** An assertion of a key that is not known is asked about once more if the source has new keys. */
function judgeWith(
  pool: Pool,
  stale: () => string | undefined,
  refresh: (() => Promise<boolean>) | undefined,
  replay: (judged: Judgement) => Judgement,
) {
  const once = async (question: Question) => replay(await pool.judge(question))
  return async (question: Question): Promise<Judgement> => {
    if (stale() !== undefined) return { kind: 'unavailable', fault: 'bundle_stale' }
    const judged = await once(question)
    const unknown = judged.kind === 'unidentified' && judged.fault === 'assertion_unknown_key'
    const none = judged.kind === 'unavailable' && judged.fault === 'keys_unavailable'
    if (!refresh || !(unknown || none)) return judged
    return (await refresh()) ? once(question) : judged
  }
}

const keysFault = (state: { loaded: boolean; error: string | undefined } | undefined): string | undefined =>
  state && !state.loaded ? `the keys that verify assertions are not loaded: ${state.error}` : undefined
