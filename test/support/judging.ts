import { loadPolicyFiles } from '../../src/edge/judge/bundle.ts'
import type { Judging } from '../../src/edge/judge/pool.ts'

/** The policy of a bundle as judging threads take it; whoever asks has an identity already. */
export async function judgingOf(path: string): Promise<Judging> {
  const { module, data, revisions } = await loadPolicyFiles({ mcp: path }, 'mcp/main/decision')
  return {
    module,
    data,
    settings: {
      expected: undefined,
      origin: { labels: {}, bundles: revisions },
      path: 'mcp/main/decision',
      digestKey: Buffer.from('k'),
      masks: false,
      digests: {},
    },
  }
}
