import { readFileSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { BundleError } from '../edge/bundles/failure.ts'
import { loadPolicyFiles } from '../edge/judge/bundle.ts'
import { createEvaluator } from '../edge/judge/evaluator.ts'
import { VISIBLE } from '../edge/judge/judge.ts'
import { isObject, type JsonObject, parseStrict } from '../mcp/strict-json.ts'
import { type Decision, readDecision } from '../pdp/decision.ts'
import { readVisible, type Visible } from '../pdp/visible.ts'
import { type Command, WrongUse } from './command.ts'

const UNDECIDED = 2

export const command: Command = {
  usage: `Usage: mcp-opa-sidecar eval --bundle FILE [--bundle FILE ...] [--input FILE]

Asks a policy one question and prints its decision with the reasons. The input is JSON as policies see it; an event of
the record is taken by its input. Nothing is filled in: the time is input.time_ms.

Options:
  -b, --bundle FILE            one with policy.wasm, any number with data only
  -i, --input FILE             (default: standard input)
      --visible                ask what may be seen of input.items
      --path ENTRYPOINT        of decisions (default mcp/main/decision)
      --format pretty|json     (default pretty)

Exit codes: 0 allowed (or seen: any item), 1 denied (or nothing is seen), 2 not decided, 64 wrong use.
`,
  options: {
    bundle: { type: 'string', short: 'b', multiple: true },
    input: { type: 'string', short: 'i' },
    visible: { type: 'boolean' },
    path: { type: 'string' },
    format: { type: 'string' },
  },
  async run({ values }, terminal) {
    const files = (values.bundle as string[] | undefined) ?? []
    if (files.length === 0) throw new WrongUse('needs --bundle FILE\nTry --help.')
    const format = (values.format as string | undefined) ?? 'pretty'
    if (format !== 'pretty' && format !== 'json') throw new WrongUse('--format is pretty or json')
    const path = (values.path as string | undefined) ?? 'mcp/main/decision'
    const input = await readInput(values.input as string | undefined, terminal.stdin)
    const complain = (text: string): number => {
      terminal.stderr.write(`mcp-opa-sidecar: ${text}\n`)
      return UNDECIDED
    }
    let answers: unknown
    try {
      const named = Object.fromEntries(
        files.map((file, i) => [files.length === 1 ? 'bundle' : `bundle${i}`, file]),
      )
      const policy = await loadPolicyFiles(named, path)
      answers = createEvaluator(policy.module, policy.data).evaluate(values.visible ? VISIBLE : path, input)
    } catch (error) {
      if (error instanceof BundleError) return complain(error.message)
      return complain(`the evaluation ended with an error, which is a deny: ${(error as Error).message}`)
    }
    if (format === 'json') terminal.stdout.write(`${JSON.stringify(answers, undefined, 2)}\n`)
    if (values.visible) {
      const items = Array.isArray(input.items) ? input.items : []
      const visible = readVisible(answers, items.length)
      if (!visible)
        return complain('the policy gave no answer of the contract’s form: the list would be an error')
      if (format === 'pretty') terminal.stdout.write(visibleText(visible, items))
      return visible.size > 0 ? 0 : 1
    }
    const decision = readDecision(answers)
    if (!decision) return complain('the policy gave no decision of the contract’s form, which is a deny')
    if (format === 'pretty') terminal.stdout.write(decisionText(decision))
    return decision.allow ? 0 : 1
  },
}

async function readInput(file: string | undefined, stdin: Readable): Promise<JsonObject> {
  let text = ''
  try {
    if (file !== undefined && file !== '-') text = readFileSync(file, 'utf8')
    else for await (const chunk of stdin) text += chunk
  } catch (error) {
    throw new WrongUse((error as Error).message)
  }
  const parsed = parseStrict(text)
  if (!parsed.ok) throw new WrongUse(`the input is not one JSON object (${parsed.fault})`)
  if (!isObject(parsed.value)) throw new WrongUse('the input is not a JSON object')
  const { input, custom } = parsed.value
  // A line of the record.
  return isObject(input) && isObject(custom) ? input : parsed.value
}

function decisionText({ allow, reasons, dry_run, message }: Decision): string {
  const list = (of: Decision['reasons']) =>
    of
      .map(({ code, title, help, details }) => {
        const more = details === undefined ? '' : `\n    ${JSON.stringify(details)}`
        return `  ${title} [${code}]${help === undefined ? '' : `\n    ${help}`}${more}\n`
      })
      .join('')
  let text = `${allow ? 'allowed' : 'denied'}\n${list(reasons)}`
  if (dry_run)
    text += `with the rules that are dry runs: ${dry_run.allow ? 'allowed' : 'denied'}\n${list(dry_run.reasons)}`
  return message === undefined ? text : `${text}${message}\n`
}

function visibleText(visible: Visible, items: unknown[]): string {
  const lines = items.map((item, i) => {
    const entry = visible.get(i)
    const { kind, key } = isObject(item) ? item : {}
    const how = entry === undefined ? 'hidden' : entry === true ? 'shown' : 'narrowed'
    return `${how.padEnd(8)}  ${kind ?? '?'} ${key ?? '?'}\n`
  })
  return lines.join('')
}
