import { createFollower } from '../edge/audit/follower.ts'
import { loadPolicyFiles } from '../edge/judge/bundle.ts'
import { createEvaluator } from '../edge/judge/evaluator.ts'
import { milliseconds } from '../edge/settings.ts'
import { kindOf, printable, toolOf, usersOf } from '../log/words.ts'
import { isObject, type JsonObject } from '../mcp/strict-json.ts'
import { readDecision } from '../pdp/decision.ts'
import { type Command, type Words, WrongUse } from './command.ts'
import { eventOf, folderOf, RECORD_OPTIONS, RECORD_USAGE } from './record.ts'

export const command: Command = {
  usage: `Usage: mcp-opa-sidecar replay FOLDER --bundle FILE [--bundle FILE ...] [--since 24h] [--budget N] [--json]

Asks another policy what it would have decided of what is on record, and says which decisions would be others, by tool
and by user. What is not on record as it was asked (masked, erased, shortened) is counted as not replayable, not guessed.
${RECORD_USAGE}
Options:
  -b, --bundle FILE          a bundle: one with the policy, any number with data only
      --path ENTRYPOINT      default mcp/main/decision
      --since DURATION       only what was recorded so long ago or less, e.g. 90m, 24h
      --budget N             so many may be others (default 0)
      --json                 the result as one JSON object
  -c, --config-file FILE     takes the folder from a configuration

Exit codes: 0 within the budget, 1 over it, or nothing was replayable, 64 wrong use.
`,
  options: {
    ...RECORD_OPTIONS,
    bundle: { type: 'string', short: 'b', multiple: true },
    path: { type: 'string' },
    since: { type: 'string' },
    budget: { type: 'string' },
    json: { type: 'boolean' },
  },
  positionals: 1,
  async run(words, terminal) {
    const folder = folderOf(words.positionals[0], words, terminal)
    const files = (words.values.bundle as string[] | undefined) ?? []
    if (files.length === 0) throw new WrongUse('which policy? --bundle FILE')
    const from = sinceOf(words, Date.now())
    const budget = (words.values.budget as string | undefined) ?? '0'
    if (!/^\d{1,9}$/.test(budget)) throw new WrongUse('--budget must be a whole number')
    const path = (words.values.path as string | undefined) ?? 'mcp/main/decision'
    const policy = await loadPolicyFiles(Object.fromEntries(files.map((file, i) => [`b${i}`, file])), path)
    const evaluator = createEvaluator(policy.module, policy.data)
    const ask = (input: JsonObject): boolean | 'undecided' => {
      try {
        return readDecision(evaluator.evaluate(path, input))?.allow ?? 'undecided'
      } catch {
        evaluator.restore()
        return 'undecided'
      }
    }

    const result: Result = {
      decisions: 0,
      same: 0,
      undecided: 0,
      not_replayable: 0,
      flips: [],
      by_tool: {},
      by_user: {},
    }
    for (const line of createFollower(folder)()) {
      const event = eventOf(line)
      if (!event || kindOf(event) !== 'decision' || Date.parse(String(event.timestamp)) < from) continue
      result.decisions++
      const { input, result: was } = event
      if (!isWhole(event) || !isObject(input) || !isObject(was)) {
        result.not_replayable++
        continue
      }
      const now = ask(input)
      // What could not be decided is denied.
      const allow = now === true
      if (now === 'undecided') result.undecided++
      if (allow === was.allow) {
        result.same++
        continue
      }
      const flip = {
        decision_id: String(event.decision_id),
        to: allow ? ('allow' as const) : ('deny' as const),
        tool: toolOf(event) || String(input.method),
        user: usersOf(event)[0] ?? '',
      }
      if (result.flips.length < SHOWN) result.flips.push(flip)
      add(result.by_tool, flip.tool, flip.to)
      add(result.by_user, flip.user, flip.to)
    }
    const replayed = result.decisions - result.not_replayable
    const flipped = replayed - result.same
    const { stdout } = terminal
    stdout.write(
      words.values.json
        ? `${JSON.stringify({ ...result, replayed, flipped })}\n`
        : say(result, replayed, flipped),
    )
    return replayed === 0 || flipped > Number(budget) ? 1 : 0
  },
}

type Changes = Record<string, { allow: number; deny: number }>
type Result = {
  decisions: number
  same: number
  undecided: number
  not_replayable: number
  flips: { decision_id: string; to: 'allow' | 'deny'; tool: string; user: string }[]
  by_tool: Changes
  by_user: Changes
}

/** Decisions that are named; all are counted. */
const SHOWN = 1_000
const EXAMPLES = 10

const add = (changes: Changes, name: string, to: 'allow' | 'deny') => {
  const known = Object.hasOwn(changes, name) ? changes[name] : undefined
  const count = known ?? { allow: 0, deny: 0 }
  count[to]++
  Object.defineProperty(changes, name, { value: count, enumerable: true, configurable: true, writable: true })
}

/** Whether the input is on record as the policy was asked it. */
function isWhole({ masked, erased, custom, error }: JsonObject): boolean {
  const { truncated, mask_error } = custom as JsonObject
  return (
    masked === undefined &&
    erased === undefined &&
    truncated === undefined &&
    mask_error === undefined &&
    error === undefined
  )
}

function sinceOf({ values }: Words, now: number): number {
  const given = values.since as string | undefined
  if (given === undefined) return 0
  const ms = milliseconds(given)
  if (ms === undefined) throw new WrongUse('--since must be a duration, e.g. 90m or 24h')
  return now - ms
}

function say(
  { decisions, same, undecided, not_replayable, flips, by_tool, by_user }: Result,
  replayed: number,
  flipped: number,
): string {
  const lines = [
    `${decisions} decisions on record: ${replayed} replayed, ${not_replayable} not replayable (masked, erased, shortened or in error)`,
    `${same} the same, ${flipped} others${undecided > 0 ? `; ${undecided} could not be decided, which denies them` : ''}`,
  ]
  if (replayed === 0) lines.push('nothing was replayed, so nothing is known')
  for (const [title, changes] of [
    ['by tool', by_tool],
    ['by user', by_user],
  ] as const) {
    const rows = Object.entries(changes).sort(([, a], [, b]) => b.allow + b.deny - a.allow - a.deny)
    if (rows.length > 0) lines.push(`${title}:`)
    for (const [name, { allow, deny }] of rows)
      lines.push(`  ${printable(name).padEnd(32)} ${deny} would be denied, ${allow} would be allowed`)
  }
  if (flips.length > 0) lines.push('for example:')
  for (const { decision_id, to, tool, user } of flips.slice(0, EXAMPLES))
    lines.push(
      `  ${decision_id} ${to === 'deny' ? 'would be denied' : 'would be allowed'}: ${printable(tool)} by ${printable(user)}`,
    )
  return `${lines.join('\n')}\n`
}
