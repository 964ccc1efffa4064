# METADATA
# title: An internal API
# description: |
#   Grain for a token that has none: data names the endpoints of the API, grants name the endpoints. Tools are either
#   one for each endpoint (`operations`), or one that takes a method and a path (`request_tools`). What is neither is
#   granted to nobody.
# related_resources:
#   - ref: https://spec.openapis.org/oas/v3.1.0#paths-object
#     description: The form of the templates.
# schemas:
#   - input: schema.input
package mcp.profiles.api

import data.mcp.reason
import data.mcp.request

# METADATA
# description: Everything that the tool asks of its arguments holds.
holds if {
	_arguments_known
	_segments_plain
}

# METADATA
# description: Grants name endpoints.
scope := "endpoints"

# METADATA
# description: A grant must say which endpoints.
bound := true

# METADATA
# description: No tool is known, so that there are no sets of tools.
tools := {}

# METADATA
# description: The names of the endpoints that the call is for.
targets := [{endpoint}] if {
	endpoint := request.settings.operations[input.tool.name]
	is_string(endpoint)
}

targets := [{name | some name, endpoint in request.settings.endpoints; _is_for(endpoint)}] if {
	request.settings.request_tools[input.tool.name]
	not request.settings.operations[input.tool.name]
}

# METADATA
# title: The call has an argument that the policy does not know
# description: A tool that takes a method and a path has the arguments that data lists, and no headers.
# custom:
#   code: api_argument_unknown
unmet contains reason.of(rego.metadata.rule()) if not _arguments_known

# METADATA
# title: An argument of the address is not plain
# description: What is put into the path of an address has no `/`, `..`, `%`, `?`, `#` or backslash.
# custom:
#   code: api_address_not_plain
unmet contains reason.of(rego.metadata.rule()) if not _segments_plain

_request := request.settings.request_tools[input.tool.name]

_arguments_known if not _request

_arguments_known if {
	known := array.concat([_request.method, _request.path], [name | some name in _request.arguments])
	every name, _ in request.arguments {
		name in known
	}
}

# The placeholders of an operation are arguments of the same name.
_segments_plain if not request.settings.operations[input.tool.name]

_segments_plain if {
	[_, template] := split(request.settings.endpoints[request.settings.operations[input.tool.name]], " ")
	every part in split(template, "/") {
		_filled(part)
	}
}

_filled(part) if not _is_placeholder(part)

_filled(part) if {
	_is_placeholder(part)
	_is_segment(_text(request.arguments[trim_suffix(trim_prefix(part, "{"), "}")]))
}

_text(value) := value if is_string(value)

# Not `format_int`, which ends an evaluation in WebAssembly beyond 2^32.
_text(value) := sprintf("%d", [value]) if {
	is_number(value)
	value >= 0
	floor(value) == value
}

# "GET /v1/customers/{id}": the method as it is written, the path part by part.
_is_for(endpoint) if {
	[method, template] := split(endpoint, " ")
	request.arguments[_request.method] == method
	parts := split(template, "/")
	count(parts) == count(_segments)
	every index, part in parts {
		_fits(part, _segments[index])
	}
}

_segments := split(_path, "/")

_path := given if {
	given := request.arguments[_request.path]
	startswith(given, "/")
}

# The whole address, where the tool takes one.
_path := trim_prefix(given, request.settings.base_url) if {
	given := request.arguments[_request.path]
	startswith(given, concat("", [request.settings.base_url, "/"]))
}

_fits(part, segment) if {
	not _is_placeholder(part)
	part == segment
}

_fits(part, segment) if {
	_is_placeholder(part)
	_is_segment(segment)
}

_is_placeholder(part) if {
	startswith(part, "{")
	endswith(part, "}")
}

_is_segment(text) if {
	not text in {"", ".", ".."}
	trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~:@") == ""
}
