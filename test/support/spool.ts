import { openSpool, type Spool, type SpoolPorts, type SpoolSettings } from '../../src/edge/audit/spool.ts'
import { newId } from '../../src/edge/id.ts'
import { lifecycleEvent, type OpenLine, ownEvent } from '../../src/log/event.ts'
import { logText } from './log.ts'
import type { Parsed } from './raw.ts'

const origin = { labels: {}, bundles: {} }
const facts = { decision_id: 'd', event_id: 'e', time_ms: 0 }

export const lineOf = (code: string, time_ms = 0): OpenLine =>
  lifecycleEvent(origin, { ...facts, time_ms }, { code })

/** A spool of large files that asks for no more than the kernel. */
export const ROOMY: Omit<SpoolSettings, 'folder'> = {
  durability: 'process',
  maxBytes: 1 << 30,
  segmentBytes: 1 << 26,
  segmentAge: 3_600_000,
  maxAge: 3_600_000,
  reserveBytes: 4096,
  whenFull: 'refuse',
  checkpointEvery: 10_000,
}

export const spoolAt = (
  folder: string,
  settings: Partial<SpoolSettings> = {},
  ports: Partial<SpoolPorts> = {},
): Spool =>
  openSpool(
    { ...ROOMY, folder, ...settings },
    { say: (event, more) => ownEvent(origin, facts, event, more), now: Date.now, newId, ...ports },
  )

export const customsOf = (folder: string): Parsed[] =>
  logText(folder)
    .trimEnd()
    .split('\n')
    .map((text) => JSON.parse(text).custom)

/** What the lines of a log say. */
export const codesOf = (folder: string): string[] =>
  customsOf(folder).map(({ event, cause }) => (event === 'checkpoint' ? 'checkpoint' : cause.code))
