# METADATA
# title: Grants
# description: |
#   Who may use which tools, prompts, resources and methods, from `data.config.grants`. What a kind of server
#   needs beyond the grant, its profile says.
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
allow contains reason.with_details(rego.metadata.rule(), {"grant": grant.id}) if {
	_tool_call
	_profile_holds
	count(_missing_extra) == 0
	some grant in array.concat(_covering, _covering_extra)
}

# METADATA
# title: A grant names this prompt
# description: Prompts are granted by name.
# custom:
#   code: prompt_granted
allow contains reason.with_details(rego.metadata.rule(), {"grant": grant.id}) if {
	request.asks
	input.method in {"prompts/get", "completion/complete"}
	some grant in request.grants
	input.prompt.name in grant.prompts
	request.conditions_hold(grant)
}

# METADATA
# title: A grant names this resource template
# description: Completions for a template are granted by the template, word for word.
# custom:
#   code: template_granted
allow contains reason.with_details(rego.metadata.rule(), {"grant": grant.id}) if {
	request.asks
	input.method == "completion/complete"
	some grant in request.grants
	input.template in grant.templates
	request.conditions_hold(grant)
}

# METADATA
# title: A grant covers this resource
# description: Resources are granted by address, or by all that is below one.
# custom:
#   code: resource_granted
allow contains reason.with_details(rego.metadata.rule(), {"grant": grant.id}) if {
	request.asks
	input.method in {"resources/read", "resources/subscribe", "resources/unsubscribe"}
	some grant in request.grants
	not grant.where
	_covers(grant, input.resource.uri)
}

# METADATA
# title: Grants cover each of these resources
# description: One resource that is not granted refuses the whole subscription.
# custom:
#   code: resources_granted
allow contains reason.of(rego.metadata.rule()) if {
	request.asks
	input.method == "subscriptions/listen"
	count(input.resources) > 0
	every resource in input.resources {
		some grant in request.grants
		not grant.where
		_covers(grant, resource.uri)
	}
}

# METADATA
# title: A grant names this method
# description: |
#   For what names nothing: sampling, roots, elicitation in form mode, extensions. What names a tool, a prompt, a
#   resource or a task is never granted by its method.
# custom:
#   code: method_granted
allow contains reason.with_details(rego.metadata.rule(), {"grant": grant.id}) if {
	some grant in _method_grants
	object.get(input, ["elicitation", "mode"], "form") == "form"
}

# METADATA
# title: A grant names this method and this host
# description: An elicitation that opens a page is granted by the hosts it may open, over https.
# custom:
#   code: host_granted
allow contains reason.with_details(rego.metadata.rule(), {"grant": grant.id}) if {
	some grant in _method_grants
	input.elicitation.mode == "url"
	input.elicitation.url.scheme == "https"
	input.elicitation.url.host in grant.hosts
}

# METADATA
# description: The items that a grant names. Conditions on arguments hide nothing.
# scope: document
visible contains index if {
	some index, item in input.items
	item.kind == "tool"
	_tool_visible(item.key)
	not item.key in request.banned
}

visible contains index if {
	names := {name | some name in request.grants[_].prompts}
	some index, item in input.items
	item.kind == "prompt"
	item.key in names
}

visible contains index if {
	some index, item in input.items
	item.kind in {"resource", "link", "embedded"}
	some grant in request.grants
	_covers(grant, item.key)
}

visible contains index if {
	templates := {template | some template in request.grants[_].templates}
	some index, item in input.items
	item.kind == "template"
	item.key in templates
}

# The values are those of a prompt or template that the caller was allowed to ask about.
visible contains index if {
	_completion_granted
	some index, item in input.items
	item.kind == "completion"
}

visible contains index if {
	some index, item in input.items
	item.kind == "capability"
	item.key in {name | some name in request.grants[_].capabilities}
}

