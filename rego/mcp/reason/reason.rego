# METADATA
# title: Reasons
# description: Makes the reason of a rule out of the metadata of that rule.
package mcp.reason

# METADATA
# description: The reason that a rule's own metadata states.
of(rule) := object.union(
	{"code": rule.custom.code, "title": rule.title},
	object.filter(rule.custom, ["enforcement", "help", "severity"]),
)

# METADATA
# description: The same, with details. They come from metadata and data, never from arguments.
with_details(rule, details) := object.union(of(rule), {"details": details})

# METADATA
# description: A reason that is made already, with details.
detailed(found, details) := object.union(found, {"details": details})
