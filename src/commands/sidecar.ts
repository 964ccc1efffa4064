import type { Server as TlsServer } from 'node:tls'
import type { Config } from '../config.ts'
import { createAdmin } from '../edge/admin/health.ts'
import { listenAt } from '../edge/http/address.ts'
import { createListener } from '../edge/http/listener.ts'
import { bodiesFor, watchMemory } from '../edge/http/memory.ts'
import { readOptions, watchTls } from '../edge/http/tls.ts'
import { type Composed, compose, type World } from './compose.ts'

export type Running = {
  /** where MCP and admin are served */
  addr: string
  admin: string
  /** finishes what is in hand, writes what is to be written, ends what was started; false if it took too long */
  stop: () => Promise<boolean>
}

/** Milliseconds between looks at the files of the certificate. */
const TLS_EVERY = 2_000

/** The life of a sidecar over HTTP: all that decides, then listen. */
export async function startSidecar(config: Config, world: World): Promise<Running> {
  const core = await compose(config, world)
  try {
    return await serve(core, config, world)
  } catch (error) {
    // The record says by now that it has started. Why it could not is what counts, whatever comes of the end.
    await core
      .close(true)
      .catch((failure: Error) => world.log.error({ error: failure.message }, 'could not end cleanly'))
    throw error
  }
}

async function serve(core: Composed, { mcp }: Config, { log }: World): Promise<Running> {
  const { metrics } = core
  const memory = watchMemory(mcp.bounds.memoryPercent)
  const listener = createListener(
    core.context,
    {
      ...mcp,
      sse: mcp.upstream.kind === 'http' && mcp.upstream.transport === 'sse',
      bounds: { ...mcp.bounds, inFlightBytes: bodiesFor(mcp.bounds.inFlightBytes, mcp.bodyLimit) },
      tls: mcp.tls && readOptions(mcp.tls),
      configured: mcp.identity.kind === 'development' ? mcp.identity.identity : undefined,
    },
    metrics.observe,
    memory.short,
  )
  const unwatch = mcp.tls
    ? watchTls(
        listener.server as unknown as TlsServer,
        mcp.tls,
        TLS_EVERY,
        () => {
          listener.renew()
          log.info('the certificate of the MCP listener was read again')
        },
        (error) => log.error({ error: error.message }, 'the certificate of the MCP listener stays as it was'),
      )
    : undefined
  let accepting = true
  const plugins = () => ({
    bundle: core.bundlesFault(),
    mcp: accepting ? core.keysFault() : 'shutting down',
    mcp_audit: core.auditFault(),
  })
  const ready = { bundles: core.bundlesFault, plugins, status: () => core.status(plugins()) }
  const admin = createAdmin(ready, {
    ...metrics,
    text: () => {
      for (const [name, why] of Object.entries(plugins())) metrics.plugin(name, why === undefined)
      return metrics.text()
    },
  })

  const health = mcp.healthAddr && createAdmin(ready, undefined)
  const adminAddr = await listenAt(admin, mcp.adminAddr)
  const healthAddr = health && mcp.healthAddr ? await listenAt(health, mcp.healthAddr) : undefined
  const addr = await listenAt(listener.server, mcp.addr)
  if (mcp.identity.kind === 'development')
    log.warn('identity.development: every request is believed to come from the configured person')
  log.info(
    {
      addr,
      admin: adminAddr,
      health: healthAddr,
      endpoint: mcp.endpoint,
      server: mcp.server,
      revision: core.revision,
    },
    'listening',
  )

  return {
    addr,
    admin: adminAddr,
    async stop() {
      accepting = false
      unwatch?.()
      memory.close()
      const clean = await within(mcp.drain, listener.drain())
      if (!clean) listener.server.closeAllConnections()
      await core.close(clean)
      for (const server of [admin, health]) {
        server?.close()
        server?.closeAllConnections()
      }
      return clean
    },
  }
}

export const within = async (ms: number, work: Promise<void>): Promise<boolean> => {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), ms)
  })
  const done = await Promise.race([work.then(() => true as const), late])
  clearTimeout(timer)
  return done
}
