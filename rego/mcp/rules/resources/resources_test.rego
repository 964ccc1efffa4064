package mcp.rules.resources_test

import data.mcp.rules.resources

_config := {
	"servers": {"s": {"profile": "generic"}},
	"grants": [
		{
			"id": "reader",
			"groups": ["support"],
			"servers": ["s"],
			"prompts": ["greet"],
			"resources": ["file:///readme.md", "repo://acme/app/*"],
			"templates": ["file:///{path}"],
		},
		{
			"id": "conditional",
			"groups": ["support"],
			"servers": ["s"],
			"resources": ["file:///conditional.md"],
			"where": {"x": {"equals": 1}},
		},
	],
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
	ids := {object.get(reason, ["details", "grant"], reason.code) | some reason in resources.allow} with input as _asked(more)
		with data.config as _config
}

_codes(more) := codes if {
	codes := {reason.code | some reason in resources.explain} with input as _asked(more) with data.config as _config
}

test_templates_are_granted_word_for_word if {
	_allowed({"method": "completion/complete", "template": "file:///{path}"}) == {"reader"}
	_allowed({"method": "completion/complete", "template": "file:///{+path}"}) == set()
	_allowed({"method": "completion/complete"}) == set()
}

test_resources_are_granted_by_address_or_below_one if {
	every method in ["resources/read", "resources/subscribe", "resources/unsubscribe"] {
		_allowed({"method": method, "resource": {"uri": "file:///readme.md"}}) == {"reader"}
		_allowed({"method": method, "resource": {"uri": "repo://acme/app/x/y"}}) == {"reader"}
		_allowed({"method": method, "resource": {"uri": "repo://acme/app"}}) == set()
		_allowed({"method": method, "resource": {"uri": "repo://acme/app2/x"}}) == set()
		_allowed({"method": method, "resource": {"uri": "repo://acme/app/../secret"}}) == set()
		_allowed({"method": method, "resource": {"uri": null}}) == set()
		_allowed({"method": method}) == set()
	}
}

test_each_resource_of_a_subscription_must_be_granted if {
	one := {"uri": "file:///readme.md"}
	other := {"uri": "file:///etc/passwd"}
	_allowed({"method": "subscriptions/listen", "resources": [one]}) == {"resources_granted"}
	_allowed({"method": "subscriptions/listen", "resources": [one, other]}) == set()
	_allowed({"method": "subscriptions/listen", "resources": []}) == set()
	_allowed({"method": "subscriptions/listen", "resources": [one, {}]}) == set()
}

test_completions_are_visible_where_the_question_was_granted if {
	items := [{"kind": "completion", "key": "v"}]
	every more in [{"prompt": {"name": "greet"}}, {"template": "file:///{path}"}] {
		resources.visible == {0} with input as _asked(object.union({"items": items}, more)) with data.config as _config
	}
	every more in [{"prompt": {"name": "other"}}, {"template": "x"}, {}] {
		resources.visible == set() with input as _asked(object.union({"items": items}, more)) with data.config as _config
	}
}

test_what_is_granted_is_visible if {
	items := [
		{"kind": "resource", "key": "file:///readme.md"},
		{"kind": "link", "key": "repo://acme/app/a"},
		{"kind": "embedded", "key": "repo://acme/other/a"},
		{"kind": "template", "key": "file:///{path}"},
		{"kind": "template", "key": "file:///{other}"},
		{"kind": "completion", "key": "v"},
		{"kind": "task", "key": "t"},
	]
	resources.visible == {0, 1, 3} with input as _asked({"items": items}) with data.config as _config
}

test_a_grant_with_conditions_grants_no_resource if {
	asked := {"method": "resources/read", "resource": {"uri": "file:///conditional.md"}}
	_allowed(asked) == set()
	_codes(asked) == {"resource_not_granted"}
	_codes({"method": "subscriptions/listen", "resources": [{"uri": "x"}]}) == {"resource_not_granted"}
	_codes({"method": "tools/list"}) == set()
}

test_what_an_allowed_call_answers_with_is_visible_below_its_repository if {
	items := [
		{"kind": "embedded", "key": "repo://acme/App/refs/heads/main/contents/README.md"},
		{"kind": "link", "key": "repo://acme/app/contents/a"},
		{"kind": "embedded", "key": "repo://acme/app2/contents/a"},
		{"kind": "embedded", "key": "repo://acme/app/../app2/a"},
		{"kind": "resource", "key": "repo://acme/app/contents/a"},
		{"kind": "embedded", "key": "file:///etc/passwd"},
	]
	config := {"servers": {"s": {"profile": "github"}}, "grants": []}
	call := {
		"method": "tools/call", "tool": {"name": "get_file_contents"},
		"arguments": {"owner": "Acme", "repo": "app"}, "items": items,
	}
	resources.visible == {0, 1} with input as _asked(call) with data.config as config
	every more in [{"method": "prompts/get"}, {"arguments": {"owner": "acme"}}, {"arguments": {"owner": "acme", "repo": "*"}}] {
		resources.visible == set() with input as object.union(_asked(object.remove(call, object.keys(more))), more) with data.config as config
	}
}
