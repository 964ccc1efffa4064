/** Tells those that judged under the old policy that another is in force. */
export type Changes = {
  /** to be called when the new policy answers */
  announce: () => void
  /** @returns what ends the listening */
  listen: (listener: () => void) => () => void
}

export function createChanges(): Changes {
  const listeners = new Set<() => void>()
  return {
    announce: () => {
      for (const listener of [...listeners]) listener()
    },
    listen(listener) {
      // Wrapped: the same function may listen twice.
      const entry = () => listener()
      listeners.add(entry)
      return () => void listeners.delete(entry)
    },
  }
}

/**
 * What comes of `source`, and `undefined` for each change since the last look, between its items. Ends with the source;
 * whoever stops reading stops the source.
 */
export async function* withChanges<T extends string | object>(
  source: AsyncIterable<T>,
  changes: Changes,
): AsyncGenerator<T | undefined> {
  let changed = false
  let wake = () => {}
  const stop = changes.listen(() => {
    changed = true
    wake()
  })
  const iterator = source[Symbol.asyncIterator]()
  let next: Promise<IteratorResult<T>> | undefined
  try {
    for (;;) {
      if (changed) {
        changed = false
        yield undefined
        continue
      }
      next ??= iterator.next()
      if (changed) continue
      const turn = new Promise<undefined>((resolve) => {
        wake = () => resolve(undefined)
      })
      const step = await Promise.race([next, turn])
      if (!step) continue
      next = undefined
      if (step.done) return
      yield step.value
    }
  } finally {
    stop()
    // What is read now is nobody's; its failure is, too.
    next?.catch(() => undefined)
    void iterator.return?.()?.then(undefined, () => undefined)
  }
}
