# METADATA
# title: Undeclared arguments
# description: |
#   Bars a call with arguments that the tool's definition does not have, where it is known: those that its schema
#   rules out, and, where data says `declared_only`, all of them, and all arguments of a tool of which nothing is known.
# related_resources:
#   - ref: https://json-schema.org/draft/2020-12/json-schema-core#name-additionalproperties
# schemas:
#   - input: schema.input
package mcp.rules.undeclared

import data.mcp.reason
import data.mcp.request

# METADATA
# title: The call has arguments that the tool does not declare
# description: |
#   A server may read an argument that its schema does not name (`Owner` beside `owner`), and no condition
#   looks at it. The key is made by the sidecar, never by the caller.
# custom:
#   code: undeclared_arguments
#   help: send only the arguments that the tool's input schema declares
#   severity: medium
_undeclared_arguments := reason.of(rego.metadata.rule())

# METADATA
# description: What this family bars.
# scope: document
deny contains _undeclared_arguments if {
	input.undeclared_arguments != []
	not _admitted
}

# METADATA
# title: It is not known which arguments the tool declares
# description: Its definition was not seen, which is not the same as that it declares these.
# custom:
#   code: declaration_unknown
#   help: list the tools and call again
#   severity: low
_declaration_unknown := reason.of(rego.metadata.rule())

deny contains _declaration_unknown if {
	input.method == "tools/call"
	_declared_only
	count(request.given) > 0
	not _compared
}

# What is not said to be open is taken to be closed.
_admitted if {
	input.tool.closed == false
	not _declared_only
}

_compared if is_array(input.undeclared_arguments)

# Whatever is written there that is not `false` turns it on.
_declared_only if request.settings.declared_only != false

_declared_only if data.config.declared_only != false
