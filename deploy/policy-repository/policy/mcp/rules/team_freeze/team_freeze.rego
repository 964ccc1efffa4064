# METADATA
# title: Freeze
# description: |
#   Where data says `freeze: {github: true}`, nobody merges or deletes through an agent, whatever is granted: for the days
#   before a release. What is neither `false` nor absent freezes.
package mcp.rules.team_freeze

import data.mcp.reason
import data.mcp.request

# METADATA
# title: Nothing is merged or deleted during a freeze
# description: The tool does more than to read and to propose, or nobody knows what it does.
# custom:
#   code: team_freeze
#   help: wait for the end of the freeze, or ask the release manager
#   severity: medium
deny contains reason.of(rego.metadata.rule()) if {
	input.method == "tools/call"
	data.config.freeze[input.server] != false
	not _harmless
}

_harmless if request.effect(input.tool.name, object.get(input.tool, "annotations", {})) in {"read", "write"}
