import type { Line, Source } from '../../src/edge/audit/sinks/sink.ts'

/** The spool's reader in memory: what was committed is not given again. */
export function memorySource(): Source<number> & {
  add: (...texts: string[]) => void
  close: () => void
  committed: () => number
} {
  const lines: string[] = []
  let at = 0
  let closed = false
  let told: (() => void)[] = []
  const tell = () => {
    const now = told
    told = []
    for (const one of now) one()
  }
  return {
    add(...texts) {
      lines.push(...texts)
      tell()
    },
    close() {
      closed = true
      tell()
    },
    committed: () => at,
    async read(limits) {
      const taken: { text: string }[] = []
      let size = 0
      for (const text of lines.slice(at, at + limits.lines)) {
        size += text.length
        if (taken.length > 0 && size > limits.bytes) break
        taken.push({ text })
      }
      return { lines: taken, next: at + taken.length }
    },
    wait: (_from, signal) =>
      new Promise((resolve) => {
        const look = () => {
          if (signal?.aborted) resolve(false)
          else if (lines.length > at) resolve(true)
          else if (closed) resolve(false)
          else told.push(look)
        }
        signal?.addEventListener('abort', look, { once: true })
        look()
      }),
    async commit(next) {
      at = next
    },
    lag: () => ({ lines: lines.length - at, bytes: 0, since: undefined }),
  }
}

/** A record as the sidecar writes it, its `event_id` made of its number. */
export const recordLine = (seq: number, more: Record<string, unknown> = {}, custom: object = {}): string =>
  JSON.stringify({
    labels: { id: 'sidecar-1', version: '0.1.0' },
    decision_id: `d-${seq}`,
    bundles: { mcp: { revision: 'r1' } },
    timestamp: new Date(1_795_379_174_008 + seq).toISOString(),
    ...more,
    custom: { event: 'outcome', event_id: `e-${seq}`, ...custom, seq },
  })

export const linesOf = (texts: string[]): Line[] => texts.map((text) => ({ text, event: JSON.parse(text) }))
