import { readFileSync } from 'node:fs'
import { listTools, readTools } from '../edge/tool-list.ts'
import { ToolListError } from '../edge/tool-server.ts'
import { type JsonObject, parseStrict } from '../mcp/strict-json.ts'
import { type Terminal, type Words, WrongUse } from './command.ts'

/** The options of each command that lists a server's tools. */
export const TOOL_OPTIONS = {
  server: { type: 'string' },
  url: { type: 'string' },
  header: { type: 'string', multiple: true },
  tools: { type: 'string' },
  timeout: { type: 'string' },
} as const

export const TOOL_USAGE = `      --server NAME            what policies call the server (plugins.mcp.server)
      --url URL                of its Streamable HTTP endpoint, or
      --tools FILE             its saved tools/list, or after --, the command that starts it over stdio
      --header 'NAME: VALUE'   sent with each request; may be repeated; \${NAME} is taken from the environment
      --timeout SECONDS        for all of it (default 30)
`

const NAME = /^[a-z0-9][a-z0-9_.-]{0,63}$/i

export function serverOf({ values }: Words): string {
  const server = values.server as string | undefined
  if (server === undefined) throw new WrongUse('needs --server NAME\nTry --help.')
  if (!NAME.test(server)) throw new WrongUse('--server must be letters, digits, "-", "_" and "." only')
  return server
}

/**
 * @param command the words that start a server
 * @throws WrongUse, ToolListError
 */
export async function toolsOf(
  { values }: Words,
  command: string[],
  terminal: Terminal,
): Promise<JsonObject[]> {
  const { url, tools: file, timeout = '30' } = values as Record<string, string | undefined>
  if ([url !== undefined, file !== undefined, command.length > 0].filter(Boolean).length !== 1)
    throw new WrongUse('needs one of --url URL, --tools FILE, or -- COMMAND\nTry --help.')
  const seconds = Number(timeout)
  if (!(seconds > 0 && seconds <= 3600)) throw new WrongUse('--timeout is a number of seconds')
  if (file !== undefined) return readTools(readFile(file))
  if (url === undefined)
    return listTools({ kind: 'command', command, env: terminal.env }, terminal.version, seconds * 1000)
  if (!/^https?:\/\//.test(url)) throw new WrongUse('--url must be http:// or https://')
  const headers = Object.fromEntries(
    ((values.header as string[] | undefined) ?? []).map((line) => {
      const colon = line.indexOf(':')
      if (colon < 1) throw new WrongUse(`--header must be 'NAME: VALUE'`)
      const value = line.slice(colon + 1).trim()
      return [
        line.slice(0, colon).toLowerCase(),
        value.replace(/\$\{(\w+)\}/g, (_, name) => fromEnv(name, terminal)),
      ]
    }),
  )
  return listTools({ kind: 'url', url, headers }, terminal.version, seconds * 1000)
}

function fromEnv(name: string, { env }: Terminal): string {
  const value = env[name]
  if (value === undefined) throw new WrongUse(`--header: there is no ${name} in the environment`)
  return value
}

function readFile(file: string) {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new WrongUse((error as Error).message)
  }
  const parsed = parseStrict(text, { bytes: 64 << 20, depth: 128, keys: 1_000_000, string: 1 << 20 })
  if (!parsed.ok) throw new ToolListError(`${file} is not strict JSON (${parsed.fault})`)
  return parsed.value
}
