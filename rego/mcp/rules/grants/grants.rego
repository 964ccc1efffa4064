# METADATA
# title: Grants of tools and prompts
# description: |
#   Who may use which tools and prompts, from `data.config.grants`. What a kind of server needs beyond the grant, its
#   profile says.
# related_resources:
#   - ref: https://modelcontextprotocol.io/specification/2025-11-25/server/tools
# schemas:
#   - input: schema.input
package mcp.rules.grants

import data.mcp.reason
import data.mcp.request

# METADATA
# title: A grant covers this call
# description: The tool is granted, its conditions hold, and the profile of the server needs nothing more.
# custom:
#   code: granted
_granted := reason.of(rego.metadata.rule())

# METADATA
# description: What this family allows.
# scope: document
allow contains reason.detailed(_granted, {"grant": grant.id}) if {
	request.calls
	count(_covering) > 0

	# Part by part: the whole of a profile would be evaluated to look up one word of it.
	data.mcp.profiles[request.profile].holds
	_extra_granted
	extra := [grant |
		some toolset, _ in _extra
		some grant in request.grants
		_gives_extra(grant, toolset)
	]
	some grant in array.concat(_covering, extra)
}

# METADATA
# title: A grant names this prompt
# description: Prompts are granted by name; completions for their arguments with them.
# custom:
#   code: prompt_granted
_prompt_granted := reason.of(rego.metadata.rule())

allow contains reason.detailed(_prompt_granted, {"grant": grant.id}) if {
	input.prompt.name
	request.asks
	input.method in {"prompts/get", "completion/complete"}
	some grant in request.grants
	input.prompt.name in grant.prompts
	request.in_hours(grant)
	request.conditions_hold(grant)
}

# METADATA
# description: The items that a grant names. Conditions on arguments, repositories and hours hide nothing.
# scope: document
visible contains index if {
	some index, item in input.items
	item.kind in {"task", "tool"}
	_tool_visible(item.key)
}

visible contains index if {
	names := {name | some name in request.grants[_].prompts}
	some index, item in input.items
	item.kind == "prompt"
	names[item.key]
}

# METADATA
# description: |
#   Where data says `narrow: true` of the server: the schema of a tool, with an `enum` for each argument of which every
#   grant that gives the tool says what it may be. Never narrower than the grants are together; what they say besides
#   is asked about at the call.
narrowed[index] := schema if {
	request.settings.narrow == true
	some index, item in input.items
	item.kind == "tool"
	giving := [grant | some grant in request.grants; _gives_tool(grant, item.key)]
	properties := {name: object.union(property, {"enum": values}) |
		some name, property in item.inputSchema.properties
		values := _may_be(name, property, giving)
	}
	properties != {}
	schema := object.union(item.inputSchema, {"properties": properties})
}

# METADATA
# title: No grant of the caller covers this tool
# description: Says which set of tools it belongs to and which groups have it; code and title are made from data.
explain contains explanation if {
	request.calls
	count(_giving) == 0
	text := _texts[_toolset]
	groups := _groups_with(_toolset)
	explanation := object.union(
		{"code": text.code, "title": _needs(text.title, groups), "details": {"toolset": _toolset, "groups": groups}},
		_help(groups),
	)
}

# METADATA
# title: The tool is granted, but not here
# description: |
#   A grant that lists repositories, channels, paths or endpoints holds only for calls that name some of them, and
#   calls that change something may need a grant that lists them.
# custom:
#   code: out_of_scope
_out_of_scope := reason.of(rego.metadata.rule())

# METADATA
# description: What is missing, said only where nothing allowed the message.
# scope: document
explain contains reason.detailed(_out_of_scope, {"scope": _scope}) if {
	request.calls
	count(_giving) > 0
	count(_reaching) == 0
	_scope != "repositories"
}

# METADATA
# title: The tool is granted, but not on this repository
# description: A grant that lists repositories holds only for calls that name one of them.
# custom:
#   code: repository_not_granted
_repository_not_granted := reason.of(rego.metadata.rule())

explain contains _repository_not_granted if {
	request.calls
	count(_giving) > 0
	count(_reaching) == 0
	_scope == "repositories"
}

# METADATA
# title: The tool is granted under a condition that does not hold for this call
# description: A `where` of each grant that gives the tool does not hold.
# custom:
#   code: condition_not_met
_condition_not_met := reason.of(rego.metadata.rule())

explain contains reason.detailed(_condition_not_met, {"grants": [grant.id | some grant in _reaching]}) if {
	request.calls
	count(_reaching) > 0
	count(_covering) == 0
	some grant in _reaching
	request.in_hours(grant)
}

# METADATA
# title: The tool is granted at other hours
# description: It is outside the hours of each grant that gives the tool.
# custom:
#   code: outside_hours
_outside_hours := reason.of(rego.metadata.rule())

