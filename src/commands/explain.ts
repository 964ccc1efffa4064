import { createFollower } from '../edge/audit/follower.ts'
import { explanation } from '../log/words.ts'
import { isObject, type JsonObject } from '../mcp/strict-json.ts'
import { REFUSALS } from '../pep/refusal.ts'
import { type Command, WrongUse } from './command.ts'
import { eventOf, folderOf, RECORD_OPTIONS, RECORD_USAGE } from './record.ts'

export const command: Command = {
  usage: `Usage: mcp-opa-sidecar explain DECISION_ID FOLDER [--json]

Says all that is on record of one decision: who asked for what, what was decided and why, and what came of it. The id is
in what the agent was told.
${RECORD_USAGE}
Options:
      --json                 the records as they are stored
  -c, --config-file FILE     takes the folder from a configuration

Exit codes: 0 it is on record, 1 it is not, 64 wrong use.
`,
  options: { ...RECORD_OPTIONS, json: { type: 'boolean' } },
  positionals: 2,
  async run(words, terminal) {
    const [id, given] = words.positionals
    if (id === undefined) throw new WrongUse('which decision? explain DECISION_ID FOLDER')
    const folder = folderOf(given, words, terminal)
    const found: JsonObject[] = []
    for (const line of createFollower(folder)()) {
      if (!line.includes(id)) continue
      const event = eventOf(line)
      if (!event || !(event.decision_id === id || parentOf(event) === id)) continue
      found.push(event)
      if (words.values.json) terminal.stdout.write(`${line}\n`)
    }
    if (found.length === 0) {
      terminal.stderr.write(
        `mcp-opa-sidecar: ${folder} has no record of it. It may be in another replica's record, or deleted since (buffer.max_age, max_bytes); of a flood of refusals only the number is on record.\n`,
      )
      return 1
    }
    if (!words.values.json) terminal.stdout.write(`${explanation(id, found, REFUSALS)}\n`)
    return 0
  },
}

const parentOf = ({ input }: JsonObject) =>
  isObject(input) && isObject(input.parent) ? input.parent.decision_id : undefined
