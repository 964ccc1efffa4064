import type { Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { SinkReader } from './reader.ts'

/** Milliseconds until it is tried again to read what could not be read. */
const AGAIN = 1_000
const LIMITS = { lines: 10_000, bytes: 64 << 10 }

/**
 * Copies the log to a stream, e.g. stdout, behind the writer: a reader that is stuck delays the copy and nothing else,
 * and one that has gone ends it.
 * @returns when all is copied and the log is closed, or the stream has ended
 */
export async function follow(
  reader: SinkReader,
  to: Writable,
  onError: (error: Error) => void,
): Promise<void> {
  const gone = new AbortController()
  // For the life of the stream: an error that nobody listens to would end the process.
  to.on('error', (error) => {
    if (!gone.signal.aborted) onError(error)
    gone.abort()
  })
  to.on('close', () => gone.abort())
  /** Until the stream has passed it on, not only taken it: what is left in it is lost when the process ends. */
  const put = (text: string) =>
    new Promise<void>((resolve) => {
      const done = () => {
        gone.signal.removeEventListener('abort', done)
        resolve()
      }
      gone.signal.addEventListener('abort', done)
      to.write(text, done)
    })
  while (await reader.wait(undefined, gone.signal)) {
    try {
      const { lines, next } = await reader.read(LIMITS)
      await put(lines.map(({ text }) => `${text}\n`).join(''))
      if (!gone.signal.aborted) await reader.commit(next)
    } catch (error) {
      onError(error as Error)
      await sleep(AGAIN, undefined, { ref: false })
    }
  }
}
