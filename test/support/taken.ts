import type { Change } from '../../src/edge/bundles/activation.ts'
import { type Bundles, createBundles } from '../../src/edge/bundles/bundles.ts'
import type { BundleError } from '../../src/edge/bundles/failure.ts'
import type { BundleSettings } from '../../src/edge/bundles/settings.ts'

export type Taken = {
  bundles: Bundles
  changes: Change[]
  failures: BundleError[]
  until: (holds: () => boolean) => Promise<void>
  revision: (name?: string) => string | undefined
}

/** Bundles without threads that judge: what is put in force is only noted. */
export function takeBundles(
  settings: BundleSettings,
  more: { persistence?: string; maxAge?: number } = {},
): Taken {
  const changes: Change[] = []
  const failures: BundleError[] = []
  const told: (() => void)[] = []
  const tell = () => {
    for (const listener of told.splice(0)) listener()
  }
  const none = () => undefined
  const bundles = createBundles(
    settings,
    { path: 'mcp/main/decision', userAgent: 'test/1', persistence: more.persistence, maxAge: more.maxAge },
    {
      take: async (_policy, swapped) => swapped(),
      news: {
        requested: none,
        confirmed: tell,
        downloaded: none,
        activated: none,
        failed: none,
        mended: none,
      },
      failed(_name, error) {
        failures.push(error)
        tell()
      },
    },
  )
  bundles.onActivated((change) => {
    changes.push(change)
    tell()
  })
  return {
    bundles,
    changes,
    failures,
    async until(holds) {
      while (!holds()) await new Promise<void>((resolve) => told.push(resolve))
    },
    revision: (name = 'mcp') => bundles.policy()?.revisions[name]?.revision,
  }
}
