import type { AddressInfo } from 'node:net'
import type { TlsOptions } from 'node:tls'
import { afterEach } from 'vitest'
import type { BoundSettings } from '../../../src/edge/http/bounds.ts'
import { createListener } from '../../../src/edge/http/listener.ts'
import { finishLine, type OpenLine } from '../../../src/log/event.ts'
import { DEFAULT_JSON_LIMITS } from '../../../src/mcp/strict-json.ts'
import type { Identity } from '../../../src/pdp/identity.ts'
import { createKept } from '../../../src/pep/kept.ts'
import type { Ports } from '../../../src/pep/ports.ts'
import { createSealer } from '../../../src/pep/session.ts'

/** The key of its sessions. */
export const SEAL = Buffer.alloc(16)

/** Whoever asks is Alice, who may do anything. */
export const ALICE: Identity = {
  source: 'pomerium',
  subject: 'alice',
  groups: [],
  issuer: 'i',
  audience: 'a',
  claims: {},
}
export const allowsAlice: Ports['judge'] = async () => ({
  kind: 'decided',
  identity: ALICE,
  decision: { allow: true, reasons: [] },
  line: JSON.stringify({ custom: { event: 'decision' } }).slice(0, -2) as OpenLine,
})
/** A session of hers, and what opens its stream. */
export const SESSION = createSealer(SEAL).seal({
  upstream: 'up-1',
  owner: { issuer: 'i', subject: 'alice', audience: 'a' },
  version: '2025-11-25',
  issued: 0,
})
export const OPENS_STREAM = `GET /mcp HTTP/1.1\r\nhost: a\r\nx-pomerium-jwt-assertion: a.b.c\r\nmcp-session-id: ${SESSION}\r\n\r\n`

const closers: (() => void)[] = []
afterEach(() => {
  for (const close of closers.splice(0)) close()
})

/** A listener before ports that do what nobody thought of; it waits for no head and no body longer than `patience`. */
export async function listen(
  broken: Partial<Ports>,
  {
    maxInFlight = 10,
    patience = 10_000,
    streamMaxAge = 60_000,
    bounds = {},
    lowMemory = () => false,
    tls,
    heartbeat,
    repeats,
    host = '127.0.0.1',
  }: {
    maxInFlight?: number
    patience?: number
    streamMaxAge?: number
    bounds?: Partial<BoundSettings>
    lowMemory?: () => boolean
    tls?: TlsOptions
    heartbeat?: number
    repeats?: number
    host?: string
  } = {},
) {
  const lines: { decision_id: string; custom: { cause?: { code: string } } }[] = []
  let n = 0
  const ports: Ports = {
    judge: async () => ({ kind: 'unavailable', fault: 'no_bundle' }),
    forward: async () => ({ kind: 'failed', fault: 'upstream_failed' }),
    decline: () => {},
    record: async (line) => lines.push(JSON.parse(finishLine(line, lines.length + 1))) > 0,
    count: () => {},
    now: Date.now,
    newId: () => `id-${++n}`,
    ...broken,
  }
  const { server, drain, renew } = createListener(
    {
      ports,
      settings: {
        server: 's',
        limits: DEFAULT_JSON_LIMITS,
        forwardsAuthorization: false,
        eras: ['legacy', 'modern'],
        streamMaxAge,
        digestKey: Buffer.alloc(1),
      },
      ...createKept(SEAL, Date.now),
      narrows: () => false,
      origin: () => ({ labels: {}, bundles: {} }),
    },
    {
      endpoint: '/mcp',
      bodyLimit: 10_000,
      trustedProxies: [],
      allowedOrigins: [],
      allowedHosts: undefined,
      configured: undefined,
      bounds: {
        connections: 10,
        inFlight: maxInFlight,
        inFlightBytes: 1 << 20,
        streams: 10,
        perSecond: 10_000,
        identityInFlight: 10,
        identityStreams: 10,
        identityPerSecond: 1000,
        memoryPercent: 100,
        ...bounds,
      },
      tls,
      ...(heartbeat !== undefined && { heartbeat }),
      ...(repeats !== undefined && { repeats }),
    },
    () => {},
    lowMemory,
  )
  Object.assign(server, {
    headersTimeout: patience,
    requestTimeout: patience,
    connectionsCheckingInterval: 50,
  })
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  closers.push(() => {
    server.close()
    server.closeAllConnections()
  })
  const { port } = server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}/mcp`
  const ask = () =>
    fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-pomerium-jwt-assertion': 'a.b.c' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' }),
    })
  return { ask, lines, port, drain, renew, server }
}
