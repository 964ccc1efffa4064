import { randomUUID } from 'node:crypto'
import { openSink } from '../edge/audit/sinks/open.ts'
import { lineOf } from '../edge/audit/sinks/sink.ts'
import { newId } from '../edge/id.ts'
import { finishLine, lifecycleEvent } from '../log/event.ts'
import { type Command, WrongUse } from './command.ts'
import { CONFIG_OPTIONS, CONFIG_USAGE, configure } from './configure.ts'

export const command: Command = {
  usage: `Usage: mcp-opa-sidecar sinks test --config-file FILE [--output NAME]

Sends one marked event to each output of the configuration, and says what came back. The event is a lifecycle event with
custom.cause.code "sink_test" and a log id of its own, so that it is no hole and no record of the log. Ends with 1 if one
output did not take it.

Options:
      --output NAME        this output only
${CONFIG_USAGE}`,
  options: { ...CONFIG_OPTIONS, output: { type: 'string' } },
  positionals: 1,
  async run(words, terminal) {
    if (words.positionals[0] !== 'test')
      throw new WrongUse('say what to do with the sinks: sinks test\nTry --help.')
    const { audit, labels } = configure(words, terminal)
    const only = words.values.output as string | undefined
    const outputs = audit.outputs.filter(({ name }) => only === undefined || name === only)
    if (outputs.length === 0) {
      const names = audit.outputs.map(({ name }) => name).join(', ')
      throw new WrongUse(
        names === '' ? 'plugins.mcp_audit.output has no output' : `there is no output ${only}: ${names}`,
      )
    }
    const line = testLine({ id: randomUUID(), version: terminal.version, ...labels })
    const event_id = (line.event.custom as { event_id: string }).event_id
    terminal.stdout.write(`event_id ${event_id}\n`)
    let taken = true
    for (const output of outputs) {
      const sink = openSink(output, terminal)
      const began = performance.now()
      const answer = await sink.send([line], new AbortController().signal)
      await sink.close()
      const ms = Math.round(performance.now() - began)
      taken &&= answer.kind === 'accepted'
      const what = answer.kind === 'accepted' ? 'ok  ' : 'FAIL'
      terminal.stdout.write(
        `${what} ${sink.name} (${sink.type}, ${sink.to}, ${output.schema}): ${saidBy(answer)} [${ms} ms]\n`,
      )
      const hint = hintFor(answer)
      if (hint !== undefined) terminal.stdout.write(`     ${hint}\n`)
    }
    return taken ? 0 : 1
  },
}

function testLine(labels: Record<string, string>) {
  const facts = { decision_id: newId(), event_id: newId(), time_ms: Date.now() }
  const open = lifecycleEvent({ labels, bundles: {} }, facts, { code: 'sink_test' })
  const line = lineOf(finishLine(open, 1).trimEnd())
  if (!line) throw new Error('the test event is no JSON')
  return line
}

/** With the receiver's own words: there is nothing in the event that they could give away. */
const saidBy = ({ said, detail }: Awaited<ReturnType<ReturnType<typeof openSink>['send']>>): string =>
  detail === undefined ? said : `${said}: ${detail.replaceAll(/\s+/g, ' ').slice(0, 200)}`

/** What to do next, where the answer is of a kind that says it. */
function hintFor(answer: Awaited<ReturnType<ReturnType<typeof openSink>['send']>>): string | undefined {
  if (answer.kind === 'retry' && answer.slow)
    return 'look at url, credential and index of this output: a running sidecar tries again rarely'
  if (answer.kind === 'retry') return 'a running sidecar tries again until it is taken'
  if (answer.kind === 'refused' || answer.kind === 'partly')
    return 'the receiver does not take this event: a running sidecar keeps it with the dead letters'
  return undefined
}
