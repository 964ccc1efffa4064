import { readFileSync } from 'node:fs'
import { type Config, type ConfigResult, readConfig } from '../config.ts'
import { type Terminal, type Words, WrongUse } from './command.ts'

/** The options of each command that reads a configuration. */
export const CONFIG_OPTIONS = {
  'config-file': { type: 'string', short: 'c' },
  set: { type: 'string', multiple: true },
  addr: { type: 'string', short: 'a' },
  bundle: { type: 'string', short: 'b' },
  server: { type: 'string' },
  upstream: { type: 'string' },
} as const

export const CONFIG_USAGE = `  -c, --config-file FILE   YAML in OPA's form; \${NAME} is taken from the environment
      --set KEY=VALUE      sets one value over the file, e.g. --set plugins.mcp.addr=127.0.0.1:0
  -a, --addr HOST:PORT     the same as --set plugins.mcp.addr=…
  -b, --bundle FILE        the same as --set bundles.mcp.resource=…
      --server NAME        the same as --set plugins.mcp.server=…
      --upstream URL       the same as --set plugins.mcp.upstream.url=…
`

const SHORTHANDS = {
  addr: 'plugins.mcp.addr',
  bundle: 'bundles.mcp.resource',
  server: 'plugins.mcp.server',
  upstream: 'plugins.mcp.upstream.url',
}

/** The configuration of the file, with what was set over it. @throws WrongUse with all its faults */
export function configure(words: Words, terminal: Pick<Terminal, 'env'>): Config {
  const read = readFrom(words, terminal.env)
  if (read.ok) return read.config
  const faults = read.faults.map((line) => `  ${line}`).join('\n')
  throw new WrongUse(`the configuration has ${read.faults.length} fault(s):\n${faults}`)
}

function readFrom({ values }: Words, env: Terminal['env']): ConfigResult {
  const file = values['config-file'] as string | undefined
  let text: string | undefined
  try {
    text = file === undefined ? undefined : readFileSync(file, 'utf8')
  } catch (error) {
    return { ok: false, faults: [(error as Error).message] }
  }
  const sets = Object.entries(SHORTHANDS).flatMap(([option, key]) =>
    values[option] === undefined ? [] : [`${key}=${JSON.stringify(values[option])}`],
  )
  return readConfig(text, [...((values.set as string[] | undefined) ?? []), ...sets], env)
}
