import type { UpstreamFrame } from '../../pep/ports.ts'

/** Messages that wait for a slow reader, and their length together. */
const MOST = 1000
const LENGTH = 16 << 20

export type Queue = {
  /** false: there is no room for it */
  push: (text: string) => boolean
  /** nothing more comes; what is there is still read */
  end: () => void
  read: () => AsyncGenerator<UpstreamFrame>
}

/** Messages for one reader. @param onLeft called when it has read the last one, or reads no more */
export function createQueue(onLeft: () => void): Queue {
  const queue: string[] = []
  let length = 0
  let over = false
  let wake = () => {}
  return {
    push(text) {
      if (queue.length >= MOST || length + text.length > LENGTH) return false
      queue.push(text)
      length += text.length
      wake()
      return true
    },
    end() {
      over = true
      wake()
    },
    async *read() {
      try {
        for (;;) {
          const text = queue.shift()
          if (text !== undefined) {
            length -= text.length
            yield { data: text }
          } else if (over) return
          else
            await new Promise<void>((resolve) => {
              wake = resolve
            })
        }
      } finally {
        onLeft()
      }
    },
  }
}
