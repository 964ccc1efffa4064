import type { Method } from '../mcp/methods.ts'
import { isObject, type Json, type JsonObject } from '../mcp/strict-json.ts'
import { onlyResult } from './decision.ts'

/** One named thing of a list, as `input.items` has it. */
export type Item = {
  kind: string
  key: string
  annotations?: JsonObject
  digest?: string
  /** of a tool, where the policy in force narrows schemas */
  inputSchema?: JsonObject
}

/** The list of a result, or undefined where the result has none: the caller fails, a list is never guessed. */
export function listOf(result: JsonObject, list: NonNullable<Method['list']>): JsonObject[] | undefined {
  const things = result[list.member]
  if (!Array.isArray(things)) return undefined
  const seen = new Set<string>()
  for (const thing of things) {
    if (!isObject(thing)) return undefined
    const key = thing[list.key]
    // Two things of one name: which of them a call means is up to the reader.
    if (typeof key !== 'string' || seen.has(key)) return undefined
    seen.add(key)
  }
  return things as JsonObject[]
}

/** What `mcp/main/visible` answers for an item: shown as it is, or shown with a narrowed schema. */
export type Visible = Map<number, true | { inputSchema: JsonObject }>

/** The answer, read strictly: undefined for anything malformed. What is not in it is hidden. */
export function readVisible(answers: unknown, count: number): Visible | undefined {
  const result = onlyResult(answers)
  if (!isObject(result)) return undefined
  const visible: Visible = new Map()
  for (const [index, value] of Object.entries(result)) {
    const i = Number(index)
    if (!Number.isInteger(i) || i < 0 || i >= count || String(i) !== index) return undefined
    const entry = readEntry(value)
    if (entry === undefined) return undefined
    visible.set(i, entry)
  }
  return visible
}

function readEntry(value: Json): true | { inputSchema: JsonObject } | undefined {
  if (value === true) return true
  if (!isObject(value) || Object.keys(value).length !== 1) return undefined
  return isObject(value.inputSchema) ? { inputSchema: value.inputSchema } : undefined
}

/** A thing as it may be seen: as it is, with a narrowed schema, or not at all. */
export function narrowed(
  thing: JsonObject,
  entry: true | { inputSchema: JsonObject } | undefined,
): JsonObject[] {
  if (!entry) return []
  return [entry === true ? thing : { ...thing, inputSchema: entry.inputSchema }]
}
