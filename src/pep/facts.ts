import { createHash } from 'node:crypto'
import type { JsonObject } from '../mcp/strict-json.ts'
import { type ToolFacts, toolFacts } from '../pdp/tool.ts'

/**
 * What is known of tools: definitions from lists that this identity was sent, never from another person's. Facts are
 * made once per distinct definition.
 */
export type KnownTools = {
  learn: (owner: string, definitions: JsonObject[]) => ToolFacts[]
  lookup: (owner: string, tool: string) => ToolFacts | undefined
}

/** UTF-16 units of definitions: of one (a longer one is not remembered) and of all together. */
const BOUNDS = { owners: 1000, tools: 1000, definition: 256 << 10, total: 32 << 20 }

export function createKnownTools(bounds = BOUNDS): KnownTools {
  const byDigest = new Map<string, { facts: ToolFacts; size: number }>()
  const byOwner = new Map<string, Map<string, string>>()
  let total = 0

  const factsOf = (definition: JsonObject): { facts: ToolFacts; digest: string } => {
    const text = JSON.stringify(definition)
    const digest = createHash('sha256').update(text).digest('base64')
    const known = byDigest.get(digest)
    if (known) return { facts: known.facts, digest }
    const facts = toolFacts(definition)
    if (text.length > bounds.definition) return { facts, digest }
    total += text.length
    byDigest.set(digest, { facts, size: text.length })
    while (total > bounds.total) total -= dropOldest(byDigest)?.size ?? total
    return { facts, digest }
  }

  return {
    learn(owner, definitions) {
      const tools = byOwner.get(owner) ?? new Map<string, string>()
      // Moved to the end: the owner that was seen last is dropped last.
      byOwner.delete(owner)
      byOwner.set(owner, tools)
      if (byOwner.size > bounds.owners) dropOldest(byOwner)
      return definitions.map((definition) => {
        const { facts, digest } = factsOf(definition)
        const name = String(definition.name)
        tools.delete(name)
        tools.set(name, digest)
        if (tools.size > bounds.tools) dropOldest(tools)
        return facts
      })
    },
    lookup: (owner, tool) => byDigest.get(byOwner.get(owner)?.get(tool) ?? '')?.facts,
  }
}

function dropOldest<T>(map: Map<string, T>): T | undefined {
  const oldest = map.entries().next()
  if (oldest.done) return undefined
  map.delete(oldest.value[0])
  return oldest.value[1]
}
