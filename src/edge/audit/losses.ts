import type { JsonObject } from '../../mcp/strict-json.ts'
import type { Keep } from '../../pep/ports.ts'

type Cause = JsonObject & { code: string }

/** Lines that could not be recorded: how many, since when and why, for the gap record that says so. */
export type Losses = {
  /** @param why it could not be */
  lose: (keep: Keep, why: string) => void
  /** `required` lines are refused from here on: told once until they are taken again */
  refuse: (why: string) => void
  /** a `required` line was recorded */
  taken: () => void
  /** What a gap record is to say; undefined where nothing was lost since the last that was `written`. */
  gap: () => { cause: Cause; written: () => void } | undefined
  /** lines since the last gap record, and since the start */
  count: () => number
  ever: () => number
}

export function countLosses(now: () => number, told: (cause: Cause) => void): Losses {
  let lost: { required: number; other: number; since: number; why: string } | undefined
  let ever = 0
  let refused = false
  const refuse = (why: string) => {
    if (!refused) told({ code: 'records_refused', why })
    refused = true
  }
  return {
    refuse,
    lose(keep, why) {
      lost ??= { required: 0, other: 0, since: now(), why }
      lost[keep === 'required' ? 'required' : 'other']++
      ever++
      if (keep === 'required') refuse(why)
    },
    taken() {
      if (refused) told({ code: 'records_taken_again' })
      refused = false
    },
    gap() {
      if (!lost) return undefined
      const { required, other, since, why } = lost
      return {
        cause: {
          code: 'records_lost',
          lost: required + other,
          required,
          since: new Date(since).toISOString(),
          until: new Date(now()).toISOString(),
          why,
        },
        written() {
          lost = undefined
          told({ code: 'records_lost', lost: required + other, why })
        },
      }
    },
    count: () => (lost ? lost.required + lost.other : 0),
    ever: () => ever,
  }
}
