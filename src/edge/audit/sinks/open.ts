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
import { type Runner, runSink, type SinkState, type Told } from './runner.ts'
import { createServiceClient } from './service.ts'
import type { Output } from './settings.ts'
import type { Line, Sink, Source } from './sink.ts'
import { createSplunkSink } from './splunk.ts'
import { createStdoutSink } from './stdout.ts'

export type SinkWorld = { stdout: Writable; version: string }

/** What a line is made into is made once, before it is sent: see `prepare`. */
function once<T>(make: (line: Line) => T): (line: Line) => T {
  const made = new WeakMap<Line, T>()
  return (line) => {
    const had = made.get(line)
    if (had !== undefined) return had
    const fresh = make(line)
    made.set(line, fresh)
    return fresh
  }
}

export function openSink(output: Output, world: SinkWorld): Sink {
  if (output.type === 'otlp') {
    const render = once(({ event, text }) => toOtel(event, text))
    return { ...createOtlpSink(output.name, output.to, world.version, render), prepare: render }
  }
  const render = once(({ event, text }) => project(output.schema, event, text))
  return { ...openTextSink(output, world, render), prepare: render }
}

function openTextSink(
  output: Exclude<Output, { type: 'otlp' }>,
  world: SinkWorld,
  render: (line: Line) => string,
): Sink {
  const { name } = output
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
  }
}

const withTimestamp = (document: string, { event }: Line): string =>
  `{"@timestamp":${JSON.stringify(event.timestamp ?? null)},${document.slice(1)}`

export type Sinks = {
  state: () => SinkState[]
  /** sends what is there, for so many milliseconds at most; false if one was not done */
  stop: (within: number) => Promise<boolean>
}
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
  say: (name: string, told: Told) => void,
): Sinks {
  const dead = openDeadLetters(join(folder, 'dead-letters'), DEAD_LETTERS)
  const runners: Runner[] = outputs.map((output) =>
    runSink(
      openSink(output, world),
      reader(output.name, output.type === 'stdout' ? 'newest' : 'oldest'),
      dead,
      output.runner,
      (sink, told) => say(sink.name, told),
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
