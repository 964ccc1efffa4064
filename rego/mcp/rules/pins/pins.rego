# METADATA
# title: Tool pins
# description: |
#   Where `data.config.pins` has the server, a tool may be called only while its definition is the one that was
#   reviewed: a server that changes the words of a tool changes what the agent does with it.
# related_resources:
#   - ref: https://modelcontextprotocol.io/specification/2025-11-25/server/tools#security-considerations
#   - ref: https://www.rfc-editor.org/rfc/rfc8785
#     description: The digest is of this form of the definition.
# schemas:
#   - input: schema.input
package mcp.rules.pins

import data.mcp.reason

# METADATA
# title: The tool is not pinned
# description: Nobody has reviewed the definition of this tool.
# custom:
#   code: tool_not_pinned
#   help: ask the platform team to review the tool and to pin it
#   severity: high
_tool_not_pinned := reason.of(rego.metadata.rule())

# METADATA
# description: What this family bars.
# scope: document
deny contains _tool_not_pinned if {
	input.method == "tools/call"
	_pinning
	not _pinned(object.get(input, ["tool", "name"], ""))
}

# METADATA
# title: The tool is not the one that was reviewed
# description: The server now lists another definition under this name, or the definition was not seen.
# custom:
#   code: tool_changed
#   help: list the tools again; if that does not help, ask the platform team to review the change
#   severity: critical
_tool_changed := reason.of(rego.metadata.rule())

deny contains _tool_changed if {
	input.method == "tools/call"
	_pinning
	_pinned(input.tool.name)
	not _same(input.tool.name, object.get(input.tool, "digest", ""))
}

# METADATA
# description: A tool whose definition is not pinned, or not any more, is not shown.
# scope: document
hidden.tool_not_pinned contains index if {
	_pinning
	some index, item in input.items
	item.kind == "tool"
	not _pinned(item.key)
}

hidden.tool_changed contains index if {
	_pinning
	some index, item in input.items
	item.kind == "tool"
	_pinned(item.key)
	not _same(item.key, object.get(item, "digest", ""))
}

default _pinning := false

_pinning if _pins == _pins

_pins := data.config.pins[input.server]

_pinned(name) if _digest(name) != ""

_same(name, digest) if _digest(name) == digest

# The digest alone, or beside the definition that it was made of.
_digest(name) := _pins[name] if is_string(_pins[name])

_digest(name) := _pins[name].digest if is_string(_pins[name].digest)
