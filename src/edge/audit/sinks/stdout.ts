import type { Writable } from 'node:stream'
import type { Line, Sink } from './sink.ts'

/** Lines as they are in the spool. A batch is taken when the stream has passed it on: what is left in it is lost with us. */
export function createStdoutSink(name: string, to: Writable, render: (line: Line) => string): Sink {
  let gone: Error | undefined
  let proceed = () => {}
  // For the life of the stream: an error that nobody listens to would end the process.
  to.on('error', (error) => {
    gone ??= error
    proceed()
  })
  to.on('close', () => {
    gone ??= new Error('closed')
    proceed()
  })
  return {
    name,
    type: 'stdout',
    to: 'stdout',
    async send(batch, signal) {
      await new Promise<void>((resolve) => {
        proceed = resolve
        if (gone || signal.aborted) return resolve()
        signal.addEventListener('abort', proceed)
        to.write(batch.map((line) => `${render(line)}\n`).join(''), () => resolve())
      })
      signal.removeEventListener('abort', proceed)
      if (gone) return { kind: 'gone', said: gone.message }
      return signal.aborted ? { kind: 'retry', said: 'stopped' } : { kind: 'accepted', said: 'written' }
    },
    async close() {},
  }
}
