import { open } from 'node:fs/promises'
import type { Writable } from 'node:stream'

/**
 * Copies what is appended to the spool to a stream, e.g. stdout. It reads the file behind the writer, so a reader that
 * is stuck delays the copy and nothing else.
 */
export function follow(
  path: string,
  from: number,
  to: Writable,
  onError: (error: Error) => void,
): { wake: () => void; idle: () => Promise<void> } {
  let at = from
  let again = false
  let running: Promise<void> | undefined

  const copy = async () => {
    const file = await open(path, 'r')
    try {
      const chunk = Buffer.alloc(64 << 10)
      for (;;) {
        const { bytesRead } = await file.read(chunk, 0, chunk.length, at)
        if (bytesRead === 0) {
          if (!again) return
          again = false
          continue
        }
        at += bytesRead
        if (!to.write(Buffer.from(chunk.subarray(0, bytesRead))))
          await new Promise((resolve) => to.once('drain', resolve))
      }
    } finally {
      await file.close()
    }
  }
  const wake = () => {
    again = true
    running ??= copy()
      .catch(onError)
      .finally(() => {
        running = undefined
      })
  }
  return { wake, idle: async () => running }
}
