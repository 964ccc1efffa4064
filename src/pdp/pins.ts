import { foldKey, type Json, type JsonObject } from '../mcp/strict-json.ts'
import { canonical, shownOf, toolFacts } from './tool.ts'

/** What was reviewed of a tool, `data.config.pins[server][tool]`: the definition, and the digest that policies compare. */
export type Pin = { digest: string; definition: JsonObject }
export type Pins = Record<string, Pin>

export type PinChange =
  | { kind: 'new'; tool: string }
  | { kind: 'gone'; tool: string }
  | { kind: 'changed'; tool: string; members: string[] }
  | { kind: 'renamed'; tool: string; from: string }
  /** the name of another tool, here or of another server, or one that reads like it */
  | { kind: 'shadows'; tool: string; server: string; other: string }

/** Pins of a list, by name in order. Undefined for a list with two tools of one name. */
export function pinsOf(tools: JsonObject[]): Pins | undefined {
  const names = tools.map((tool) => String(tool.name)).sort()
  if (new Set(names).size !== names.length) return undefined
  const byName = new Map(tools.map((tool) => [tool.name, tool]))
  return Object.fromEntries(
    names.map((name) => {
      const tool = byName.get(name) as JsonObject
      return [name, { digest: toolFacts(tool).digest, definition: shownOf(tool) }]
    }),
  )
}

/**
 * What a review has to look at.
 * @param others pins of the other servers, by name: a model that has several servers chooses tools by their names
 */
export function comparePins(before: Pins, after: Pins, others: Record<string, Pins>): PinChange[] {
  const changes: PinChange[] = []
  const gone = Object.keys(before).filter((name) => !Object.hasOwn(after, name))
  for (const [name, pin] of Object.entries(after)) {
    const was = Object.hasOwn(before, name) ? before[name] : undefined
    if (was && was.digest !== pin.digest)
      changes.push({ kind: 'changed', tool: name, members: differing(was.definition, pin.definition) })
    if (was) continue
    const from = gone.find((other) => bodyOf(before[other]) === bodyOf(pin))
    if (from !== undefined) {
      changes.push({ kind: 'renamed', tool: name, from })
      gone.splice(gone.indexOf(from), 1)
    } else changes.push({ kind: 'new', tool: name })
  }
  for (const tool of gone) changes.push({ kind: 'gone', tool })
  for (const name of Object.keys(after)) {
    for (const other of Object.keys(after))
      if (name < other && readsLike(name) === readsLike(other))
        changes.push({ kind: 'shadows', tool: name, server: '', other })
    for (const [server, pins] of Object.entries(others))
      for (const other of Object.keys(pins))
        if (readsLike(name) === readsLike(other)) changes.push({ kind: 'shadows', tool: name, server, other })
  }
  return changes
}

/** Names that differ by case or by marks between words are taken for one another. */
const readsLike = (name: string): string => foldKey(name).replace(/[-_.\s/]/g, '')

const bodyOf = (pin: Pin | undefined): string => {
  const { name: _, ...body } = pin?.definition ?? {}
  return canonical(body)
}

function differing(before: JsonObject, after: JsonObject): string[] {
  const text = (of: Json | undefined) => (of === undefined ? '' : canonical(of))
  const names = new Set([...Object.keys(before), ...Object.keys(after)])
  return [...names].filter((name) => text(before[name]) !== text(after[name])).sort()
}
