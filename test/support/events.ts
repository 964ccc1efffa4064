import {
  decisionEvent,
  type Facts,
  finishLine,
  lifecycleEvent,
  type OpenLine,
  type Origin,
  outcomeEvent,
  ownEvent,
  rejectEvent,
} from '../../src/log/event.ts'
import type { Decision } from '../../src/pdp/decision.ts'
import type { Input } from '../../src/pdp/input.ts'

const origin: Origin = {
  labels: {
    id: '0b7d1f6e-6a0e-4f3e-9d43-3f6b6f1d2c10',
    version: '0.1.0',
    app: 'github-mcp',
    environment: 'production',
  },
  bundles: { mcp: { revision: 'git:ab12' } },
}
const facts = (n: number, decision = n): Facts => ({
  decision_id: `019ac000-0000-7000-8000-00000000000${decision}`,
  event_id: `019ac000-0000-7000-9000-00000000000${n}`,
  time_ms: 1_795_379_174_008 + n,
  trace_id: '0af7651916cd43dd8448eb211c80319c',
  span_id: 'b7ad6b7169203331',
  rpc_id: n,
})

const input = (tool: string): Input =>
  ({
    decision_id: facts(1).decision_id,
    time: '2026-11-22T20:26:14.008Z',
    time_ms: 1_795_379_174_008,
    server: 'github',
    protocol_version: '2025-11-25',
    direction: 'to_server',
    kind: 'request',
    method: 'tools/call',
    tool: { name: tool, declared: 'listed', annotations: { destructiveHint: true }, digest: 'sha256:aa' },
    arguments: { owner: 'acme', repo: 'app', pullNumber: 7 },
    undeclared_arguments: [],
    params: {},
    identity: {
      source: 'pomerium',
      subject: 'auth0|mona',
      email: 'mona@example.com',
      name: 'Mona',
      groups: ['engineering'],
      issuer: 'mcp-github.example.com',
      audience: 'mcp-github.example.com',
      sid: 'sid-1',
      claims: {},
    },
    client: { name: 'claude-code', version: '2.1.0' },
    mcp_session: 'hmac:5e55',
    http: { request_id: 'req-1', source_ip: '203.0.113.7' },
  }) as Input

const more = {
  eval_ns: 250_000,
  digest: (text: string) => `hmac:${text.length}`,
  digests: { policy_digest: 'sha256:p', data_digest: 'sha256:d' },
}
const decide = (n: number, tool: string, decision: object) =>
  decisionEvent(origin, facts(n), 'mcp/main/decision', input(tool), decision as Decision, more)

const open: Record<string, OpenLine> = {
  denied: decide(1, 'merge_pull_request', {
    allow: false,
    reasons: [{ code: 'merge_not_granted', title: 'Merging needs the maintainers group', severity: 'high' }],
  }),
  allowed: decide(2, 'create_pull_request', {
    allow: true,
    reasons: [{ code: 'granted', title: 'Granted', details: { grant: 'engineering' } }],
  }),
  dry_run: decide(3, 'delete_file', {
    allow: true,
    reasons: [],
    dry_run: { allow: false, reasons: [{ code: 'not_granted', title: 'Nothing grants it' }] },
  }),
  outcome: outcomeEvent(origin, facts(4, 2), {
    disposition: 'allowed',
    method: 'tools/call',
    status: 200,
    tool_error: false,
    duration_ms: 412.5,
    bytes: 9120,
    end: 'complete',
  }),
  failed: outcomeEvent(origin, facts(5, 2), {
    disposition: 'failed',
    method: 'tools/call',
    status: 502,
    rpc_error: -32603,
    duration_ms: 30_000,
    end: 'upstream_failed',
    cause: { code: 'upstream_timeout' },
  }),
  reject: rejectEvent(
    origin,
    facts(6),
    { code: 'assertion_expired', status: 403 },
    { request_id: 'req-2', source_ip: '203.0.113.8' },
  ),
  lifecycle: lifecycleEvent(origin, facts(7), { code: 'bundle_activated', revision: 'git:ab12' }),
  gap: ownEvent(origin, facts(8), 'gap', { cause: { code: 'records_lost', lost: 3, required: 0 } }),
  repeat: ownEvent(origin, facts(0), 'repeat', {
    disposition: 'rejected',
    cause: { code: 'assertion_missing' },
    count: 17,
    since: '2026-11-22T20:26:00.000Z',
    until: '2026-11-22T20:27:00.000Z',
  }),
  checkpoint: ownEvent(origin, facts(9), 'checkpoint', { tree: { size: 8, root: 'cm9vdA==' } }),
}

/** One record of each kind, as the sidecar's own code writes it. */
export const EVENTS: [name: string, line: string][] = Object.entries(open).map(([name, line], at) => [
  name,
  finishLine(line, at + 1).trimEnd(),
])
