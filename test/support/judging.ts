import { loadPolicyFiles } from '../../src/edge/judge/bundle.ts'
import type { Judging } from '../../src/edge/judge/pool.ts'
import type { Identity } from '../../src/pdp/identity.ts'
import type { Question } from '../../src/pep/ports.ts'

export const alice: Identity = { source: 'configured', subject: 'alice', groups: [], claims: {} }

/** A call of a tool, with what a test changes of it. */
export const questionOf = (draft: Partial<Question['draft']> = {}, identity: Identity = alice): Question => ({
  ask: 'decision',
  who: { identity },
  draft: {
    decision_id: 'd-1',
    time: '',
    time_ms: 0,
    server: 's',
    protocol_version: '2025-11-25',
    direction: 'to_server',
    kind: 'request',
    method: 'tools/call',
    params: {},
    http: {},
    ...draft,
  },
  trace: {},
})

/** Settings of judging threads that believe the identity that comes with a question. */
export const settingsOf = (bundles: Judging['settings']['origin']['bundles'] = {}): Judging['settings'] => ({
  expected: undefined,
  origin: { labels: {}, bundles },
  path: 'mcp/main/decision',
  digestKey: Buffer.from('k'),
  masks: false,
  digests: {},
})

/** The policy of a bundle as judging threads take it; whoever asks has an identity already. */
export async function judgingOf(path: string): Promise<Judging> {
  const { module, data, revisions } = await loadPolicyFiles({ mcp: path }, 'mcp/main/decision')
  return { module, data, settings: settingsOf(revisions) }
}
