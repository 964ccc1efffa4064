# METADATA
# title: Files
# description: |
#   What a call must satisfy beyond its grant: each path is absolute and plain, below a path of the grant, and has no
#   name that is hidden. Which tool does what is in data.yaml beside this file. What a call does not show, such as a
#   symbolic link, the server must refuse.
# related_resources:
#   - ref: https://github.com/modelcontextprotocol/servers/tree/main/src/filesystem
# schemas:
#   - input: schema.input
package mcp.profiles.filesystem

import data.mcp.reason
import data.mcp.request

# METADATA
# description: Everything that the tool asks of its arguments holds.
holds if {
	_paths_plain
	_nothing_hidden
	_arguments_known
}

# METADATA
# description: The grant must say below which paths, but for what names none. A tool that is in no set has no grant.
bound if object.get(_tool, "paths", [""]) != []

# METADATA
# description: For each path of the call, the path and all that are above it; one of each must be in the grant.
targets := [_at_and_above(path) | some path in _paths] if _paths_plain

# METADATA
# title: A path is not absolute, or not plain
# description: No `.`, `..` or empty segments, `%`, backslash or `~`, at most 64 segments. A relative path is below what the call does not say.
# custom:
#   code: path_not_plain
#   help: give the whole path, beginning with /
unmet contains reason.of(rego.metadata.rule()) if not _paths_plain

# METADATA
# title: A path has a name that is hidden here
# description: Credentials and version control are not read or written, wherever they are.
# custom:
#   code: path_hidden
unmet contains reason.of(rego.metadata.rule()) if not _nothing_hidden

# METADATA
# title: The call has an argument that the policy does not know
# description: A call is judged on all of its arguments, or not allowed.
# custom:
#   code: file_argument_unknown
unmet contains reason.of(rego.metadata.rule()) if not _arguments_known

_tool := data.mcp.profiles.filesystem.tools[input.tool.name]

# A path that is missing, or none, is undefined in here, and counted below.
_paths := array.concat(
	[request.arguments[name] |
		some name in _tool.paths
		not is_array(request.arguments[name])
	],
	[path |
		some name in _tool.paths
		some path in request.arguments[name]
	],
)

_paths_plain if {
	every name in _tool.paths {
		_is_paths(request.arguments[name])
	}
}

_is_paths(value) if _is_path(value)

_is_paths(value) if {
	is_array(value)
	count(value) > 0
	every path in value {
		_is_path(path)
	}
}

_is_path(path) if {
	is_string(path)
	startswith(path, "/")
	request.is_plain_path(path)
	count(split(path, "/")) <= 65
}

_nothing_hidden if {
	every path in _paths {
		every name in split(lower(path), "/") {
			not name in _hidden
		}
	}
}

_hidden := array.concat(data.mcp.profiles.filesystem.hidden_names, [lower(name) | some name in request.settings.hidden_names])

_arguments_known if {
	known := array.concat(_tool.paths, _tool.arguments)
	every name, _ in request.arguments {
		name in known
	}
}

_at_and_above(path) := {concat("/", array.slice(segments, 0, end)) |
	some end in numbers.range(2, count(segments))
} if {
	segments := split(trim_suffix(path, "/"), "/")
}
