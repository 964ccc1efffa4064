// The sidecar with another judge in place of its pool: `main-thread` evaluates where the messages arrive, `remote-opa`
// asks an OPA server for each decision. Everything else is composed as src/commands/sidecar.ts does.
//   node bench/variant.ts main-thread|remote-opa CONFIG [OPA_URL]
import { hkdfSync, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readConfig } from '../src/config.ts'
import { createMetrics } from '../src/edge/admin/metrics.ts'
import { openSpool } from '../src/edge/audit/spool.ts'
import { createListener } from '../src/edge/http/listener.ts'
import { createHttpUpstream } from '../src/edge/http/upstream.ts'
import { newId } from '../src/edge/id.ts'
import { type Keys, readJwks } from '../src/edge/judge/assertion.ts'
import { loadPolicyFiles } from '../src/edge/judge/bundle.ts'
import { createEvaluator } from '../src/edge/judge/evaluator.ts'
import { createJudge, type JudgeSettings } from '../src/edge/judge/judge.ts'
import { ownEvent } from '../src/log/event.ts'
import { DEFAULT_JSON_LIMITS } from '../src/mcp/strict-json.ts'
import type { Context } from '../src/pep/handle.ts'
import { createKept } from '../src/pep/kept.ts'
import type { Ports } from '../src/pep/ports.ts'
import { announce } from './processes.ts'
import { createRemoteJudge } from './remote-opa.ts'

const [variant = '', configFile = '', opaUrl = ''] = process.argv.slice(2)
const read = readConfig(readFileSync(configFile, 'utf8'), [], {})
if (!read.ok) throw new Error(read.faults.join('\n'))
const { mcp, bundles, audit } = read.config
if (mcp.identity.kind !== 'pomerium' || mcp.identity.keys.kind !== 'file' || mcp.upstream.kind !== 'http')
  throw new Error('needs identity.jwks_file and upstream.url')

const files = Object.entries(bundles).map(([name, source]) => [
  name,
  source.kind === 'file' ? source.path : '',
])
const policy = await loadPolicyFiles(Object.fromEntries(files), mcp.path)
const secret = randomBytes(32)
const digestKey = Buffer.from(hkdfSync('sha256', secret, '', 'mcp-opa-sidecar digest', 32))
const facts = () => ({ decision_id: newId(), event_id: newId(), time_ms: Date.now() })
const spool = openSpool(audit.buffer, {
  say: (event, more) => ownEvent(origin, facts(), event, more),
  now: Date.now,
  newId,
})
const origin = { labels: { id: spool.id, version: 'bench' }, bundles: policy.revisions }
const settings: JudgeSettings = {
  expected: mcp.identity.expected,
  origin,
  path: mcp.path,
  digestKey,
  masks: policy.masks,
  digests: { policy_digest: policy.digests.policy, data_digest: policy.digests.data },
}
const keys = readJwks(readFileSync(mcp.identity.keys.path, 'utf8'))
const metrics = createMetrics('bench', {
  failed: () => 0,
  replaced: () => 0,
  spool: spool.state,
  sinks: () => [],
})
const upstream = createHttpUpstream({
  url: mcp.upstream.url,
  connections: 256,
  timeout: mcp.upstream.timeout,
  messageLimit: mcp.messageLimit,
})

const context: Context = {
  ports: {
    judge: variant === 'remote-opa' ? createRemoteJudge(settings, keys, opaUrl) : inline(keys),
    forward: upstream.forward,
    decline: upstream.decline,
    record: spool.record,
    count: metrics.count,
    now: Date.now,
    newId,
  },
  settings: {
    server: mcp.server,
    limits: { ...DEFAULT_JSON_LIMITS, bytes: mcp.bodyLimit },
    forwardsAuthorization: false,
    eras: ['legacy', 'modern'],
    streamMaxAge: mcp.streamMaxAge,
    digestKey,
  },
  ...createKept(secret, Date.now),
  narrows: () => false,
  origin: () => origin,
}
announce(createListener(context, { ...mcp, configured: undefined }, metrics.observe).server)

/** The judge without a thread, and so without a deadline: an evaluation that does not end would stop everything. */
function inline(known: Keys | undefined): Ports['judge'] {
  const judge = createJudge(settings, {
    keys: () => known,
    evaluator: createEvaluator(policy.module, JSON.parse(policy.data)),
    now: Date.now,
    newId,
    evaluating: () => undefined,
  })
  return async (question) => judge(question)
}
