import { listSegments } from '../edge/audit/segments.ts'
import { isObject, type JsonObject } from '../mcp/strict-json.ts'
import { type Terminal, type Words, WrongUse } from './command.ts'
import { CONFIG_OPTIONS, configure } from './configure.ts'

/** The options of each command that reads a record. */
export const RECORD_OPTIONS = {
  'config-file': CONFIG_OPTIONS['config-file'],
  set: CONFIG_OPTIONS.set,
} as const
export const RECORD_USAGE = `FOLDER is that of the record (plugins.mcp_audit.buffer.path); with --config-file FILE it is taken from there.
`

/** @throws WrongUse where there is no record */
export function folderOf(given: string | undefined, words: Words, terminal: Pick<Terminal, 'env'>): string {
  const folder =
    given ??
    (words.values['config-file'] === undefined ? undefined : configure(words, terminal).audit.buffer.folder)
  if (folder === undefined)
    throw new WrongUse('which record? Name its folder, or --config-file FILE\nTry --help.')
  let found = 0
  try {
    found = listSegments(folder).length
  } catch (error) {
    throw new WrongUse((error as Error).message)
  }
  if (found === 0) throw new WrongUse(`${folder}: there is no record (decisions-….jsonl) in it`)
  return folder
}

/** A line of the record; undefined for one that was damaged. */
export function eventOf(line: string): JsonObject | undefined {
  try {
    const event: unknown = JSON.parse(line)
    return isObject(event) && isObject(event.custom) ? event : undefined
  } catch {
    return undefined
  }
}
