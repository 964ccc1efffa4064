import { createHash } from 'node:crypto'
import type { Policy, Source } from '../judge/bundle.ts'
import type { ArchiveLimits, Content } from './archive.ts'
import { BundleError } from './failure.ts'
import type { Signing } from './signature.ts'

/** What became of a bundle that was brought. `waiting`: others are not there yet, and nothing is active before all are. */
export type Delivered =
  | { kind: 'active' }
  | { kind: 'unchanged' }
  | { kind: 'waiting' }
  | { kind: 'failed'; error: BundleError }

export type Activation = {
  /** Brings a bundle; deliveries are tried one after the other. */
  deliver: (name: string, content: Content) => Promise<Delivered>
  policy: () => Policy | undefined
  /** bundles without which there is no policy yet */
  missing: () => string[]
}

export type ActivationPorts = {
  /** by name of each bundle that makes the policy */
  bundles: Record<string, { limits?: ArchiveLimits; signing?: Signing }>
  /** @throws BundleError */
  load: (sources: Source[]) => Promise<Policy>
  /** Puts the policy in force; `swapped` is called in that moment. @throws Error if the threads do not start */
  take: (policy: Policy, swapped: () => void) => Promise<void>
  /** the least sequence that a bundle may have, where one was seen */
  floor: (name: string) => number | undefined
  /** told in the moment of the swap */
  activated: (change: Change) => void
  /** told each time a bundle was tried and did not become active */
  failed: (name: string, error: BundleError) => void
}

export type Change = { from: Policy | undefined; to: Policy; brought: Map<string, Content> }

type Held = { content: Content; digest: string }

/**
 * The one policy that all bundles make together. It is replaced whole or not at all: what was brought is loaded with
 * what is active of the others, checked, and only then put in force. What failed is tried again with what comes next,
 * for two bundles may need each other.
 */
export function createActivation(ports: ActivationPorts): Activation {
  const names = Object.keys(ports.bundles)
  const active = new Map<string, Held>()
  const brought = new Map<string, Held>()
  let policy: Policy | undefined
  let queue: Promise<unknown> = Promise.resolve()

  const attempt = async (taking: Map<string, Held>): Promise<void> => {
    const sources = names.map((name) => {
      const { limits, signing } = ports.bundles[name] ?? {}
      const held = taking.get(name) ?? active.get(name)
      if (!held) throw new Error(`${name} is not there`)
      return { name, content: held.content, ...(limits && { limits }), ...(signing && { signing }) }
    })
    const next = await ports.load(sources)
    for (const name of taking.keys()) checkSequence(name, next.sequences[name], ports.floor(name))
    const swapped = () => {
      const from = policy
      policy = next
      for (const [name, held] of taking) {
        active.set(name, held)
        if (brought.get(name) === held) brought.delete(name)
      }
      const contents = new Map([...taking].map(([name, { content }]) => [name, content]))
      ports.activated({ from, to: next, brought: contents })
    }
    try {
      await ports.take(next, swapped)
    } catch (error) {
      throw new BundleError('threads', `no thread could be started with it: ${(error as Error).message}`)
    }
  }

  const missing = () => names.filter((name) => !active.has(name) && !brought.has(name))

  const tryAll = async (name: string): Promise<Delivered> => {
    if (missing().length > 0) return { kind: 'waiting' }
    const only = brought.get(name)
    const choices = [new Map(brought)]
    // Before there is a policy all of them are needed.
    if (brought.size > 1 && policy && only) choices.push(new Map([[name, only]]))
    let error: BundleError | undefined
    for (const choice of choices) {
      try {
        await attempt(choice)
        return { kind: 'active' }
      } catch (thrown) {
        error =
          thrown instanceof BundleError
            ? thrown
            : new BundleError('malformed', String((thrown as Error).message))
        error.bundle ??= name
      }
    }
    if (!error) return { kind: 'waiting' }
    ports.failed(error.bundle ?? name, error)
    return { kind: 'failed', error }
  }

  return {
    deliver(name, content) {
      const delivery = queue.then(async (): Promise<Delivered> => {
        const held = { content, digest: digestOf(content) }
        if (active.get(name)?.digest === held.digest) {
          brought.delete(name)
          return { kind: 'unchanged' }
        }
        brought.set(name, held)
        return tryAll(name)
      })
      queue = delivery.catch(() => undefined)
      return delivery
    },
    policy: () => policy,
    missing,
  }
}

/** Older content is no update: who replays an old bundle must not bring back what was taken away. */
function checkSequence(name: string, sequence: number | undefined, floor: number | undefined): void {
  if (floor === undefined || (sequence !== undefined && sequence >= floor)) return
  const error = new BundleError(
    'sequence',
    `bundle ${name}: its sequence is ${sequence ?? 'missing'} and ${floor} was active before; give old content a new number to go back to it`,
  )
  error.bundle = name
  throw error
}

export function digestOf(content: Content): string {
  const hash = createHash('sha256')
  if ('bytes' in content) return hash.update(content.bytes).digest('hex')
  for (const [name, bytes] of [...content.files].sort(([a], [b]) => (a < b ? -1 : 1)))
    hash.update(`${name}\0${bytes.length}\0`).update(bytes)
  return hash.digest('hex')
}
