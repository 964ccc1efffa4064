import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parse } from 'yaml'

const read = (name: string) => readFileSync(join(import.meta.dirname, '..', name), 'utf8')

test("every tool that GitHub's MCP server 0.12.1 lists is in a set of the profile", () => {
  const names: string[] = JSON.parse(read('test/fixtures/github/tools-0.12.1.json'))
  const { toolsets, tools } = parse(read('rego/mcp/profiles/github/data.yaml')) as {
    toolsets: Record<string, object>
    tools: Record<string, { toolset: string }>
  }
  expect(new Set(names).size).toBe(85)
  const sets = Object.keys(toolsets)
  expect(names.filter((name) => !sets.includes(tools[name]?.toolset ?? ''))).toEqual([])
})
