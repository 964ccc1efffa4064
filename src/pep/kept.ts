import { createChanges } from './changes.ts'
import { createKnownTools } from './facts.ts'
import { createGiven } from './given.ts'
import type { Context } from './handle.ts'
import { createStates } from './input-required.ts'
import { createPending } from './pending.ts'
import { createSealer } from './session.ts'
import { createTasks } from './tasks.ts'

/**
 * What is kept between messages: seals, which need a key only, and bounded tables of this process.
 * @param secret any length, e.g. `plugins.mcp.session_key`
 */
export const createKept = (
  secret: Uint8Array,
  now: () => number,
): Pick<Context, 'sealer' | 'tools' | 'pending' | 'given' | 'states' | 'tasks' | 'changes'> => ({
  sealer: createSealer(secret),
  tools: createKnownTools(),
  pending: createPending(now),
  given: createGiven(),
  states: createStates(secret),
  tasks: createTasks(secret),
  changes: createChanges(),
})