# METADATA
# title: No grant of the caller covers this tool
# description: Says which set of tools it belongs to and which groups have it; code and title are made from data.
explain contains explanation if {
	_tool_call
	count(_giving) == 0
	text := _texts[_toolset]
	groups := _groups_with(_toolset)
	explanation := object.union(
		{"code": text.code, "title": _needs(text.title, groups), "details": {"toolset": _toolset, "groups": groups}},
		_help(groups),
	)
}

# METADATA
# title: The tool is granted, but not on this repository
# description: A grant that lists repositories holds only for calls that name one of them.
# custom:
#   code: repository_not_granted
explain contains reason.of(rego.metadata.rule()) if {
	_tool_call
	count(_giving) > 0
	count(_reaching) == 0
}

# METADATA
# title: The tool is granted under a condition that does not hold for this call
# description: A `where` of each grant that gives the tool does not hold.
# custom:
#   code: condition_not_met
explain contains reason.with_details(rego.metadata.rule(), {"grants": [grant.id | some grant in _reaching]}) if {
	_tool_call
	count(_reaching) > 0
	count(_covering) == 0
}

# METADATA
# description: What the profile says is wrong with a call that is granted.
explain contains explanation if {
	_tool_call
	count(_covering) > 0
	some explanation in _unmet
}

explain contains explanation if {
	_tool_call
	count(_covering) > 0
	some toolset in _missing_extra
	found := _extra[toolset]
	groups := _groups_with(toolset)
	explanation := object.union(
		object.union(_help(groups), found),
		{"title": _needs(found.title, groups), "details": {"toolset": toolset, "groups": groups}},
	)
}

_tool_call if {
	request.asks
	input.method == "tools/call"
}

# Part by part: the whole of a profile would be evaluated to look up one word of it.
_profile_holds if data.mcp.profiles[request.profile].holds

_tools := data.mcp.profiles[request.profile].tools

_toolset := data.mcp.profiles[request.profile].tools[input.tool.name].toolset

_texts := data.mcp.profiles[request.profile].toolsets

_targets := data.mcp.profiles[request.profile].targets

_extra := data.mcp.profiles[request.profile].extra

_unmet := data.mcp.profiles[request.profile].unmet

_giving := [grant | some grant in request.grants; _gives(grant)]

_gives(grant) if input.tool.name in grant.tools

_gives(grant) if _toolset in grant.toolsets

_reaching := [grant | some grant in _giving; _reaches(grant)]

_reaches(grant) if not grant.repositories

_reaches(grant) if {
	some pattern in grant.repositories
	lower(pattern) in _targets
}

_covering := [grant | some grant in _reaching; request.conditions_hold(grant)]

# What the call needs beyond the tool itself, and the grants that give it.
_covering_extra := [grant |
	some toolset, _ in _extra
	some grant in request.grants
	_gives_extra(grant, toolset)
]

_missing_extra := {toolset |
	some toolset, _ in _extra
	every grant in request.grants {
		not _gives_extra(grant, toolset)
	}
}

_gives_extra(grant, toolset) if {
	toolset in grant.toolsets
	_reaches(grant)
	request.conditions_hold(grant)
}

_tool_visible(name) if name in _named_tools

_tool_visible(name) if _tools[name].toolset in _toolsets

_named_tools := {name | some name in request.grants[_].tools}

_toolsets := {toolset | some toolset in request.grants[_].toolsets}

_covers(grant, uri) if {
	is_string(uri)
	uri in grant.resources
}

_covers(grant, uri) if {
	not ".." in split(uri, "/")
	some pattern in grant.resources
	endswith(pattern, "/*")
	startswith(uri, trim_suffix(pattern, "*"))
}

_method_grants := [grant |
	some grant in request.grants
	input.method in grant.methods
	not input.method in _naming_methods
	not grant.where
]

_naming_methods := {
	"completion/complete", "prompts/get", "resources/read", "resources/subscribe", "resources/unsubscribe",
	"subscriptions/listen", "tasks/cancel", "tasks/get", "tasks/result", "tasks/update", "tools/call",
}

_completion_granted if input.prompt.name in {name | some name in request.grants[_].prompts}

_completion_granted if input.template in {template | some template in request.grants[_].templates}

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