explain contains reason.detailed(_outside_hours, {"grants": [grant.id | some grant in _reaching]}) if {
	request.calls
	count(_reaching) > 0
	every grant in _reaching {
		not request.in_hours(grant)
	}
}

# METADATA
# description: What the profile says is wrong with a call that is granted.
explain contains explanation if {
	request.calls
	count(_covering) > 0
	some explanation in _unmet
}

explain contains explanation if {
	request.calls
	count(_covering) > 0
	some toolset, found in _extra
	not _extra_given(toolset)
	groups := _groups_with(toolset)
	explanation := object.union(
		object.union(_help(groups), found),
		{"title": _needs(found.title, groups), "details": {"toolset": toolset, "groups": groups}},
	)
}

_tools := data.mcp.profiles[request.profile].tools

_toolset := data.mcp.profiles[request.profile].tools[input.tool.name].toolset

_texts := data.mcp.profiles[request.profile].toolsets

_extra := data.mcp.profiles[request.profile].extra

_unmet := data.mcp.profiles[request.profile].unmet

default _scope := "none"

_scope := data.mcp.profiles[request.profile].scope

_targets := data.mcp.profiles[request.profile].targets

# The call changes something, so that a grant must say where.
_bound if data.mcp.profiles[request.profile].bound

_giving := [grant | some grant in request.grants; _gives(grant)]

_gives(grant) if input.tool.name in grant.tools

_gives(grant) if _toolset in grant.toolsets

_reaching := [grant | some grant in _giving; _reaches(grant)]

_reaches(grant) if _holds_within(grant, object.filter(grant, data.mcp.request.scopes))

_holds_within(_, scopes) if {
	scopes == {}
	not _bound
}

# Each thing that the call names must be in the grant.
_holds_within(grant, scopes) if {
	count(scopes) == 1
	scope := _scope
	patterns := grant[scope]
	targets := _targets
	count(targets) > 0
	every names in targets {
		some pattern in patterns
		names[_spelt(scope, pattern)]
	}
}

_spelt(scope, pattern) := lower(pattern) if scope == "repositories"

else := trim_suffix(pattern, "/") if scope == "paths"

else := pattern

_covering := [grant |
	some grant in _reaching
	request.in_hours(grant)
	request.conditions_hold(grant)
]

# What the call needs beyond the tool itself.
_extra_granted if {
	every toolset, _ in _extra {
		_extra_given(toolset)
	}
}

_extra_granted if not _extra

_extra_given(toolset) if {
	some grant in request.grants
	_gives_extra(grant, toolset)
}

_gives_extra(grant, toolset) if {
	toolset in grant.toolsets
	_reaches(grant)
	request.in_hours(grant)
	request.conditions_hold(grant)
}

_tool_visible(name) if _named_tools[name]

_tool_visible(name) if _toolsets[_tools[name].toolset]

_named_tools := {name | some name in request.grants[_].tools}

_toolsets := {toolset | some toolset in request.grants[_].toolsets}

_gives_tool(grant, name) if name in grant.tools

_gives_tool(grant, name) if _tools[name].toolset in grant.toolsets

_may_be(name, property, giving) := sort(values) if {
	is_object(property)
	not startswith(name, "/")
	every grant in giving {
		_said(grant, name)
	}
	values := {value |
		some grant in giving
		some value in _said(grant, name)
		_taken(property, value)
	}
	values != set()
}

_taken(property, _) if not property.enum

_taken(property, value) if value in property.enum

# The values that an argument may have under this grant. Undefined: any.
_said(grant, name) := values if values := _conditioned(grant.where[name])

else := _scoped(grant, name)

_conditioned(condition) := _listed(condition) if is_object(condition)

_conditioned(condition) := {value | some alternative in condition; some value in _listed(alternative)} if {
	is_array(condition)
	every alternative in condition {
		_listed(alternative)
	}
}

_listed(condition) := {condition.equals} if is_object(condition)

else := {value | some value in condition.in} if is_array(condition.in)

else := set() if condition == {"absent": true}

_scoped(grant, name) := {_within[pattern][name] | some pattern in grant[_scope]} if {
	every pattern in grant[_scope] {
		_within[pattern][name]
	}
}

_within := data.mcp.profiles[request.profile].within

_groups_with(toolset) := sort({group |
	some grant in data.config.grants
	toolset in grant.toolsets
	request.on_server(grant)
	_reaches(grant)
	some group in grant.groups
})

_needs(title, groups) := concat("", [title, " needs the ", groups[0], " group"]) if count(groups) == 1

_needs(title, groups) := concat("", [title, " needs one of the groups ", concat(", ", groups)]) if count(groups) > 1

_needs(title, groups) := concat("", [title, " is not granted to any group here"]) if count(groups) == 0

_help(groups) := {"help": concat("", ["ask to be in group ", groups[0]])} if count(groups) == 1

_help(groups) := {"help": concat("", ["ask to be in one of the groups ", concat(", ", groups)])} if count(groups) > 1

_help(groups) := {} if count(groups) == 0
