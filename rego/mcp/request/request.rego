# METADATA
# title: The request
# description: |
#   The words that rules use. Every one is total or undefined: an absent key, or one of another type, never
#   makes a condition hold.
# schemas:
#   - input: schema.input
package mcp.request

# METADATA
# description: A client asks the server for something.
asks if {
	input.kind == "request"
	input.direction == "to_server"
}

# METADATA
# description: A client asks the server to run a tool.
calls if {
	input.method == "tools/call"
	input.kind == "request"
	input.direction == "to_server"
}

# METADATA
# description: The caller is known by a subject.
identified if {
	is_string(input.identity.subject)
	input.identity.subject != ""
}

# METADATA
# description: What data says of this server. A server that is not in data is granted nothing.
settings := data.config.servers[input.server]

# METADATA
# description: The kind of server.
profile := settings.profile

# METADATA
# description: The arguments, and an empty object where there are none.
default arguments := {}

arguments := input.arguments if is_object(input.arguments)

# METADATA
# description: The names of the arguments that are given, with whatever value.
given := object.keys(arguments)

# METADATA
# description: The groups of the caller, from the identity and, where there is one, the directory in data.
groups contains group if some group in input.identity.groups

groups contains group if some group in data.config.directory[input.identity.subject].groups

# METADATA
# description: The tools that data bans on this server, for everyone.
banned := {name | some name in data.config.banned[input.server]}

# METADATA
# description: The task of the request is one that this identity started.
own_task if input.task.owner == "same"
