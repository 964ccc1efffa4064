# METADATA
# title: Undeclared arguments
# description: Bars a call with arguments that the tool's definition does not have, where it is known.
# related_resources:
#   - ref: https://json-schema.org/draft/2020-12/json-schema-core#name-additionalproperties
# schemas:
#   - input: schema.input
package mcp.rules.undeclared

import data.mcp.reason

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
deny contains _undeclared_arguments if input.undeclared_arguments != []
