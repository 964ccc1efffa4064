# METADATA
# title: Read-only mode
# description: |
#   Where data says `read_only: true` of a server, or of all, only tools that read may be called: for an incident, a
#   trial, or an agent that is to look and not to touch.
# related_resources:
#   - ref: https://modelcontextprotocol.io/specification/2025-11-25/schema#toolannotations
# schemas:
#   - input: schema.input
package mcp.rules.readonly

import data.mcp.reason
import data.mcp.request

# METADATA
# title: This server is read-only for now
# description: The tool writes, or nothing that can be trusted says that it does not.
# custom:
#   code: read_only
#   help: only tools that read may be called; ask the platform team when writing is on again
#   severity: medium
_read_only := reason.of(rego.metadata.rule())

# METADATA
# description: What this family bars.
# scope: document
deny contains _read_only if {
	input.method == "tools/call"
	_mode_on
	not _reads(object.get(input, "tool", {}))
}

# METADATA
# description: In read-only mode only tools that read are shown.
hidden.read_only contains index if {
	_mode_on
	some index, item in input.items
	item.kind == "tool"
	request.effect(item.key, object.get(item, "annotations", {})) != "read"
}

_reads(tool) if request.effect(tool.name, object.get(tool, "annotations", {})) == "read"

# Whatever is written there that is not `false` turns it on.
_mode_on if request.settings.read_only != false

_mode_on if data.config.read_only != false
