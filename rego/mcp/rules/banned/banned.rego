# METADATA
# title: Banned tools
# description: Bars the tools that data bans on this server for everyone, whatever is granted.
# related_resources:
#   - ref: https://modelcontextprotocol.io/specification/2025-11-25/server/tools#security-considerations
# schemas:
#   - input: schema.input
package mcp.rules.banned

import data.mcp.reason
import data.mcp.request

# METADATA
# title: This tool is banned here for everyone
# description: A ban takes effect with the next data bundle and beats every grant.
# custom:
#   code: tool_banned
#   severity: high
_tool_banned := reason.of(rego.metadata.rule())

# METADATA
# description: What this family bars.
# scope: document
deny contains _tool_banned if request.banned[input.tool.name]

# METADATA
# description: A banned tool is not shown.
hidden.tool_banned contains index if {
	count(request.banned) > 0
	some index, item in input.items
	item.kind == "tool"
	request.banned[item.key]
}
