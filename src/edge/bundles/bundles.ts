import type { Policy } from '../judge/bundle.ts'
import { type Change, createActivation, type Delivered } from './activation.ts'
import type { Content } from './archive.ts'
import type { BundleError } from './failure.ts'
import { lookAt, readFiles } from './files.ts'
import { loadPolicy } from './load.ts'
import type { BundleSettings, BundleSource } from './settings.ts'
import { type BundleNews, createStatuses, type Statuses } from './status.ts'

/** All bundles of the configuration, from where they come to the policy that is in force. */
export type Bundles = {
  /**
   * Fetches what is there. Where every bundle is a file, the policy is in force when this returns.
   * @throws BundleError where files alone make the policy and do not
   */
  start: () => Promise<void>
  policy: () => Policy | undefined
  statuses: Statuses
  /** told after each swap, for what must follow the policy in force */
  onActivated: (listener: (change: Change) => void) => void
  close: () => Promise<void>
}

export type BundlesPorts = {
  /** puts a policy in force: see `Pool.activate` */
  take: (policy: Policy, swapped: () => void) => Promise<void>
  /** counts */
  news: BundleNews
  /** told once for each different reason why a bundle is not active, not at each try */
  failed: (name: string, error: BundleError) => void
}

/** Milliseconds between two looks at files. */
const FILES_EVERY = 2_000

export function createBundles(
  settings: BundleSettings,
  path: string,
  ports: BundlesPorts,
  every: number = FILES_EVERY,
): Bundles {
  const names = Object.keys(settings)
  const listeners: ((change: Change) => void)[] = []
  const statuses = createStatuses(
    names,
    () => new Date(),
    () => performance.now(),
  )
  const news = both(statuses, ports.news)
  const said = new Map<string, string>()
  const floors = new Map<string, number>()
  const stopping = new AbortController()
  const loops: Promise<void>[] = []

  const failed = (name: string, error: BundleError) => {
    news.failed(name, error)
    if (said.get(name) === error.message) return
    said.set(name, error.message)
    ports.failed(name, error)
  }
  const activation = createActivation({
    bundles: settings,
    load: (sources) => loadPolicy(sources, path),
    take: ports.take,
    floor: (name) => floors.get(name),
    failed,
    activated(change) {
      for (const name of change.brought.keys()) {
        said.delete(name)
        news.activated(name, change.to.revisions[name]?.revision)
        const sequence = change.to.sequences[name]
        if (sequence !== undefined) floors.set(name, sequence)
      }
      for (const listener of listeners) listener(change)
    },
  })

  const bring = async (name: string, content: Content): Promise<Delivered> => {
    const delivered = await activation.deliver(name, content)
    if (delivered.kind === 'unchanged') {
      said.delete(name)
      news.mended(name)
    }
    return delivered
  }

  const readFile = async (name: string, source: BundleSource): Promise<Delivered> => {
    news.requested(name)
    let content: Content
    try {
      content = await readFiles(name, source.path, source.limits)
    } catch (error) {
      failed(name, error as BundleError)
      return { kind: 'failed', error: error as BundleError }
    }
    news.confirmed(name)
    news.downloaded(name, sizeOf(content))
    return bring(name, content)
  }

  /** A file that still changes is left until two looks are alike: half of it is no bundle. */
  const watch = async (name: string, source: BundleSource, seen: string): Promise<void> => {
    let read = seen
    let before = seen
    while (await pause(every, stopping.signal)) {
      const now = await lookAt(source.path)
      if (now === before && now !== read) {
        read = now
        await readFile(name, source)
      } else if (now === read && !now.startsWith('unreadable')) statuses.seen(name)
      before = now
    }
  }

  return {
    async start() {
      const results: Delivered[] = []
      for (const [name, source] of Object.entries(settings)) {
        const seen = await lookAt(source.path)
        results.push(await readFile(name, source))
        loops.push(watch(name, source, seen))
      }
      const bad = results.find((result) => result.kind === 'failed')
      if (bad?.kind === 'failed') throw bad.error
    },
    policy: activation.policy,
    statuses,
    onActivated: (listener) => void listeners.push(listener),
    async close() {
      stopping.abort()
      await Promise.all(loops)
    },
  }
}

const sizeOf = (content: Content): number =>
  'bytes' in content
    ? content.bytes.length
    : [...content.files.values()].reduce((sum, bytes) => sum + bytes.length, 0)

function both(first: BundleNews, second: BundleNews): BundleNews {
  return {
    requested(name) {
      first.requested(name)
      second.requested(name)
    },
    confirmed(name) {
      first.confirmed(name)
      second.confirmed(name)
    },
    downloaded(name, size) {
      first.downloaded(name, size)
      second.downloaded(name, size)
    },
    activated(name, revision) {
      first.activated(name, revision)
      second.activated(name, revision)
    },
    failed(name, error) {
      first.failed(name, error)
      second.failed(name, error)
    },
    mended(name) {
      first.mended(name)
      second.mended(name)
    },
  }
}

/** False as soon as the signal fires. */
export function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(false)
    const stop = () => {
      clearTimeout(timer)
      resolve(false)
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop)
      resolve(true)
    }, ms)
    timer.unref()
    signal.addEventListener('abort', stop, { once: true })
  })
}
