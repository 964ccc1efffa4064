#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { url as inspectorUrl } from 'node:inspector'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { pino } from 'pino'
import { run } from './commands/run.ts'
import { type Config, readConfig } from './config.ts'
import { guaranteesFault } from './edge/guarantees.ts'

const USAGE = `mcp-opa-sidecar decides each MCP call with Rego, between Pomerium and one MCP server.

Usage:
  mcp-opa-sidecar run   --config-file FILE [--set KEY=VALUE ...]   serve
  mcp-opa-sidecar check --config-file FILE [--set KEY=VALUE ...]   say what is wrong with a configuration, and stop

Options:
  -c, --config-file FILE   YAML in OPA's form; \${NAME} is taken from the environment
      --set KEY=VALUE      sets one value over the file, e.g. --set plugins.mcp.addr=127.0.0.1:0
  -a, --addr HOST:PORT     the same as --set plugins.mcp.addr=…
  -b, --bundle FILE        the same as --set bundles.mcp.resource=…
      --server NAME        the same as --set plugins.mcp.server=…
      --upstream URL       the same as --set plugins.mcp.upstream.url=…
      --log-level LEVEL    debug, info (default), warn, error; logs are JSON on stderr
  -h, --help               this text
  -v, --version            the version

Exit codes: 0 stopped cleanly, 1 could not start or broke off, 64 wrong use or configuration.
`
const WRONG_USE = 64
const NEEDS = [24, 14, 1] as const

const packageUrl = new URL('../package.json', import.meta.url)
const { version } = JSON.parse(readFileSync(packageUrl, 'utf8')) as { version: string }

// The judging threads then need not strip types again, each with a compiler of its own in memory. Beside the code, so
// that only who may change the code may change it; where that cannot be written, nothing is kept.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(
  new URL('../node_modules/.cache/mcp-opa-sidecar', import.meta.url),
)

await main()

async function main(): Promise<void> {
  if (isOlder(process.versions.node))
    return fail(1, `needs Node ${NEEDS.join('.')} or later, this is ${process.versions.node}`)
  const parsed = parse(process.argv.slice(2))
  if (typeof parsed === 'string') return fail(WRONG_USE, `${parsed}\nTry --help.`)
  const { values, command } = parsed
  if (values.help) return void process.stdout.write(USAGE)
  if (values.version) return void process.stdout.write(`${version}\n`)
  if (command !== 'run' && command !== 'check')
    return fail(WRONG_USE, 'the command is run or check.\nTry --help.')
  const { env, execArgv } = process
  const undone = guaranteesFault({ env, execArgv, inspector: inspectorUrl() })
  if (undone !== undefined) return fail(WRONG_USE, undone)
  const read = configure(values)
  if (!read.ok)
    return fail(
      WRONG_USE,
      `the configuration has ${read.faults.length} fault(s):\n${read.faults.map((line) => `  ${line}`).join('\n')}`,
    )
  if (command === 'check') return void process.stdout.write('the configuration is sound\n')
  await serve(read.config, values['log-level'] ?? 'info')
}

type Values = NonNullable<Exclude<ReturnType<typeof parse>, string>>['values']

function parse(args: string[]) {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: {
        'config-file': { type: 'string', short: 'c' },
        set: { type: 'string', multiple: true },
        addr: { type: 'string', short: 'a' },
        bundle: { type: 'string', short: 'b' },
        server: { type: 'string' },
        upstream: { type: 'string' },
        'log-level': { type: 'string' },
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean', short: 'v' },
      },
    })
    if (positionals.length > 1) return `too many words: ${positionals.slice(1).join(' ')}`
    return { values, command: positionals[0] }
  } catch (error) {
    return (error as Error).message
  }
}

function configure(values: Values) {
  let text: string | undefined
  const file = values['config-file']
  try {
    text = file === undefined ? undefined : readFileSync(file, 'utf8')
  } catch (error) {
    return { ok: false as const, faults: [(error as Error).message] }
  }
  const flags = {
    'plugins.mcp.addr': values.addr,
    'bundles.mcp.resource': values.bundle,
    'plugins.mcp.server': values.server,
    'plugins.mcp.upstream.url': values.upstream,
  }
  const sets = Object.entries(flags).flatMap(([key, value]) =>
    value === undefined ? [] : [`${key}=${JSON.stringify(value)}`],
  )
  return readConfig(text, [...(values.set ?? []), ...sets], process.env)
}

async function serve(config: Config, level: string): Promise<void> {
  const log = pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  )
  // Node's own answer to it opens the inspector.
  process.on('SIGUSR1', () => log.warn('SIGUSR1 does nothing here'))
  // A state that nobody thought of is no state to decide in: nothing passes when the process is gone.
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (error: unknown) => {
      log.fatal({ error: error instanceof Error ? error.stack : String(error) }, event)
      process.exit(1)
    })
  }
  let running: Awaited<ReturnType<typeof run>>
  try {
    running = await run(config, { log, stdout: process.stdout, env: process.env, version })
  } catch (error) {
    log.fatal({ error: (error as Error).message }, 'could not start')
    process.exitCode = 1
    // Threads and timers that were begun before it failed.
    process.exit()
  }
  let stopping = false
  const stop = async (signal: string) => {
    if (stopping) process.exit(1)
    stopping = true
    log.info({ signal }, 'stopping')
    const clean = await running.stop()
    log.info({ clean }, 'stopped')
    process.exit(clean ? 0 : 1)
  }
  process.on('SIGTERM', () => void stop('SIGTERM'))
  process.on('SIGINT', () => void stop('SIGINT'))
}

function isOlder(versionText: string): boolean {
  const have = versionText.split('.').map(Number)
  const at = NEEDS.findIndex((need, i) => need !== have[i])
  return at >= 0 && (have[at] ?? 0) < (NEEDS[at] ?? 0)
}

function fail(code: number, text: string): void {
  process.stderr.write(`mcp-opa-sidecar: ${text}\n`)
  process.exitCode = code
}
