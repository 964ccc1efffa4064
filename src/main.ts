#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { url as inspectorUrl } from 'node:inspector'
import { enableCompileCache } from 'node:module'
import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type Command, type Terminal, WRONG_USE, WrongUse } from './commands/command.ts'
import { guaranteesFault } from './edge/guarantees.ts'

// First thing: the first process of a container hears no signal that it does not ask for; any other is ended by it.
const endBy = (signal: NodeJS.Signals) => process.exit(128 + constants.signals[signal])
if (process.pid === 1) for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, endBy)

/** Each is loaded when it is used: a command that prints a line must not wait for the whole sidecar. */
const COMMANDS: Record<string, { does: string; load: () => Promise<{ command: Command }> }> = {
  run: { does: 'serve', load: () => import('./commands/run.ts') },
  check: {
    does: 'say what is wrong with a configuration, and stop',
    load: () => import('./commands/check.ts'),
  },
  build: {
    does: 'compile a policy to a bundle that the sidecar takes',
    load: () => import('./commands/build.ts'),
  },
  test: {
    does: 'test a policy in OPA and in WebAssembly',
    load: () => import('./commands/test.ts'),
  },
  eval: {
    does: 'ask a bundle one question',
    load: () => import('./commands/eval.ts'),
  },
  'new-policy': {
    does: 'write a starting folder of policy for a server',
    load: () => import('./commands/new-policy.ts'),
  },
  pins: {
    does: 'write down what a server says its tools are, for review',
    load: () => import('./commands/pins.ts'),
  },
  sinks: {
    does: 'send a marked event to each output, and say what came back',
    load: () => import('./commands/sinks.ts'),
  },
  stdio: {
    does: 'decide in the place of an MCP server that an editor or a desktop agent starts',
    load: () => import('./commands/stdio.ts'),
  },
  doctor: {
    does: 'look for the usual mistakes in configuration, surroundings and traffic, and say what to do',
    load: () => import('./commands/doctor.ts'),
  },
  health: {
    does: 'ask a running one whether it is ready, for health checks of containers',
    load: () => import('./commands/health.ts'),
  },
  tail: { does: 'show the last records, and those that come', load: () => import('./commands/tail.ts') },
  explain: { does: 'say all that is on record of one decision', load: () => import('./commands/explain.ts') },
  replay: {
    does: 'ask another policy what it would have decided of what is on record',
    load: () => import('./commands/replay.ts'),
  },
  verify: {
    does: 'say whether a record is what was written',
    load: () => import('./commands/verify.ts'),
  },
}

const USAGE = `mcp-opa-sidecar decides each MCP call with Rego, between Pomerium and one MCP server.

Usage: mcp-opa-sidecar COMMAND [OPTIONS]

Commands (each has its own --help):
${Object.entries(COMMANDS)
  .map(([name, { does }]) => `  ${name.padEnd(12)} ${does}`)
  .join('\n')}

Options:
  -h, --help       this text, or that of a command
  -v, --version    the version

Exit codes: 0 done or stopped cleanly, 1 could not start, broke off or found something, 64 wrong use or configuration.
`
const NEEDS = [24, 14, 1] as const

const packageUrl = new URL('../package.json', import.meta.url)
const { version } = JSON.parse(readFileSync(packageUrl, 'utf8')) as { version: string }

// From the second start on nothing is stripped of types or compiled again. Beside the code, so that only who may change
// the code may change it; where that cannot be written, nothing is kept. The variable is for the threads: each would
// have a compiler of its own in memory. It is not for programs that are started.
const environment = { ...process.env }
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(
  new URL('../node_modules/.cache/mcp-opa-sidecar', import.meta.url),
)
enableCompileCache(process.env.NODE_COMPILE_CACHE)

await main(process.argv.slice(2))

async function main([name, ...args]: string[]): Promise<void> {
  if (isOlder(process.versions.node))
    return fail(1, `needs Node ${NEEDS.join('.')} or later, this is ${process.versions.node}`)
  if (name === '--help' || name === '-h') return void process.stdout.write(USAGE)
  if (name === '--version' || name === '-v') return void process.stdout.write(`${version}\n`)
  const known = name !== undefined && Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!known) {
    const names = Object.keys(COMMANDS).join(', ')
    return fail(
      WRONG_USE,
      `${name === undefined ? 'a command is needed' : 'there is no such command'}: ${names}`,
    )
  }
  const { env, execArgv } = process
  const undone = guaranteesFault({ env, execArgv, inspector: inspectorUrl() })
  if (undone !== undefined) return fail(WRONG_USE, undone)
  const { command } = await known.load()
  try {
    const words = parse(command, args)
    if (words.values.help) return void process.stdout.write(command.usage)
    process.exitCode = (await command.run(words, terminal())) ?? 0
  } catch (error) {
    if (error instanceof WrongUse) return fail(WRONG_USE, error.message)
    fail(1, (error as Error).message)
  }
}

function parse({ options, positionals: most = 0 }: Command, args: string[]) {
  let words: ReturnType<typeof parseArgs>
  try {
    words = parseArgs({
      args,
      allowPositionals: true,
      options: { ...options, help: { type: 'boolean', short: 'h' } },
    })
  } catch (error) {
    throw new WrongUse(`${(error as Error).message}\nTry --help.`)
  }
  const { values, positionals } = words
  if (positionals.length > most)
    throw new WrongUse(`too many words: ${positionals.slice(most).join(' ')}\nTry --help.`)
  return { positionals, values: values as Record<string, string | boolean | string[] | undefined> }
}

function terminal(): Terminal {
  const { stdin, stdout, stderr } = process
  return {
    stdin,
    stdout,
    stderr,
    stderrFd: 2,
    env: environment,
    version,
    on(event, does) {
      process.on(event, does)
      // In this order: a signal that is on its way is lost where nobody asks for it, if only for a moment.
      process.off(event, endBy)
    },
    exit: (code) => process.exit(code),
  }
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
