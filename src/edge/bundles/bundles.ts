import type { Policy, Source } from '../judge/bundle.ts'
import { pause } from '../pause.ts'
import { createService, type ServiceClient } from '../services/client.ts'
import type { Service } from '../services/settings.ts'
import { type Activation, type Change, createActivation, type Delivered } from './activation.ts'
import type { Content } from './archive.ts'
import { download } from './download.ts'
import { BundleError } from './failure.ts'
import { createKeeping } from './keeping.ts'
import { loadPolicy } from './load.ts'
import type { BundleSettings, BundleSource } from './settings.ts'
import { type BundleNews, createStatuses, type Statuses, tellBoth } from './status.ts'
import { watchFiles } from './watch.ts'

/** All bundles of the configuration, from where they come to the policy that is in force. */
export type Bundles = {
  /**
   * Reads files and what was kept of services, and begins to poll. Where every bundle is a file, the policy is in force
   * when this returns; what comes from a service may come later.
   * @throws BundleError where files alone make the policy and do not
   */
  start: () => Promise<void>
  policy: () => Policy | undefined
  /** why the bundles are too old to decide by, where a maximum age is set */
  stale: () => string | undefined
  statuses: Statuses
  /** told after each swap, for what must follow the policy in force */
  onActivated: (listener: (change: Change) => void) => void
  close: () => Promise<void>
}

export type BundlesPorts = {
  /** puts a policy in force: see `Pool.activate` */
  take: (policy: Policy, swapped: () => void) => Promise<void>
  /** the same for the threads of the candidate */
  tryOut?: (policy: Policy, swapped: () => void) => Promise<void>
  /** counts */
  news: BundleNews
  /** told once for each different reason why a bundle is not active, not at each try */
  failed: (name: string, error: BundleError) => void
}

export type BundlesOptions = {
  /** the entrypoint of decisions */
  path: string
  userAgent: string
  /** where the last good bundles and the highest sequences are kept */
  persistence: string | undefined
  /** milliseconds */
  maxAge: number | undefined
  /** milliseconds between two looks at files */
  filesEvery?: number
  /** by bundle, the one that is tried in its place */
  candidate?: Record<string, string>
}

/** Milliseconds between two looks at files. */
const FILES_EVERY = 2_000
/** Milliseconds at the end for what is in hand. */
const CLOSING = 2_000

