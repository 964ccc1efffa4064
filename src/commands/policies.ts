import type { Config } from '../config.ts'
import type { Metrics } from '../edge/admin/metrics.ts'
import { type Bundles, createBundles } from '../edge/bundles/bundles.ts'
import { besideCandidate } from '../edge/bundles/candidate.ts'
import { newId } from '../edge/id.ts'
import type { Policy } from '../edge/judge/bundle.ts'
import { createPool, type Judging, type Pool } from '../edge/judge/pool.ts'
import type { OpenLine, Origin } from '../log/event.ts'
import type { JsonObject } from '../mcp/strict-json.ts'
import type { Judgement, Question } from '../pep/ports.ts'
import type { World } from './compose.ts'

type Judge = (question: Question) => Promise<Judgement>

/** The policy in force, where there is one the candidate, and the bundles that both are made of. */
export type Policies = {
  bundles: Bundles
  /** a judge with the candidate asked beside it */
  beside: (judge: Judge) => Judge
  origin: () => Origin
  /** whether the policy in force narrows the schemas of tools of this server */
  narrows: () => boolean
  setKeys: (jwks: string) => void
  close: () => Promise<void>
}

export type PoliciesPorts = {
  pool: Pool
  metrics: Metrics
  labels: Record<string, string>
  digestKey: Uint8Array
  lifecycle: (cause: JsonObject & { code: string }) => void
  record: (line: OpenLine) => void
}

/** Questions that may wait for the candidate; more are only counted. */
const CANDIDATE_QUEUE = 256

export async function composePolicies(config: Config, world: World, ports: PoliciesPorts): Promise<Policies> {
  const { mcp } = config
  const { identityKey } = config.audit
  const { pool, metrics, labels, digestKey, lifecycle } = ports
  let origin: Origin = { labels, bundles: {} }
  let narrows = false
  const judgingBy = (policy: Policy, masks: boolean): Judging => ({
    module: policy.module,
    data: policy.data,
    settings: {
      expected: mcp.identity.kind === 'pomerium' ? mcp.identity.expected : undefined,
      origin: { labels, bundles: policy.revisions },
      path: mcp.path,
      digestKey,
      ...(identityKey && { identityKey }),
      masks,
      digests: digestsOf(policy),
    },
  })
  const tries = Object.keys(mcp.candidate).length > 0
  const candidate = tries
    ? await createPool({ jwks: undefined, deadline: mcp.deadline, queue: CANDIDATE_QUEUE })
    : undefined
  const options = {
    path: mcp.path,
    userAgent: `mcp-opa-sidecar/${world.version}`,
    persistence: config.persistence,
    maxAge: mcp.bundleMaxAge,
    candidate: mcp.candidate,
  }
  const bundles = createBundles(config.bundles, options, {
    take: (policy, swapped) =>
      pool.activate(judgingBy(policy, policy.masks), () => {
        origin = { labels, bundles: policy.revisions }
        narrows = policy.narrows.includes(mcp.server)
        swapped()
      }),
    // Its events are not written, so that there is nothing to mask.
    ...(candidate && { tryOut: (policy, swapped) => candidate.activate(judgingBy(policy, false), swapped) }),
    news: metrics.bundles,
    failed(name, { code, message }) {
      world.log.error({ bundle: name, code, error: message }, 'the bundle is not active')
      lifecycle({
        code: 'bundle_failed',
        bundle: name,
        failure: code,
        error: message.slice(0, 1000).toWellFormed(),
      })
    },
  })
  await bundles.start()
  return {
    bundles,
    beside: (judge) =>
      candidate
        ? besideCandidate(judge, {
            ask: candidate.judge,
            record: ports.record,
            origin: () => origin,
            ...metrics.candidate,
            newId,
            now: Date.now,
          })
        : judge,
    origin: () => origin,
    narrows: () => narrows,
    setKeys(jwks) {
      pool.setKeys(jwks)
      candidate?.setKeys(jwks)
    },
    async close() {
      await bundles.close()
      await pool.close()
      await candidate?.close()
    },
  }
}

export const digestsOf = ({ digests }: Policy) => ({
  policy_digest: digests.policy,
  data_digest: digests.data,
})
