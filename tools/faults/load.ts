import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createIssuer, type Issuer, people } from '../../test/support/assertions.ts'
import { postBytes, postHeaders, type RawExchange, sendRaw } from '../../test/support/raw.ts'
import { type Recorder, startRecorder } from '../../test/support/recorder.ts'
import { type Sidecar, type SidecarOptions, startSidecar } from '../../test/support/sidecar.ts'
import { createKept, type Told } from './kept.ts'

/** `short`: as many as fit into the tests; else as the table asks. */
export type Scale = 'short' | 'full'
/** What was measured, in words, and whether it is what is required. */
export type Outcome = { held: boolean; measured: string; skipped?: boolean }
export type Row = {
  id: string
  fault: string
  required: string
  /** @param times how often, where the row does something again and again */
  run: (scale: Scale, times?: number) => Promise<Outcome>
}

export type Setting = {
  issuer: Issuer
  upstream: Recorder
  sidecar: Sidecar
  /** outlives the sidecar, and its restart */
  spool: string
  restart: () => Promise<Sidecar>
  call: (n: number, options?: CallOptions) => Promise<Called>
  /** the same over connections that are kept */
  callKept: (n: number, options?: Pick<CallOptions, 'name' | 'who'>) => Promise<Told & { n: number }>
}
export type CallOptions = { name?: string; who?: object; args?: object; timeout?: number; port?: number }
export type Called = { n: number; status: number | undefined; ms: number; exchange: RawExchange }

/** The real program before a recording upstream, in a folder of its own; ended and removed whatever happens. */
export async function withSidecar<T>(
  options: Omit<SidecarOptions, 'upstream'> & { upstream?: string },
  work: (setting: Setting) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-faults-'))
  const spool = join(folder, 'spool')
  const issuer = createIssuer()
  const upstream = await startRecorder()
  const high = 1_000_000
  const base = {
    plugins: {
      mcp: { limits: { per_second: high, identity_per_second: high } },
      mcp_audit: { buffer: { path: spool } },
    },
  }
  const start = () =>
    startSidecar({
      upstream: upstream.url,
      jwks: issuer.jwks,
      ...options,
      config: deep(base, options.config ?? {}) as Record<string, unknown>,
    })
  let sidecar = await start()
  const kept = createKept()
  try {
    const setting: Setting = {
      issuer,
      upstream,
      sidecar,
      spool,
      async restart() {
        sidecar = await start()
        return sidecar
      },
      async call(n, { name = 'get_me', who = people.alice, args = {}, timeout = 10_000, port } = {}) {
        const bytes = postBytes(issuer.mint({ ...who }), callBody(n, name, args))
        const began = performance.now()
        const exchange = await sendRaw(port ?? sidecar.port, bytes, { timeout })
        return { n, status: exchange.answers[0]?.status, ms: performance.now() - began, exchange }
      },
      async callKept(n, { name = 'get_me', who = people.alice } = {}) {
        const headers = postHeaders(issuer.mint({ ...who }))
        return { n, ...(await kept.ask({ port: sidecar.port, headers, body: callBody(n, name) })) }
      },
    }
    return await work(setting)
  } finally {
    kept.close()
    await sidecar.stop('SIGKILL')
    await upstream.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

export const callBody = (n: number, name: string, args: object = {}) => ({
  jsonrpc: '2.0',
  id: n,
  method: 'tools/call',
  params: { name, arguments: { n, ...args } },
})

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
function deep(under: unknown, over: unknown): unknown {
  if (!isMap(under) || !isMap(over)) return over
  const out = { ...under }
  for (const [key, value] of Object.entries(over)) out[key] = key in under ? deep(under[key], value) : value
  return out
}

/** Calls at a steady rate until it is told to stop, also those that a busy moment kept back; the answers, in the order in which they were asked. */
export function steadily<T>(perSecond: number, call: (n: number) => Promise<T>): () => Promise<T[]> {
  const asked: Promise<T>[] = []
  const began = performance.now()
  const timer = setInterval(() => {
    const due = ((performance.now() - began) * perSecond) / 1000
    while (asked.length < due) asked.push(call(asked.length + 1))
  }, 1000 / perSecond)
  return () => {
    clearInterval(timer)
    return Promise.all(asked)
  }
}

export const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** The value below which this share of the numbers is. */
export function percentile(numbers: number[], share: number): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  return Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) * 10) / 10
}

/** Events of a spool text, without a torn last line. */
export const eventsOf = (text: string) =>
  text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))

/** G0: how many calls the upstream saw that no allow on record stands for. */
export function unrecorded(upstream: Recorder, spoolText: string): number {
  const allowed = new Set<number>()
  for (const event of eventsOf(spoolText))
    if (event.custom.event === 'decision' && event.result.allow) allowed.add(event.input.arguments?.n)
  const seen = upstream.requests().filter(({ json }) => json?.method === 'tools/call')
  return seen.filter(({ json }) => !allowed.has(json.params.arguments.n)).length
}

export async function rssOf(sidecar: Sidecar): Promise<number> {
  const text = await (await fetch(`${sidecar.admin}/metrics`)).text()
  return Math.round(Number(/process_resident_memory_bytes (\d+)/.exec(text)?.[1] ?? 0) / (1 << 20))
}