export function createBundles(
  settings: BundleSettings,
  options: BundlesOptions,
  ports: BundlesPorts,
): Bundles {
  const { path, userAgent, maxAge, filesEvery: every = FILES_EVERY } = options
  const clients = new Map<string, ServiceClient>()
  const { candidate = {} } = options
  /** those that are only tried */
  const trials = new Set(Object.values(candidate))
  const names = Object.keys(settings)
  const enforced = names.filter((name) => !trials.has(name))
  const listeners: ((change: Change) => void)[] = []
  const statuses = createStatuses(
    names,
    enforced,
    () => new Date(),
    () => performance.now(),
  )
  const news = tellBoth(statuses, ports.news)
  const said = new Map<string, string>()
  const stopping = new AbortController()
  const loops: Promise<void>[] = []

  const failed = (name: string, error: BundleError) => {
    news.failed(name, error)
    if (said.get(name) === error.message) return
    said.set(name, error.message)
    ports.failed(name, error)
  }
  const keeping = createKeeping(settings, options.persistence, failed)
  const pick = (which: string[]): BundleSettings =>
    Object.fromEntries(Object.entries(settings).filter(([name]) => which.includes(name)))
  const common = {
    load: (sources: Source[]) => loadPolicy(sources, path),
    floor: keeping.floor,
  }
  const told =
    (of: (name: string) => boolean, listeners: ((change: Change) => void)[]) => (change: Change) => {
      for (const name of change.brought.keys()) {
        if (!of(name)) continue
        said.delete(name)
        news.activated(name, change.to.revisions[name]?.revision)
        keeping.keep(name, change)
      }
      for (const listener of listeners) listener(change)
    }
  const activation = createActivation({
    ...common,
    bundles: pick(enforced),
    take: ports.take,
    failed,
    activated: told(() => true, listeners),
  })
  /** With the bundles in force, but for those that others are tried for. */
  const trial =
    trials.size > 0 && ports.tryOut
      ? createActivation({
          ...common,
          bundles: pick(enforced.map((name) => candidate[name] ?? name)),
          take: ports.tryOut,
          failed: (name, error) => failed(trials.has(name) ? name : ([...trials][0] ?? name), error),
          activated: told((name) => trials.has(name), []),
        })
      : undefined

  const bringKept = async (name: string): Promise<void> => {
    try {
      const last = await keeping.last(name)
      if (!last) return
      statuses.seen(name, last.age)
      await bring(name, last.content)
    } catch (error) {
      failed(name, new BundleError('persistence', `bundle ${name}: ${(error as Error).message}`))
    }
  }

  const clientOf = (service: Service): ServiceClient => {
    const client = clients.get(service.name) ?? createService(service, userAgent)
    clients.set(service.name, client)
    return client
  }

  const poll = (name: string, source: Extract<BundleSource, { kind: 'service' }>): Promise<void> =>
    download(name, source, {
      client: clientOf(source.service),
      news,
      bring: (bytes) => bring(name, { bytes }),
      same() {
        said.delete(name)
        news.mended(name)
        keeping.confirm(name)
      },
      failed: (error) => failed(name, error),
      pause: (ms) => pause(ms, stopping.signal),
      signal: stopping.signal,
      random: Math.random,
    })

  const bring = async (name: string, content: Content): Promise<Delivered> => {
    const tried = enforced.includes(name) && Object.hasOwn(candidate, name) ? undefined : trial
    const delivered = trials.has(name)
      ? await (trial as Activation).deliver(name, content)
      : await activation.deliver(name, content)
    // After the policy in force, and without a say in what becomes of the bundle there.
    if (!trials.has(name) && delivered.kind !== 'failed') tried?.deliver(name, content).catch(() => undefined)
    if (delivered.kind === 'unchanged') {
      said.delete(name)
      news.mended(name)
    }
    return delivered
  }

  const watch = (name: string, source: Extract<BundleSource, { kind: 'file' }>) =>
    watchFiles(name, source, {
      news,
      bring: (content) => bring(name, content),
      failed: (error) => failed(name, error),
      seen: () => statuses.seen(name, 0),
      pause: () => pause(every, stopping.signal),
    })

  return {
    async start() {
      const results: Delivered[] = []
      await keeping.begin()
      for (const [name, source] of Object.entries(settings)) {
        if (source.kind === 'file') {
          const { first, looks } = await watch(name, source)
          if (!trials.has(name)) results.push(first)
          loops.push(looks)
        } else {
          await bringKept(name)
          loops.push(poll(name, source))
        }
      }
      const bad = results.find((result) => result.kind === 'failed')
      const alone = enforced.every((name) => settings[name]?.kind === 'file')
      if (alone && bad?.kind === 'failed') throw bad.error
    },
    policy: activation.policy,
    stale() {
      const age = maxAge === undefined ? undefined : statuses.age()
      if (age === undefined || maxAge === undefined || age <= maxAge) return undefined
      return `a bundle was not confirmed by its source for ${Math.round(age / 1000)} s (bundle_max_age)`
    },
    statuses,
    onActivated: (listener) => void listeners.push(listener),
    async close() {
      stopping.abort()
      await Promise.all([...clients.values()].map((client) => client.close()))
      // A bundle that is just being loaded must not keep the process from its end.
      const late = new Promise<void>((resolve) => setTimeout(resolve, CLOSING).unref())
      await Promise.race([Promise.all(loops), late])
      await keeping.close()
    },
  }
}
