import type { ServiceClient } from '../services/client.ts'
import type { Delivered } from './activation.ts'
import { type Answer, type Asked, askService } from './bundle-service.ts'
import { BundleError } from './failure.ts'
import { pull } from './oci.ts'
import { createRegistry } from './registry.ts'
import type { BundleSource } from './settings.ts'
import type { BundleNews } from './status.ts'

export type DownloadPorts = {
  client: ServiceClient
  news: BundleNews
  bring: (bytes: Uint8Array) => Promise<Delivered>
  /** the service says that what it gave last is still the newest */
  same: () => void
  failed: (error: BundleError) => void
  pause: (ms: number) => Promise<boolean>
  signal: AbortSignal
  /** from 0 to 1, for delays */
  random: () => number
}

/** Milliseconds after the first failure; each next is 1.6 times as long, up to `max_delay_seconds`, as OPA does. */
const RETRY = 100
/** Milliseconds for one download in all. */
const WHOLE = 600_000
/** Milliseconds before an answer that brought nothing new is asked for again where the server should have waited. */
const HASTY = 1_000
/** How a source is asked once: as a bundle service, or as a registry. */
export function createFetch(
  name: string,
  source: Extract<BundleSource, { kind: 'service' }>,
  client: ServiceClient,
): (asked: Asked) => Promise<Answer> {
  const { oci, service, limits } = source
  if (!oci) return (asked) => askService(name, source, client, asked)
  const registry = createRegistry(name, service, oci.repository, client)
  return ({ etag, signal }) => pull(name, oci, registry, { etag, most: limits.bytes, signal })
}

/** Polls a bundle service (OPA docs, "Bundle Service API"), or an OCI registry, until the signal fires. */
export async function download(
  name: string,
  source: Extract<BundleSource, { kind: 'service' }>,
  ports: DownloadPorts,
): Promise<void> {
  const { polling } = source
  /** of what is active, or waits for other bundles */
  let etag: string | undefined
  let waits = false
  let failures = 0

  const fetchFrom = createFetch(name, source, ports.client)
  const ask = (): Promise<Answer> => {
    const wait = waits ? polling.longPoll : undefined
    const patience = wait === undefined ? WHOLE : WHOLE + wait * 1000
    const signal = AbortSignal.any([ports.signal, AbortSignal.timeout(patience)])
    ports.news.requested(name)
    return fetchFrom({ etag, wait, signal })
  }

  /** @returns whether it went well, and whether it brought anything */
  const once = async (): Promise<{ well: boolean; anything: boolean }> => {
    let answer: Answer
    try {
      answer = await ask()
    } catch (thrown) {
      if (ports.signal.aborted) return { well: false, anything: false }
      const text = `bundle ${name}: ${reasonOf(thrown)}`
      ports.failed(thrown instanceof BundleError ? thrown : new BundleError('unreachable', text))
      return { well: false, anything: false }
    }
    waits = answer.waits
    if (!answer.bytes) {
      ports.news.confirmed(name)
      ports.same()
      return { well: true, anything: false }
    }
    ports.news.downloaded(name, answer.bytes.length)
    const delivered = await ports.bring(answer.bytes)
    // What is not active must come again, though it be the same.
    if (delivered.kind === 'failed') return { well: false, anything: true }
    etag = answer.etag
    ports.news.confirmed(name)
    ports.same()
    return { well: true, anything: delivered.kind !== 'unchanged' }
  }

  while (!ports.signal.aborted) {
    const asked = performance.now()
    const { well, anything } = await once()
    failures = well ? 0 : failures + 1
    const delay = !well
      ? backOff(failures, polling.maxDelay, ports.random())
      : waits && polling.longPoll !== undefined
        ? anything || performance.now() - asked > HASTY
          ? 0
          : HASTY
        : polling.minDelay + (polling.maxDelay - polling.minDelay) * ports.random()
    if (!(await ports.pause(delay))) return
  }
}

/** @param failures in a row, from 1 */
export function backOff(failures: number, most: number, random: number): number {
  const delay = Math.min(most, RETRY * 1.6 ** Math.min(failures - 1, 40))
  return delay * (1 + 0.2 * (random * 2 - 1))
}

/** The network's own words, which the library puts below its own. */
export function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown)
  const cause = thrown.cause instanceof Error ? ` (${thrown.cause.message})` : ''
  return `the service cannot be reached: ${thrown.message || ((thrown as NodeJS.ErrnoException).code ?? thrown.name)}${cause}`
}
