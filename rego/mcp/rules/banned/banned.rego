# METADATA
# title: Banned tools
# description: Bars the tools that data bans on this server for everyone, whatever is granted.
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
deny contains reason.of(rego.metadata.rule()) if input.tool.name in request.banned
