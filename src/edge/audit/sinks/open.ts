import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { toOtel } from '../../../log/projections/otel.ts'
import { project } from '../../../log/projections/project.ts'
import { createBulkSink } from './bulk.ts'
import { openDeadLetters } from './dead-letters.ts'
import { createFileSink } from './file.ts'
import { createOpaSink } from './opa.ts'
import { createOtlpSink } from './otlp.ts'
import { createClient } from './request.ts'
import { type Runner, runSink, type SinkState } from './runner.ts'
import { createServiceClient } from './service.ts'
import type { Output } from './settings.ts'
import type { Answer, Line, Sink, Source } from './sink.ts'
import { createSplunkSink } from './splunk.ts'
import { createStdoutSink } from './stdout.ts'

export type SinkWorld = { stdout: Writable; version: string }

export function openSink(output: Output, world: SinkWorld): Sink {
  const { name } = output
  const render = ({ event, text }: Line) => project(output.schema, event, text)
  switch (output.type) {
    case 'stdout':
      return createStdoutSink(name, world.stdout, render)
    case 'file':
      return createFileSink(name, output, render)
    case 'http':
      return createOpaSink(
        { name, type: 'http', to: output.to.url.origin + output.to.url.pathname },
        createClient({ ...output.to, compress: false }),
        { limit: output.limit, compress: output.to.compress },
        render,
      )
    case 'service':
      return createOpaSink(
        { name, type: 'service', to: `${output.service.url}/${output.resource}` },
        createServiceClient(output.service, output.resource, world.version, output.timeout),
        { limit: output.limit, compress: true },
        render,
      )
    case 'splunk':
      return createSplunkSink(name, output, render)
    case 'elasticsearch':
    case 'opensearch':
      return createBulkSink(name, output.type, output.to, output.index, (line) =>
        // A data stream asks for it; the other schemas have their own names for the time.
        output.schema === 'ecs' ? render(line) : withTimestamp(render(line), line),
      )
    case 'otlp':
      return createOtlpSink(name, output.to, world.version, ({ event, text }) => toOtel(event, text))
  }
}

const withTimestamp = (document: string, { event }: Line): string =>
  `{"@timestamp":${JSON.stringify(event.timestamp ?? null)},${document.slice(1)}`

export type Sinks = {
  state: () => SinkState[]
  /** sends what is there, for so many milliseconds at most; false if one was not done */
  stop: (within: number) => Promise<boolean>
}
export type Said = (
  name: string,
  answer: Answer | { kind: 'dead_letter'; said: string; event_id: string },
) => void

/** Bytes of the dead letters of one sink. */
const DEAD_LETTERS = 256 << 20

/**
 * All outputs at once, each with its own cursor: one that is away holds up none of the others.
 * @param folder of the spool; dead letters are kept beside it
 */
export function startSinks(
  outputs: Output[],
  folder: string,
  reader: (name: string, start: 'oldest' | 'newest') => Source,
  world: SinkWorld,
  say: Said,
): Sinks {
  const dead = openDeadLetters(join(folder, 'dead-letters'), DEAD_LETTERS)
  const runners: Runner[] = outputs.map((output) =>
    runSink(
      openSink(output, world),
      reader(output.name, output.type === 'stdout' ? 'newest' : 'oldest'),
      dead,
      output.runner,
      (sink, answer) => say(sink.name, answer),
    ),
  )
  return {
    state: () => runners.map((runner) => runner.state()),
    async stop(within) {
      const clean = await Promise.all(runners.map((runner) => runner.stop(within)))
      return clean.every(Boolean)
    },
  }
}
