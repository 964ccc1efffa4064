import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { JsonObject } from '../mcp/strict-json.ts'
import { isObject } from '../mcp/strict-json.ts'
import { type Command, WrongUse } from './command.ts'
import { complain } from './pins.ts'
import { serverOf, TOOL_OPTIONS, TOOL_USAGE, toolsOf } from './tool-source.ts'

export const command: Command = {
  usage: `Usage: mcp-opa-sidecar new-policy --server NAME [OPTIONS] FOLDER
       mcp-opa-sidecar new-policy --server NAME [OPTIONS] FOLDER -- COMMAND [ARGS ...]

Writes a starting folder for a server out of its tools/list: grants, canaries, a rule, and tests. One group may call
the tools that the server calls read-only; nothing else is granted. \`test\` passes and \`build\` makes a bundle of it
as it is; what the server says of its tools is a hint, so read the lists before you ship them.

Options:
${TOOL_USAGE}      --group NAME             who may read (default engineering)
`,
  positionals: Number.POSITIVE_INFINITY,
  options: { ...TOOL_OPTIONS, group: { type: 'string' } },
  async run(words, terminal) {
    const [folder, ...started] = words.positionals
    const server = serverOf(words)
    if (folder === undefined) throw new WrongUse('needs a folder to write\nTry --help.')
    if (existsSync(folder) && readdirSync(folder).length > 0)
      throw new WrongUse(`${folder} is not empty: nothing is written over`)
    let tools: JsonObject[]
    try {
      tools = await toolsOf(words, started, terminal)
    } catch (error) {
      return complain(error, terminal)
    }
    const group = (words.values.group as string | undefined) ?? 'engineering'
    const files = policyFor(server, group, sorted(tools))
    for (const [name, text] of Object.entries(files)) {
      const file = join(folder, name)
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, text)
      terminal.stdout.write(`${file}\n`)
    }
    return 0
  },
}

type Sorted = { reads: string[]; writes: string[]; destroys: string[] }

/** By the server's own hints: what says nothing is taken to write. */
function sorted(tools: JsonObject[]): Sorted {
  const found: Sorted = { reads: [], writes: [], destroys: [] }
  for (const { name, annotations } of tools) {
    const { readOnlyHint, destructiveHint } = isObject(annotations) ? annotations : {}
    const list =
      readOnlyHint === true ? found.reads : destructiveHint === true ? found.destroys : found.writes
    list.push(String(name))
  }
  for (const list of Object.values(found)) list.sort()
  return found
}

/** In Rego, YAML and JSON a string is written alike. */
const quoted = (text: string): string => JSON.stringify(text.toWellFormed())
const indented = (names: string[], by: string): string =>
  names.map((name) => `${by}${quoted(name)}`).join('\n')

function policyFor(server: string, group: string, tools: Sorted): Record<string, string> {
  const family = `team_${server.toLowerCase().replace(/[^a-z0-9]+/g, '_')}`
  const roots = ['config/canaries', 'config/grants', 'config/pins', 'config/servers', `mcp/rules/${family}`]
  return {
    '.manifest': `${JSON.stringify({ roots }, undefined, 2)}\n`,
    'config/data.yaml': dataFor(server, group, tools),
    [`mcp/rules/${family}/${family}.rego`]: ruleFor(server, family, tools),
    [`mcp/rules/${family}/${family}_test.rego`]: testsFor(server, family, group, tools),
  }
}

function dataFor(server: string, group: string, { reads, writes, destroys }: Sorted): string {
  const list = (names: string[]) => names.map((name) => `      - ${quoted(name)}\n`).join('')
  const unused = (names: string[]) => names.map((name) => `  #     - ${quoted(name)}\n`).join('')
  const readers =
    reads.length === 0
      ? '  []\n'
      : `  # The server calls these read-only, which is a hint and no promise.
  - id: ${quoted(`${server}-readers`)}
    groups: [${quoted(group)}]
    servers: [${quoted(server)}]
    tools:
${list(reads)}`
  const writers =
    writes.length === 0
      ? ''
      : `
  # These write. Grant them to whom it may concern, one by one, with conditions on their arguments where it matters.
  # - id: ${quoted(`${server}-writers`)}
  #   groups: [...]
  #   servers: [${quoted(server)}]
  #   where: {}
  #   tools:
${unused(writes)}`
  const allowed = reads[0]
  const denied = destroys[0] ?? writes[0]
  const canary = (name: string, tool: string, allow: boolean) => `  ${quoted(name)}:
    input:
      server: ${quoted(server)}
      tool: { name: ${quoted(tool)} }
      arguments: {}
      identity: { subject: canary, groups: [${quoted(group)}] }
    allow: ${allow}
`
  return `# Who may do what on ${quoted(server)}, as data. The keys are explained in docs/policy.md.

servers:
  ${quoted(server)}:
    profile: generic

grants:
${readers}${writers}
# What must hold before a bundle of this may be active.
canaries:
${allowed === undefined ? '' : canary('a reader may read', allowed, true)}${
  denied === undefined ? '' : canary('what is not granted is denied', denied, false)
}${canary('an unknown tool is denied', 'no such tool', false)}`
}

function ruleFor(server: string, family: string, { destroys }: Sorted): string {
  const never = destroys.length === 0 ? 'set()' : `{\n${indented(destroys, '\t').replaceAll('\n', ',\n')},\n}`
  return `# METADATA
# title: Rules of the team for ${server.replaceAll('\n', ' ')}
# description: What holds beside the grants.
package mcp.rules.${family}

import data.mcp.reason

# METADATA
# title: The tool is not for agents
# description: Nobody calls these through an agent, whatever is granted.
# custom:
#   code: ${family}_tool_banned
#   help: do this by hand
#   severity: high
deny contains reason.of(rego.metadata.rule()) if {
	input.server == ${quoted(server)}
	input.method == "tools/call"
	input.tool.name in _never
}

_never := ${never}
`
}

function testsFor(
  server: string,
  family: string,
  group: string,
  { reads, writes, destroys }: Sorted,
): string {
  const tests: string[] = []
  const test = (name: string, body: string) => tests.push(`test_${name} if {\n\t${body}\n}`)
  const call = (tool: string, groups: string) =>
    `main.decision.allow with input as _call(${quoted(tool)}, ${groups})`
  const ours = `[${quoted(group)}]`
  if (reads[0] !== undefined) {
    test('a_reader_may_read', call(reads[0], ours))
    test('nobody_else_may', `not ${call(reads[0], '[]')}`)
  }
  if (writes[0] !== undefined) test('what_is_not_granted_is_denied', `not ${call(writes[0], ours)}`)
  if (destroys[0] !== undefined)
    test(
      'a_banned_tool_says_so',
      `some why in main.decision.reasons with input as _call(${quoted(destroys[0])}, ${ours})\n\twhy.code == "${family}_tool_banned"`,
    )
  test('an_unknown_tool_is_denied', `not ${call('no such tool', ours)}`)
  return `package mcp.rules.${family}_test

import data.mcp.main

_call(tool, groups) := {
	"server": ${quoted(server)},
	"direction": "to_server",
	"kind": "request",
	"method": "tools/call",
	# Where it is pinned, the tool is the one that was reviewed.
	"tool": {
		"name": tool,
		"declared": "listed",
		"digest": object.get(data.config, ["pins", ${quoted(server)}, tool, "digest"], ""),
	},
	"arguments": {},
	"identity": {"subject": "somebody", "groups": groups},
}

${tests.join('\n\n')}
`
}
