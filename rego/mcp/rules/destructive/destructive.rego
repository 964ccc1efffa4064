# METADATA
# title: Destructive tools
# description: |
#   Where data says `guard_destructive: true` of a server, a tool that can destroy needs a grant that says
#   `destructive: true`, besides what else it needs. What a tool does, data says, the profile, or annotations where
#   data trusts them; a tool of which nothing is known is destructive.
# related_resources:
#   - ref: https://modelcontextprotocol.io/specification/2025-11-25/schema#toolannotations
# schemas:
#   - input: schema.input
package mcp.rules.destructive

import data.mcp.reason
import data.mcp.request

# METADATA
# title: The tool can destroy, and no grant of the caller says that it may
# description: A grant that says `destructive` and gives the tool by name or by its set allows it.
# custom:
#   code: destructive_not_granted
#   severity: high
_destructive_not_granted := reason.of(rego.metadata.rule())

# METADATA
# description: What this family bars.
# scope: document
deny contains _destructive_not_granted if {
	input.method == "tools/call"
	_guarded

	# With a default: an absent argument of a function below `not` would leave the ban out.
	tool := object.get(input, "tool", {})
	not _harmless(tool)
	not _may_destroy(object.get(tool, "name", ""))
}

# METADATA
# description: A tool that the caller may never call is not shown.
hidden.destructive_not_granted contains index if {
	_guarded
	some index, item in input.items
	item.kind == "tool"
	request.effect(item.key, object.get(item, "annotations", {})) == "destructive"
	not _may_destroy(item.key)
}

_harmless(tool) if request.effect(tool.name, object.get(tool, "annotations", {})) != "destructive"

_guarded if request.settings.guard_destructive != false

_may_destroy(name) if {
	some grant in request.grants
	grant.destructive == true
	name in grant.tools
}

_may_destroy(name) if {
	some grant in request.grants
	grant.destructive == true
	data.mcp.profiles[request.profile].tools[name].toolset in grant.toolsets
}
