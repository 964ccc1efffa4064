import type { ServiceClient } from '../services/client.ts'
import type { Service } from '../services/settings.ts'
import type { Section } from '../settings.ts'
import { backOff } from './download.ts'

export type StatusSettings = {
  /** where it is sent */
  service: Service | undefined
  /** the path there */
  resource: string
  /** whether it is written to the log of the process */
  console: boolean
}

/** Out of `status`, as OPA has it; undefined where nothing is to be reported. */
export function readStatus(root: Section, services: Record<string, Service>): StatusSettings | undefined {
  if (!root.has('status')) return undefined
  const section = root.section('status')
  const name = section.optional('service')
  const service = name === undefined ? undefined : services[name]
  if (name !== undefined && !service) section.fault('service', 'is not in services')
  if (service?.type === 'oci') section.fault('service', 'is an OCI registry, which takes no status')
  const partition = section.optional('partition_name')
  const console = section.boolean('console', false)
  // OPA's metrics of bundles are among the others in any case.
  const prometheus = section.boolean('prometheus', true)
  section.oneOf('trigger', ['periodic'] as const, 'periodic')
  for (const key of ['plugin', 'prometheus_config'])
    if (section.has(key)) section.fault(key, 'OPA has this key; this version does not honour it')
  section.done()
  const first = Object.values(services).find(({ type }) => type !== 'oci')
  // As in OPA: the first service, unless it is said that the status goes elsewhere.
  const to = name === undefined && !console && !section.has('prometheus') ? first : service
  if (!to && !console && !prometheus) section.fault('service', 'the status goes nowhere')
  return { service: to, resource: partition === undefined ? 'status' : `status/${partition}`, console }
}

export type Reporter = {
  /** something of it is not as it was */
  changed: () => void
  state: () => { error: string | undefined }
  /** sends what was not sent, once */
  close: () => Promise<void>
}

export type ReporterPorts = {
  body: () => object
  log: (body: object) => void
  failed: (why: string) => void
  pause: (ms: number) => Promise<boolean>
  random: () => number
}

/** Milliseconds between two reports at least: polls of several bundles come in a bunch. */
const SPACING = 1_000
const MOST = 60_000
const WITHIN = 10_000

/**
 * OPA's status API: `POST /status[/<partition>]` when a bundle was asked for, put in force or refused, and when something
 * else became ready or is not any more. Only the latest is sent; what could not be is sent later, with what is then.
 */
export function startReporter(
  settings: StatusSettings,
  client: ServiceClient | undefined,
  ports: ReporterPorts,
): Reporter {
  let dirty = false
  let error: string | undefined
  let failures = 0
  let closed = false
  let wake: (() => void) | undefined

  const send = async (): Promise<void> => {
    dirty = false
    const body = ports.body()
    if (settings.console) ports.log(body)
    if (!client) return
    try {
      const answer = await client.request(settings.resource, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(WITHIN),
      })
      await answer.body.dump({ limit: 64 << 10 })
      if (answer.statusCode < 200 || answer.statusCode > 299)
        throw new Error(`the service answered ${answer.statusCode}`)
      failures = 0
      error = undefined
    } catch (thrown) {
      dirty = true
      failures++
      const why = (thrown as Error).message
      if (why !== error) ports.failed(why)
      error = why
    }
  }

  const loop = (async () => {
    while (!closed) {
      if (!dirty) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
        continue
      }
      await send()
      const delay = failures > 0 ? Math.max(SPACING, backOff(failures, MOST, ports.random())) : SPACING
      if (!(await ports.pause(delay))) return
    }
  })()

  return {
    changed() {
      dirty = true
      wake?.()
    },
    state: () => ({ error }),
    async close() {
      closed = true
      wake?.()
      await loop
      if (dirty) await send()
      await client?.close()
    },
  }
}
