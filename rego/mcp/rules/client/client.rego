# METADATA
# title: What a server may ask of the client
# description: |
#   Sampling, roots and elicitation are off until a grant names the method. A form asks for no secrets, whatever is
#   granted; a page is opened on named hosts only, over https.
# related_resources:
#   - ref: https://modelcontextprotocol.io/specification/2025-11-25/client/elicitation
#   - ref: https://modelcontextprotocol.io/specification/2025-11-25/client/sampling
# schemas:
#   - input: schema.input
package mcp.rules.client

import data.mcp.reason
import data.mcp.request

# METADATA
# title: A grant names this method
# description: |
#   For what names nothing: sampling, roots, elicitation in form mode, extensions. What names a tool, a prompt, a
#   resource or a task is never granted by its method.
# custom:
#   code: method_granted
_method_granted := reason.of(rego.metadata.rule())

# METADATA
# description: What this family allows.
# scope: document
allow contains reason.detailed(_method_granted, {"grant": grant.id}) if {
	some grant in _method_grants
	_mode == "form"
	_form_seen
}

# METADATA
# title: A grant names this method and this host
# description: An elicitation that opens a page is granted by the hosts it may open, over https.
# custom:
#   code: host_granted
_host_granted := reason.of(rego.metadata.rule())

allow contains reason.detailed(_host_granted, {"grant": grant.id}) if {
	some grant in _method_grants
	_mode == "url"
	input.elicitation.url.scheme == "https"
	_host in grant.hosts
}

# METADATA
# title: The form asks for a secret
# description: |
#   A form goes through the agent and into its context. Words that ask for a secret, anywhere in the message or the
#   form, bar it; what must be secret is entered on a page.
# custom:
#   code: elicits_secret
#   help: the server should open a page of its own for this (elicitation in url mode)
#   severity: high
_elicits_secret := reason.of(rego.metadata.rule())

# METADATA
# description: What this family bars.
# scope: document
deny contains _elicits_secret if {
	input.method == "elicitation/create"
	_mode != "url"
	some word in _secret_words
	contains(_asked_for, word)
}

# METADATA
# description: The capabilities that a grant names.
visible contains index if {
	names := {name | some name in request.grants[_].capabilities}
	some index, item in input.items
	item.kind == "capability"
	names[item.key]
}

# METADATA
# title: Sampling is not granted
# description: The server asked to use the client's model. A grant with the method `sampling/createMessage` allows it.
# custom:
#   code: sampling_not_granted
_sampling_not_granted := reason.of(rego.metadata.rule())

# METADATA
# description: What is missing, said only where nothing allowed the message.
# scope: document
explain contains _sampling_not_granted if input.method == "sampling/createMessage"

# METADATA
# title: The server may not ask the user for this
# description: No grant has the method `elicitation/create`, or none has the host of the page, or it is not https.
# custom:
#   code: elicitation_not_granted
_elicitation_not_granted := reason.of(rego.metadata.rule())

explain contains _elicitation_not_granted if input.method == "elicitation/create"

# METADATA
# title: The server may not know the client's folders
# description: A grant with the method `roots/list` allows it.
# custom:
#   code: roots_not_granted
_roots_not_granted := reason.of(rego.metadata.rule())

explain contains _roots_not_granted if input.method == "roots/list"

_method_grants := [grant |
	not data.mcp.rules.client.naming_methods[input.method]
	some grant in request.grants
	input.method in grant.methods
	not grant.where
	request.in_hours(grant)
]

# A form that cannot be looked at is not shown to anybody. Answers to it have none.
_form_seen if input.method != "elicitation/create"

_form_seen if input.kind == "response"

_form_seen if is_object(input.elicitation.schema)

_host := input.elicitation.url.host if object.get(input.elicitation.url, "port", 443) == 443

_host := concat(":", [input.elicitation.url.host, format_int(port, 10)]) if {
	port := input.elicitation.url.port
	port != 443
}

_mode := object.get(input, ["elicitation", "mode"], "form")

# Whatever the shape of the form: no key and no text of it is left out, and neither are other spellings of one word.
_asked_for := replace(replace(replace(lower(json.marshal(input.elicitation)), " ", ""), "-", ""), "_", "")

_secret_words := array.concat(data.mcp.rules.client.secret_words, _words_of_team)

default _words_of_team := []

_words_of_team := data.config.secret_words if is_array(data.config.secret_words)
