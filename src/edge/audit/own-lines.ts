import type { OpenLine } from '../../log/event.ts'
import type { JsonObject } from '../../mcp/strict-json.ts'
import type { Losses } from './losses.ts'
import type { Signing } from './signing.ts'

/** What the spool writes on its own account, before the lines of others. */
export type OwnLines = {
  /** to be said in the log, and told the operator */
  notice: (event: 'gap' | 'lifecycle', cause: Cause) => void
  /** to be said in the log */
  remark: (cause: Cause) => void
  any: () => boolean
  /**
   * What there is to say now; it is said again if it was not `written`.
   * @param head whether it begins a file, of which a checkpoint is the first line whatever else there is to say
   * @param sound whether lines are kept: before that nothing is signed, and no loss is over
   */
  next: (head: boolean, sound: boolean, atTheEnd: boolean) => { lines: OpenLine[]; written: () => void }
}
type Cause = JsonObject & { code: string }

export function createOwnLines(
  say: (event: 'gap' | 'lifecycle' | 'checkpoint', more: JsonObject) => OpenLine,
  told: (cause: Cause) => void,
  signing: Signing,
  losses: Losses,
): OwnLines {
  const notices: [event: 'gap' | 'lifecycle', cause: Cause][] = []
  return {
    notice(event, cause) {
      notices.push([event, cause])
      told(cause)
    },
    remark: (cause) => notices.push(['lifecycle', cause]),
    any: () => notices.length > 0 || losses.count() > 0,
    next(head, sound, atTheEnd) {
      const checkpoint = head || (sound && signing.due(atTheEnd)) ? signing.next(head) : undefined
      const said = notices.length
      const gap = sound ? losses.gap() : undefined
      return {
        lines: [
          // First: it is of the lines that are there already.
          ...(checkpoint ? [say('checkpoint', checkpoint.said)] : []),
          ...notices.map(([event, cause]) => say(event, { cause })),
          ...(gap ? [say('gap', { cause: gap.cause })] : []),
        ],
        written() {
          checkpoint?.written()
          notices.splice(0, said)
          gap?.written()
        },
      }
    },
  }
}
