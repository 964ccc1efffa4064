import { open } from 'node:fs/promises'
import type { Writable } from 'node:stream'

/**
 * Copies what is appended to the spool to a stream, e.g. stdout. It reads the file behind the writer, so a reader that
 * is stuck delays the copy and nothing else, and one that has gone ends it.
 */
export function follow(
  path: string,
  from: number,
  to: Writable,
  onError: (error: Error) => void,
): { wake: () => void; idle: () => Promise<void> } {
  let at = from
  let again = false
  let over = false
  let running: Promise<void> | undefined
  let proceed = () => {}

  const end = () => {
    over = true
    proceed()
  }
  // For the life of the stream: an error that nobody listens to would end the process.
  to.on('error', (error) => {
    if (!over) onError(error)
    end()
  })
  to.on('close', end)

  /** Until the stream has passed it on, not only taken it: what is left in it is lost when the process ends. */
  const put = (bytes: Buffer) =>
    new Promise<void>((resolve) => {
      proceed = resolve
      to.write(bytes, () => resolve())
    })
  const copy = async () => {
    const file = await open(path, 'r')
    try {
      const chunk = Buffer.alloc(64 << 10)
      while (!over) {
        const { bytesRead } = await file.read(chunk, 0, chunk.length, at)
        if (bytesRead > 0) {
          at += bytesRead
          await put(Buffer.from(chunk.subarray(0, bytesRead)))
        } else if (again) again = false
        else return
      }
    } finally {
      await file.close()
    }
  }
  const wake = () => {
    if (over) return
    again = true
    running ??= copy()
      .catch((error) => {
        // The next append tries again.
        again = false
        onError(error)
      })
      .finally(() => {
        running = undefined
        // What was appended while the file was closed.
        if (again) wake()
      })
  }
  return {
    wake,
    async idle() {
      while (running) await running
    },
  }
}
