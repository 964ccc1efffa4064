package mcp.rules.client_test

import data.mcp.rules.client

_config := {
	"servers": {"s": {"profile": "generic"}},
	"secret_words": ["matrikelnummer"],
	"grants": [{
		"id": "client",
		"groups": ["support"],
		"servers": ["s"],
		"methods": ["elicitation/create", "sampling/createMessage", "tools/call", "resources/read"],
		"hosts": ["login.acme.com", "login.acme.com:8443"],
		"capabilities": ["tasks"],
	}],
}

_input := {
	"server": "s",
	"direction": "to_server",
	"kind": "request",
	"time_ms": 1795515974008,
	"identity": {"subject": "u1", "groups": ["support"]},
}

_asked(more) := object.union(_input, more)

_allowed(more) := ids if {
	ids := {object.get(reason, ["details", "grant"], reason.code) | some reason in client.allow} with input as _asked(more)
		with data.config as _config
}

_codes(more) := codes if {
	codes := {reason.code | some reason in client.explain} with input as _asked(more) with data.config as _config
}

test_methods_that_name_nothing_are_granted_by_method if {
	_allowed({"method": "sampling/createMessage", "direction": "to_client"}) == {"client"}
	_allowed(_form({})) == {"client"}
	_allowed({"method": "elicitation/create", "direction": "to_client"}) == set()
	every schema in [null, false, "x", 0, []] {
		_allowed({"method": "elicitation/create", "elicitation": {"schema": schema}}) == set()
	}
	_allowed({"method": "elicitation/create", "kind": "response"}) == {"client"}
	_allowed({"method": "roots/list", "direction": "to_client"}) == set()
}

test_methods_that_name_something_are_not if {
	_allowed({"method": "tools/call", "tool": {"name": "anything"}}) == set()
	_allowed({"method": "resources/read", "resource": {"uri": "file:///etc/passwd"}}) == set()
}

test_a_page_is_opened_only_on_a_granted_host_over_https if {
	asked := {"method": "elicitation/create", "direction": "to_client", "elicitation": {
		"mode": "url",
		"url": {"href": "https://login.acme.com/", "scheme": "https", "host": "login.acme.com"},
	}}
	_allowed(asked) == {"client"}
	_allowed(object.union(asked, {"elicitation": {"url": {"host": "evil.example"}}})) == set()
	_allowed(object.union(asked, {"elicitation": {"url": {"scheme": "http"}}})) == set()
	_allowed(object.union(asked, {"elicitation": {"mode": "other"}})) == set()
	_allowed(object.union(asked, {"elicitation": {"url": {"port": 443}}})) == {"client"}
	_allowed(object.union(asked, {"elicitation": {"url": {"port": 8443}}})) == {"client"}
	_allowed(object.union(asked, {"elicitation": {"url": {"port": 9443}}})) == set()
}

_form(more) := {
	"method": "elicitation/create",
	"direction": "to_client",
	"elicitation": object.union({"mode": "form", "message": "Which one?", "schema": {"properties": {"name": {}}}}, more),
}

_denied(asked) := codes if {
	codes := {reason.code | some reason in client.deny} with input as _asked(asked) with data.config as _config
}

test_a_form_asks_for_no_secret if {
	_denied(_form({})) == set()
	every more in [
		{"message": "Please enter your PASSWORD"},
		{"message": "Your API key, please"},
		{"schema": {"properties": {"api_key": {"type": "string"}}}},
		{"schema": {"properties": {"x": {"title": "Private-Key"}}}},
		{"schema": {"properties": {"x": {"description": "the pass phrase"}}}},
		{"schema": {"properties": {"x": {"enum": ["secret"]}}}},
		{"message": "Matrikelnummer?"},
		{"mode": "other", "message": "password"},
	] {
		_denied(_form(more)) == {"elicits_secret"}
	}
}

test_a_page_may_ask_for_one if _denied(_form({"mode": "url", "message": "Enter your password"})) == set()

test_only_elicitations_are_looked_at if {
	_denied(object.union(_form({"message": "password"}), {"method": "x"})) == set()
	_denied({"method": "elicitation/create"}) == set()
}

test_malformed_words_of_a_team_are_left_out if {
	client.deny == set() with input as _asked(_form({})) with data.config.secret_words as "name"
	count(client.deny) == 1 with input as _asked(_form({"message": "password"})) with data.config.secret_words as "name"
}

test_what_is_missing_is_said if {
	_codes({"method": "sampling/createMessage"}) == {"sampling_not_granted"}
	_codes({"method": "elicitation/create"}) == {"elicitation_not_granted"}
	_codes({"method": "roots/list"}) == {"roots_not_granted"}
}

test_capabilities_are_shown_where_a_grant_names_them if {
	items := [{"kind": "capability", "key": "tasks"}, {"kind": "capability", "key": "experimental"}]
	client.visible == {0} with input as _asked({"items": items}) with data.config as _config
}
