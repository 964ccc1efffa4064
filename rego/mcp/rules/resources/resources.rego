# METADATA
# title: Grants of resources
# description: |
#   Who may read and follow which resources, by address, from `resources` and `templates` in `data.config.grants`.
#   A grant with `where` grants none: a resource has no arguments.
# related_resources:
#   - ref: https://modelcontextprotocol.io/specification/2025-11-25/server/resources
# schemas:
#   - input: schema.input
package mcp.rules.resources

import data.mcp.reason
import data.mcp.request

# METADATA
# title: A grant covers this resource
# description: Resources are granted by address, or by all that is below one.
# custom:
#   code: resource_granted
_resource_granted := reason.of(rego.metadata.rule())

# METADATA
# description: What this family allows.
# scope: document
allow contains reason.detailed(_resource_granted, {"grant": grant.id}) if {
	_reads
	some grant in request.grants
	_covers(grant, input.resource.uri)
	_unconditional(grant)
}

# METADATA
# title: Grants cover each of these resources
# description: One resource that is not granted refuses the whole subscription.
# custom:
#   code: resources_granted
_resources_granted := reason.of(rego.metadata.rule())

allow contains _resources_granted if {
	_listens
	every resource in input.resources {
		some grant in request.grants
		_covers(grant, resource.uri)
		_unconditional(grant)
	}
}

# METADATA
# title: A grant names this resource template
# description: Completions for a template are granted by the template, word for word.
# custom:
#   code: template_granted
_template_granted := reason.of(rego.metadata.rule())

allow contains reason.detailed(_template_granted, {"grant": grant.id}) if {
	input.method == "completion/complete"
	request.asks
	some grant in request.grants
	input.template in grant.templates
	request.in_hours(grant)
	request.conditions_hold(grant)
}

# METADATA
# description: The resources, templates and values for completion that a grant names.
# scope: document
visible contains index if {
	some index, item in input.items
	item.kind in {"resource", "link", "embedded"}
	some grant in request.grants
	_covers(grant, item.key)
}

# What the call asked for, as the profile of the server reads it.
visible contains index if {
	request.calls
	some index, item in input.items
	item.kind in {"link", "embedded"}
	some below in data.mcp.profiles[request.profile].answers
	startswith(lower(item.key), below)
	not ".." in split(item.key, "/")
}

visible contains index if {
	templates := {template | some template in request.grants[_].templates}
	some index, item in input.items
	item.kind == "template"
	templates[item.key]
}

# The values are those of a prompt or template that the caller was allowed to ask about.
visible contains index if {
	_completion_granted
	some index, item in input.items
	item.kind == "completion"
}

# METADATA
# title: No grant of the caller covers this resource
# description: Resources are granted by address, or by all that is below one.
# custom:
#   code: resource_not_granted
_resource_not_granted := reason.of(rego.metadata.rule())

# METADATA
# description: What is missing, said only where nothing allowed the message.
# scope: document
explain contains _resource_not_granted if _asks

_asks if _reads

_asks if _listens

_reads if {
	input.resource
	request.asks
	input.method in {"resources/read", "resources/subscribe", "resources/unsubscribe"}
}

_listens if {
	input.method == "subscriptions/listen"
	request.asks
	count(input.resources) > 0
}

_unconditional(grant) if {
	not grant.where
	request.in_hours(grant)
}

_covers(grant, uri) if {
	is_string(uri)
	uri in grant.resources
}

_covers(grant, uri) if {
	some pattern in grant.resources
	endswith(pattern, "/*")
	startswith(uri, trim_suffix(pattern, "*"))
	not ".." in split(uri, "/")
}

_completion_granted if input.prompt.name in {name | some name in request.grants[_].prompts}

_completion_granted if input.template in {template | some template in request.grants[_].templates}
