import type { Policy, Source } from '../judge/bundle.ts'
import { createService, type ServiceClient } from '../services/client.ts'
import type { Service } from '../services/settings.ts'
import { type Activation, type Change, createActivation, type Delivered } from './activation.ts'
import type { Content } from './archive.ts'
import { download } from './download.ts'
import { BundleError } from './failure.ts'
import { lookAt, readFiles } from './files.ts'
import { loadPolicy } from './load.ts'
import { createStore } from './persist.ts'
import type { BundleSettings, BundleSource } from './settings.ts'
import { type BundleNews, createStatuses, type Statuses } from './status.ts'

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
/** Where OPA keeps bundles if it is not told. */
const KEPT = '.opa'

type FileSource = Extract<BundleSource, { kind: 'file' }>

export function createBundles(
  settings: BundleSettings,
  options: BundlesOptions,
  ports: BundlesPorts,
): Bundles {
  const { path, userAgent, maxAge, filesEvery: every = FILES_EVERY } = options
  const persists = Object.values(settings).some((source) => source.kind === 'service' && source.persist)
  const store =
    options.persistence === undefined && !persists ? undefined : createStore(options.persistence ?? KEPT)
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
  const pick = (which: string[]): BundleSettings =>
    Object.fromEntries(Object.entries(settings).filter(([name]) => which.includes(name)))
  const common = {
    load: (sources: Source[]) => loadPolicy(sources, path),
    floor: (name: string) => floors.get(name),
  }
  const told =
    (of: (name: string) => boolean, listeners: ((change: Change) => void)[]) => (change: Change) => {
      for (const name of change.brought.keys()) {
        if (!of(name)) continue
        said.delete(name)
        news.activated(name, change.to.revisions[name]?.revision)
        keep(name, change)
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

  const keeping = new Set<Promise<void>>()
  const keep = (name: string, { to, brought }: Change) => {
    const sequence = to.sequences[name]
    if (sequence !== undefined) floors.set(name, sequence)
    const source = settings[name]
    const content = brought.get(name)
    if (!store) return
    const work = (async () => {
      // The number first: with the old bundle and the new number, an older one stays out.
      if (sequence !== undefined) await store.raise(name, sequence)
      if (source?.kind === 'service' && source.persist && content && 'bytes' in content && !kept.has(content))
        await store.save(name, content.bytes)
    })().catch((error: Error) => {
      const text = `bundle ${name} is active and could not be kept for the next start: ${error.message}`
      failed(name, new BundleError('persistence', text))
    })
    keeping.add(work)
    void work.finally(() => keeping.delete(work))
  }

  /** What came from the store need not go there again. */
  const kept = new WeakSet<Content>()
  const bringKept = async (name: string): Promise<void> => {
    try {
      const last = await store?.load(name)
      if (!last) return
      const content = { bytes: last.bytes }
      kept.add(content)
      statuses.seen(name, last.age)
      await bring(name, content)
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
        if (source.persist) store?.confirm(name).catch(() => undefined)
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

  const readFile = async (name: string, source: FileSource): Promise<Delivered> => {
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
  const watch = async (name: string, source: FileSource, seen: string): Promise<void> => {
    let read = seen
    let before = seen
    while (await pause(every, stopping.signal)) {
      const now = await lookAt(source.path)
      if (now === before && now !== read) {
        read = now
        await readFile(name, source)
      } else if (now === read && !now.startsWith('unreadable')) statuses.seen(name, 0)
      before = now
    }
  }

  return {
    async start() {
      const results: Delivered[] = []
      for (const name of names) {
        const floor = await store?.floor(name)
        if (floor !== undefined) floors.set(name, floor)
      }
      for (const [name, source] of Object.entries(settings)) {
        if (source.kind === 'file') {
          const seen = await lookAt(source.path)
          const result = await readFile(name, source)
          if (!trials.has(name)) results.push(result)
          loops.push(watch(name, source, seen))
        } else {
          if (source.persist) await bringKept(name)
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
      await Promise.all(keeping)
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
