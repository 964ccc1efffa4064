import type { JsonObject } from '../mcp/strict-json.ts'
import { type ToolFacts, toolFacts } from '../pdp/tool.ts'

/**
 * What is known of tools: definitions from lists that this session or this identity was sent, never from another
 * person's. Facts are made once per distinct definition.
 */
export type KnownTools = {
  learn: (owner: string, definitions: JsonObject[]) => ToolFacts[]
  lookup: (owner: string, tool: string) => ToolFacts | undefined
}

export function createKnownTools(bounds = { owners: 1000, tools: 1000, definitions: 5000 }): KnownTools {
  const byText = new Map<string, ToolFacts>()
  const byOwner = new Map<string, Map<string, ToolFacts>>()

  const factsOf = (definition: JsonObject): ToolFacts => {
    const text = JSON.stringify(definition)
    const known = byText.get(text)
    if (known) return known
    const facts = toolFacts(definition)
    if (byText.size >= bounds.definitions) dropOldest(byText)
    byText.set(text, facts)
    return facts
  }

  return {
    learn(owner, definitions) {
      let tools = byOwner.get(owner)
      if (!tools) {
        if (byOwner.size >= bounds.owners) dropOldest(byOwner)
        tools = new Map()
      }
      // Moved to the end: the owner that was seen last is dropped last.
      byOwner.delete(owner)
      byOwner.set(owner, tools)
      return definitions.map((definition) => {
        const facts = factsOf(definition)
        const name = String(definition.name)
        if (!tools.has(name) && tools.size >= bounds.tools) dropOldest(tools)
        tools.set(name, facts)
        return facts
      })
    },
    lookup: (owner, tool) => byOwner.get(owner)?.get(tool),
  }
}

function dropOldest(map: Map<string, unknown>): void {
  const oldest = map.keys().next()
  if (!oldest.done) map.delete(oldest.value)
}
