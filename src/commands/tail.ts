import { setTimeout as sleep } from 'node:timers/promises'
import { createFollower } from '../edge/audit/follower.ts'
import { pseudonym } from '../log/pseudonym.ts'
import { dispositionOf, kindOf, lineFor, toolOf, usersOf } from '../log/words.ts'
import type { JsonObject } from '../mcp/strict-json.ts'
import { type Command, type Terminal, type Words, WrongUse } from './command.ts'
import { configure } from './configure.ts'
import { eventOf, folderOf, RECORD_OPTIONS, RECORD_USAGE } from './record.ts'

export const command: Command = {
  usage: `Usage: mcp-opa-sidecar tail FOLDER [--follow] [--lines N] [filters] [--json]

Shows the last records, one a line, and with --follow those that come. Reads the files: the sidecar need not run.
${RECORD_USAGE}
Options:
  -f, --follow              goes on until it is stopped
  -n, --lines N             so many of those that were there (default 20; all: 0)
      --user NAME           of this e-mail address or subject
      --tool NAME           of this tool
      --decision ID         of this decision
      --disposition WHAT    allowed, denied, allowed_dry_run, rejected or failed
      --json                the records as they are stored
  -c, --config-file FILE    takes the folder from a configuration
`,
  options: {
    ...RECORD_OPTIONS,
    follow: { type: 'boolean', short: 'f' },
    lines: { type: 'string', short: 'n' },
    user: { type: 'string' },
    tool: { type: 'string' },
    decision: { type: 'string' },
    disposition: { type: 'string' },
    json: { type: 'boolean' },
  },
  positionals: 1,
  async run(words, terminal) {
    const folder = folderOf(words.positionals[0], words, terminal)
    const most = linesOf(words)
    const wanted = filterOf(words, keyFrom(words, terminal))
    const { stdout } = terminal
    const gone = new AbortController()
    stdout.on('error', () => gone.abort())
    const read = createFollower(folder)
    const write = (line: string, event: JsonObject) =>
      void stdout.write(`${words.values.json ? line : lineFor(event)}\n`)

    let kept: [string, JsonObject][] = []
    for (const line of read()) {
      const event = eventOf(line)
      if (!event || !wanted(event)) continue
      kept.push([line, event])
      // Not one by one: taking the first of a list costs as much as the list is long.
      if (most > 0 && kept.length >= 2 * most) kept = kept.slice(-most)
    }
    for (const [line, event] of most > 0 ? kept.slice(-most) : kept) write(line, event)
    if (!words.values.follow) return 0
    for (const signal of ['SIGINT', 'SIGTERM'] as const) terminal.on(signal, () => gone.abort())
    while (!gone.signal.aborted) {
      for (const line of read()) {
        const event = eventOf(line)
        if (event && wanted(event)) write(line, event)
      }
      await sleep(EVERY, undefined, { signal: gone.signal }).catch(() => undefined)
    }
    return 0
  },
}

/** Where records have pseudonyms, the key that tells whose they are. */
const keyFrom = (words: Words, terminal: Terminal) =>
  words.values['config-file'] === undefined ? undefined : configure(words, terminal).audit.identityKey

/** Milliseconds between looks at the files. */
const EVERY = 200
/** Decisions whose outcomes are looked for. */
const REMEMBERED = 100_000

const linesOf = ({ values }: Words): number => {
  const given = (values.lines as string | undefined) ?? '20'
  if (!/^\d{1,9}$/.test(given)) throw new WrongUse('--lines must be a whole number')
  return Number(given)
}

const DISPOSITIONS = ['allowed', 'denied', 'allowed_dry_run', 'rejected', 'failed']

/** An outcome names neither who nor what: it is wanted where its decision was. */
function filterOf({ values }: Words, key: Uint8Array | undefined): (event: JsonObject) => boolean {
  const { user, tool, decision, disposition } = values as Record<string, string | undefined>
  if (disposition !== undefined && !DISPOSITIONS.includes(disposition))
    throw new WrongUse(`--disposition must be one of ${DISPOSITIONS.join(', ')}`)
  const seen = new Set<unknown>()
  const names =
    user === undefined ? [] : [user.toLowerCase(), ...(key ? [pseudonym(key, user).toLowerCase()] : [])]
  return (event) => {
    if (decision !== undefined && event.decision_id !== decision) return false
    if (disposition !== undefined && dispositionOf(event) !== disposition) return false
    if (user === undefined && tool === undefined) return true
    if (kindOf(event) === 'outcome') return seen.has(event.decision_id)
    const theirs = user === undefined || usersOf(event).some((name) => names.includes(name.toLowerCase()))
    if (!theirs || (tool !== undefined && toolOf(event) !== tool)) return false
    if (seen.size >= REMEMBERED) seen.clear()
    seen.add(event.decision_id)
    return true
  }
}
