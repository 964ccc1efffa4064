import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AUDIENCE, ISSUER } from './assertions.ts'
import { logText } from './log.ts'
import type { Parsed } from './raw.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
/** `npm run faults` measures what is shipped: the sources as JavaScript. */
const PROGRAM = process.env.SIDECAR_PROGRAM ?? 'src/main.ts'
export const DEFAULT_BUNDLE = join(root, 'bundles/default.tar.gz')

/** One event of the spool. */
export type EventLine = Record<string, Parsed> & { decision_id: string; custom: Record<string, Parsed> }

export type Sidecar = {
  /** where MCP is served */
  url: string
  host: string
  port: number
  /** base URL of health and metrics */
  admin: string
  pid: number
  /** the lines of the spool, parsed; also after `stop` */
  records: () => EventLine[]
  /** the records of one decision id, once there are `count` of them */
  recordsOf: (decisionId: string, count?: number) => Promise<EventLine[]>
  /** the raw text of the spool */
  spool: () => string
  /** lines of stderr, parsed where they are JSON */
  logs: () => Record<string, Parsed>[]
  /** SIGTERM; the exit code, or the signal that ended it */
  stop: (signal?: NodeJS.Signals) => Promise<number | NodeJS.Signals>
}

export type SidecarOptions = {
  /** an upstream's URL; `undefined` where `config` names a command */
  upstream?: string | undefined
  /** inline keys; `undefined` where `config` names another source */
  jwks?: string | undefined
  /** merged over the settings; `null` takes one out */
  config?: Tree
  env?: Record<string, string>
}
type Tree = { [key: string]: unknown }

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** The settings that a test starts from: every port is free, the policy is the default one, the deadline is generous. */
export function sidecarConfig({ upstream, jwks, config = {} }: SidecarOptions, spool: string): Tree {
  const base: Tree = {
    labels: { env: 'test' },
    bundles: { mcp: { resource: DEFAULT_BUNDLE } },
    plugins: {
      mcp: {
        addr: '127.0.0.1:0',
        admin_addr: '127.0.0.1:0',
        server: 'github',
        help: 'ask in #mcp',
        session_key: 'a session key for tests only',
        evaluation: { deadline: '1s' },
        drain: '2s',
        identity: { issuer: ISSUER, audience: AUDIENCE, ...(jwks !== undefined && { jwks }) },
        upstream: { ...(upstream !== undefined && { url: upstream }), timeout: '5s' },
      },
      mcp_audit: { buffer: { type: 'disk', path: spool } },
    },
  }
  return merge(base, config) as Tree
}

/** The real program, as an operator starts it. Rejects with its stderr if it ends before it listens. */
export async function startSidecar(options: SidecarOptions): Promise<Sidecar> {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-opa-sidecar-'))
  const config = sidecarConfig(options, join(folder, 'spool'))
  const file = join(folder, 'config.yaml')
  writeFileSync(file, JSON.stringify(config, null, 1))
  const spoolFolder = spoolPathOf(config)

  const child = spawn(process.execPath, [PROGRAM, 'run', '-c', file], {
    cwd: root,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...options.env },
    stdio: ['ignore', 'inherit', 'pipe'],
  })
  running.add(child)
  let stderr = ''
  let exited: number | NodeJS.Signals | undefined
  const exit = new Promise<number | NodeJS.Signals>((resolve) => {
    child.once('exit', (code, signal) => {
      running.delete(child)
      exited = code ?? signal ?? 1
      resolve(exited)
    })
  })
  child.stderr.setEncoding('utf8')
  const listening = new Promise<Record<string, Parsed>>((resolve, reject) => {
    child.stderr.on('data', (text: string) => {
      stderr += text
      const line = parseLines(stderr).find((entry) => entry.msg === 'listening')
      if (line) resolve(line)
    })
    void exit.then((code) =>
      reject(new Error(`the sidecar ended with ${code} before it listened:\n${stderr}`)),
    )
    setTimeout(() => reject(new Error(`the sidecar does not listen:\n${stderr}`)), 30_000).unref()
  })

  const line = await listening.catch((error: unknown) => {
    child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
    throw error
  })
  const addr = String(line.addr)
  const colon = addr.lastIndexOf(':')
  let kept: string | undefined
  const spool = () => kept ?? logText(spoolFolder)
  /** Whole lines: the last one may be on its way to the disk. */
  const records = () =>
    spool()
      .split('\n')
      .slice(0, -1)
      .map((text) => JSON.parse(text) as EventLine)
  return {
    url: `http://${addr}${line.endpoint}`,
    host: addr.slice(0, colon),
    port: Number(addr.slice(colon + 1)),
    admin: `http://${line.admin}`,
    pid: child.pid ?? 0,
    records,
    async recordsOf(decisionId, count = 1) {
      for (let tries = 0; ; tries++) {
        const found = records().filter((event) => event.decision_id === decisionId)
        if (found.length >= count || tries === 100) return found
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    },
    spool,
    logs: () => parseLines(stderr),
    async stop(signal = 'SIGTERM') {
      if (exited === undefined) {
        child.kill(signal)
        const hard = setTimeout(() => child.kill('SIGKILL'), 15_000)
        await exit
        clearTimeout(hard)
      }
      kept ??= logText(spoolFolder)
      rmSync(folder, { recursive: true, force: true })
      return exit
    },
  }
}

function parseLines(text: string): Record<string, Parsed>[] {
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      try {
        return JSON.parse(line)
      } catch {
        return { text: line }
      }
    })
}

const spoolPathOf = (config: Parsed): string => config.plugins.mcp_audit.buffer.path

/** Maps are merged key by key, everything else is replaced; `null` takes a key out. */
function merge(under: unknown, over: unknown): unknown {
  if (!isMap(under) || !isMap(over)) return over
  const out: Tree = { ...under }
  for (const [key, value] of Object.entries(over)) {
    if (value === null) delete out[key]
    else out[key] = merge(under[key], value)
  }
  return out
}

const isMap = (value: unknown): value is Tree =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
