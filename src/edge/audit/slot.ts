import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { takeLock } from './lock.ts'

const SLOTS = 64

/**
 * A folder below `base` that no other process of this machine has: one that was used before, where there is one free, so
 * that several windows of one editor each have a record and no start leaves a folder of its own behind.
 * @throws Error if all are taken, or none can be made
 */
export function takeSlot(base: string): { folder: string; giveBack: () => void } {
  mkdirSync(base, { recursive: true, mode: 0o700 })
  let last: unknown
  for (let slot = 0; slot < SLOTS; slot++) {
    try {
      return { folder: join(base, String(slot)), giveBack: takeLock(join(base, `${slot}.lock`)) }
    } catch (error) {
      last = error
    }
  }
  throw last
}
