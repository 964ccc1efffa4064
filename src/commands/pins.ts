import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ToolListError } from '../edge/tool-server.ts'
import { isObject, parseStrict } from '../mcp/strict-json.ts'
import { comparePins, type Pin, type PinChange, type Pins, pinsOf } from '../pdp/pins.ts'
import { type Command, type Terminal, WrongUse } from './command.ts'
import { serverOf, TOOL_OPTIONS, TOOL_USAGE, toolsOf } from './tool-source.ts'

export const command: Command = {
  usage: `Usage: mcp-opa-sidecar pins --server NAME [OPTIONS] FOLDER
       mcp-opa-sidecar pins --server NAME [OPTIONS] FOLDER -- COMMAND [ARGS ...]

Writes the definitions of a server's tools, with their digests, to FOLDER/config/pins/NAME/data.json, for a pull
request, and says what is new, changed, renamed, gone, or reads like a tool of another server. Where data.config.pins
has a server, the library refuses a tool whose definition is another. The .manifest of FOLDER must own config/pins.

Options:
${TOOL_USAGE}      --check                  write nothing, and end with 1 if something changed

Exit codes: 0 written or unchanged, 1 the server could not be asked, or something changed with --check, 64 wrong use.
`,
  positionals: Number.POSITIVE_INFINITY,
  options: { ...TOOL_OPTIONS, check: { type: 'boolean' } },
  async run(words, terminal) {
    const [folder, ...started] = words.positionals
    const server = serverOf(words)
    if (folder === undefined) throw new WrongUse('needs a folder of policy data\nTry --help.')
    const root = join(folder, 'config', 'pins')
    const file = join(root, server, 'data.json')
    const before = readPins(file)
    let after: Pins | undefined
    try {
      after = pinsOf(await toolsOf(words, started, terminal))
      if (after === undefined) throw new ToolListError('the server lists two tools of one name')
    } catch (error) {
      return complain(error, terminal)
    }
    const changes = comparePins(before, after, otherPins(root, server))
    terminal.stdout.write(report(server, changes, Object.keys(after).length))
    const changed = changes.some(({ kind }) => kind !== 'shadows')
    if (words.values.check) return changed ? 1 : 0
    if (changed || !existsSync(file)) {
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(`${file}.part`, `${JSON.stringify(after, undefined, 2)}\n`)
      renameSync(`${file}.part`, file)
      terminal.stdout.write(`${file}\n`)
    }
    return 0
  },
}

export function complain(error: unknown, terminal: Terminal): number {
  if (!(error instanceof ToolListError)) throw error
  terminal.stderr.write(`mcp-opa-sidecar: ${error.message}\n`)
  return 1
}

function readPins(file: string): Pins {
  if (!existsSync(file)) return {}
  const parsed = parseStrict(readFileSync(file, 'utf8'), {
    bytes: 64 << 20,
    depth: 128,
    keys: 1_000_000,
    string: 1 << 20,
  })
  const pins = parsed.ok && isObject(parsed.value) ? Object.entries(parsed.value) : undefined
  if (!pins?.every(([, pin]) => isPin(pin))) throw new WrongUse(`${file} is not what this command writes`)
  return Object.fromEntries(pins) as unknown as Pins
}

const isPin = (value: unknown): boolean => {
  const pin = value as Partial<Pin> | null
  return isObject(value) && typeof pin?.digest === 'string' && isObject(pin.definition)
}

function otherPins(root: string, server: string): Record<string, Pins> {
  if (!existsSync(root)) return {}
  const servers = readdirSync(root, { withFileTypes: true }).filter(
    (entry) => entry.isDirectory() && entry.name !== server,
  )
  return Object.fromEntries(servers.map(({ name }) => [name, readPins(join(root, name, 'data.json'))]))
}

function report(server: string, changes: PinChange[], count: number): string {
  const lines = changes.map((change) => {
    switch (change.kind) {
      case 'changed':
        return `changed  ${change.tool}: ${change.members.join(', ')}`
      case 'renamed':
        return `renamed  ${change.tool}, was ${change.from}`
      case 'shadows':
        return `shadows  ${change.tool}: reads like ${change.other}${change.server === '' ? '' : ` of ${change.server}`}`
      default:
        return `${change.kind.padEnd(7)}  ${change.tool}`
    }
  })
  // Names are the server's own: nothing of them may move the cursor of a terminal.
  const shown = lines.map((line) => `${line.replace(/[\p{C}\u2028\u2029]/gu, '\ufffd')}\n`)
  const sum = changes.length === 0 ? 'nothing changed' : `${changes.length} to look at`
  return `${shown.join('')}${server}: ${count} tools, ${sum}\n`
}
