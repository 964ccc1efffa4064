# METADATA
# title: A server of no special kind
# description: Its tools are granted by name. Nothing is known of their arguments but what a grant's `where` says.
# related_resources:
#   - ref: https://modelcontextprotocol.io/specification/2025-11-25/server/tools
package mcp.profiles.generic

# METADATA
# description: Nothing is needed beyond the grant.
holds := true

# METADATA
# description: No tool is known, so that there are no sets of tools.
tools := {}
