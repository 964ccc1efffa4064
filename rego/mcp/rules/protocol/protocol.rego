# METADATA
# title: The protocol's basics
# description: |
#   What every identified caller may do: begin, ask what there is (the answer is narrowed by `visible`), open a
#   stream, end a session, follow a task of their own. Nothing here runs a tool or reads a resource.
# related_resources:
#   - ref: https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle
# schemas:
#   - input: schema.input
package mcp.rules.protocol

import data.mcp.reason
import data.mcp.request

# METADATA
# title: Every identified caller may do this
# description: Beginning, listing and ending need an identity and nothing else.
# custom:
#   code: protocol_basics
_protocol_basics := reason.of(rego.metadata.rule())

# METADATA
# description: What this family allows.
# scope: document
allow contains _protocol_basics if {
	request.identified
	_basic
}

# METADATA
# title: The task is the caller's own
# description: A task may be followed by the identity that started it.
# custom:
#   code: own_task
_own_task := reason.of(rego.metadata.rule())

allow contains _own_task if {
	data.mcp.rules.protocol.task_methods[input.method]
	request.asks
	request.identified
	request.own_task
}

# METADATA
# description: The capabilities that every caller may see advertised.
visible contains index if {
	request.identified
	some index, item in input.items
	item.kind == "capability"
	data.mcp.rules.protocol.capabilities[item.key]
}

_basic if {
	data.mcp.rules.protocol.methods[input.method]
	request.asks
}

_basic if {
	input.kind == "stream"
	input.direction == "to_server"
	input.method in {"stream/open", "session/end"}
}

# Hearing that lists changed. Subscribing to resources is granted with the resources.
_basic if {
	input.method == "subscriptions/listen"
	request.asks
	object.get(input, "resources", []) == []
}
