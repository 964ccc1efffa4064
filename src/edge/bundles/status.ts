import type { BundleError } from './failure.ts'

/** OPA's status of a bundle (OPA v1/plugins/bundle/status.go); times in RFC 3339. */
export type BundleStatus = {
  name: string
  type: 'snapshot'
  active_revision?: string
  /** bytes as they were fetched */
  size?: number
  last_request?: string
  last_successful_request?: string
  last_successful_download?: string
  last_successful_activation?: string
  code?: 'bundle_error'
  message?: string
  http_code?: number
}

/** What happens to a bundle, told to whoever counts or reports it. */
export type BundleNews = {
  requested: (name: string) => void
  /** its source has answered with it, or that it is the same: it is known to be the newest */
  confirmed: (name: string) => void
  downloaded: (name: string, size: number) => void
  activated: (name: string, revision: string | undefined) => void
  failed: (name: string, error: BundleError) => void
  /** what was wrong is not any more */
  mended: (name: string) => void
}

export type Statuses = BundleNews & {
  all: () => Record<string, BundleStatus>
  /** it was known to be the newest so many milliseconds ago, without a request of this process */
  seen: (name: string, ago: number) => void
  /** milliseconds since the source of a bundle last confirmed it, the longest of all; undefined: one never did */
  age: () => number | undefined
  /** why not every bundle is active */
  fault: () => string | undefined
  onChange: (listener: () => void) => void
}

/**
 * @param needed those without which nothing is decided
 * @param clock of the dates
 * @param passed milliseconds that do not jump
 */
export function createStatuses(
  names: string[],
  needed: string[],
  clock: () => Date,
  passed: () => number,
): Statuses {
  const statuses: Record<string, BundleStatus> = {}
  for (const name of names) statuses[name] = { name, type: 'snapshot' }
  const confirmedAt = new Map<string, number>()
  const listeners: (() => void)[] = []
  const change = (name: string, does: (status: BundleStatus, now: string) => void) => {
    const status = statuses[name]
    if (!status) return
    does(status, clock().toISOString())
    for (const listener of listeners) listener()
  }
  const clear = (status: BundleStatus) => {
    delete status.code
    delete status.message
    delete status.http_code
  }
  return {
    requested: (name) =>
      change(name, (status, now) => {
        status.last_request = now
      }),
    confirmed: (name) =>
      change(name, (status, now) => {
        status.last_successful_request = now
        confirmedAt.set(name, passed())
      }),
    downloaded: (name, size) =>
      change(name, (status, now) => {
        status.last_successful_download = now
        status.size = size
      }),
    activated: (name, revision) =>
      change(name, (status, now) => {
        status.last_successful_activation = now
        clear(status)
        if (revision === undefined) delete status.active_revision
        else status.active_revision = revision
      }),
    failed: (name, error) =>
      change(name, (status) => {
        clear(status)
        status.code = 'bundle_error'
        status.message = error.message
        if (error.status !== undefined) status.http_code = error.status
      }),
    mended: (name) => {
      if (statuses[name]?.code !== undefined) change(name, clear)
    },
    seen: (name, ago) => void confirmedAt.set(name, passed() - ago),
    all: () => structuredClone(statuses),
    age() {
      const times = needed.map((name) => confirmedAt.get(name))
      return times.includes(undefined) ? undefined : passed() - Math.min(...(times as number[]))
    },
    fault() {
      const not = needed.filter((name) => statuses[name]?.last_successful_activation === undefined)
      if (not.length === 0) return undefined
      return not.map((name) => `${name} (${statuses[name]?.message ?? 'it has not come yet'})`).join(', ')
    },
    onChange: (listener) => void listeners.push(listener),
  }
}

/** News that two listen to. */
export function tellBoth(first: BundleNews, second: BundleNews): BundleNews {
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
