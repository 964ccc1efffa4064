// The real sidecar, as its users run it: the command line in a process of its own, with a configuration file.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { segmentName } from '../../src/edge/audit/segments.ts'

export type Sidecar = {
  pid: number
  url: string
  admin: string
  /** where its configuration, its log and its records are */
  folder: string
  /** the decision log: one JSON object a line */
  record: string
  /** how it ended, whoever ended it */
  ended: Promise<string>
  stop: () => Promise<string>
}

export type Wish = {
  folder: string
  addr: string
  adminAddr: string
  upstream: Record<string, unknown>
  identity: Record<string, unknown>
  /** called with each line of the decision log */
  onRecord?: (line: string) => void
}

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url))
const bundle = fileURLToPath(new URL('../../bundles/default.tar.gz', import.meta.url))
const START_MS = 20_000

export const newFolder = (): string => mkdtempSync(join(tmpdir(), 'mcp-opa-sidecar-'))

/** @throws Error with the sidecar's own words if it does not begin to listen */
export const startSidecar = async (wish: Wish): Promise<Sidecar> => {
  const { folder, addr, adminAddr, upstream, identity, onRecord } = wish
  const help = 'ask in #platform-agents (go/agent-access)'
  const config = join(folder, 'config.yaml')
  const mcp = {
    addr,
    admin_addr: adminAddr,
    server: 'github',
    drain: '2s',
    // A laptop that is busy with other things must not change what is shown.
    evaluation: { deadline: '2s' },
    upstream,
    identity,
    help,
  }
  const output = onRecord ? [{ type: 'stdout' }] : []
  const plugins = { mcp, mcp_audit: { buffer: { type: 'disk', path: join(folder, 'records') }, output } }
  // JSON is YAML.
  const text = JSON.stringify(
    { labels: { app: 'demo' }, bundles: { mcp: { resource: bundle } }, plugins },
    null,
    2,
  )
  writeFileSync(config, `${text}\n`, { mode: 0o600 })

  // A group of its own: Ctrl-C in a terminal goes to every process of the group, and a second signal means "at once".
  const child = spawn(process.execPath, [main, 'run', '--config-file', config], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  const killed = () => void child.kill('SIGKILL')
  process.once('exit', killed)
  const ended = endOf(child).finally(() => process.off('exit', killed))
  createInterface({ input: child.stdout }).on('line', (line) => onRecord?.(line))
  const { addr: at, admin } = await listening(child, join(folder, 'sidecar.log'), ended)
  return {
    pid: child.pid!,
    url: `http://${at}/mcp`,
    admin: `http://${admin}`,
    folder,
    record: join(folder, 'records', segmentName(1)),
    ended,
    stop: () => {
      child.kill('SIGTERM')
      return ended
    },
  }
}

const endOf = async (child: ChildProcess): Promise<string> => {
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
  return signal === null ? `exit code ${code}` : signal
}

/** Its log goes to a file; the line that says where it listens is what is waited for. */
const listening = (child: ChildProcess, path: string, ended: Promise<string>) =>
  new Promise<{ addr: string; admin: string }>((resolve, reject) => {
    const log = createWriteStream(path)
    let said = ''
    const late = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new Error(`the sidecar does not listen after ${START_MS / 1000} s; its log: ${path}`))
    }, START_MS)
    createInterface({ input: child.stderr! }).on('line', (line) => {
      log.write(`${line}\n`)
      const entry = parse(line)
      if (entry?.msg === 'listening') {
        clearTimeout(late)
        resolve({ addr: String(entry.addr), admin: String(entry.admin) })
      }
      const words = entry ? (entry.error ?? '') : line
      if (words) said += `${words}\n`
    })
    ended.then((how) => {
      clearTimeout(late)
      log.end()
      reject(new Error(`the sidecar did not start (${how}): ${said.trim() || `its log: ${path}`}`))
    }, reject)
  })

const parse = (line: string): Record<string, unknown> | undefined => {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
