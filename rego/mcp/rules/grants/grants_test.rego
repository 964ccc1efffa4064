package mcp.rules.grants_test

import data.mcp.rules.grants

_config := {
	"servers": {
		"s": {"profile": "generic"},
		"github": {"profile": "github", "working_branches": ["agent/"]},
		"typo": {"profile": "guthub"},
		"none": {},
	},
	"grants": [
		{
			"id": "support",
			"groups": ["support"],
			"servers": ["s", "typo", "none"],
			"tools": ["refund"],
			"where": {"amount_cents": {"above": 0, "max": 10000}},
		},
		{
			"id": "reader",
			"groups": ["support"],
			"servers": ["s"],
			"tools": ["lookup"],
			"prompts": ["greet"],
			"resources": ["file:///readme.md", "repo://acme/app/*"],
			"templates": ["file:///{path}"],
			"capabilities": ["tasks"],
		},
		{
			"id": "client",
			"groups": ["support"],
			"servers": ["s"],
			"methods": ["elicitation/create", "sampling/createMessage", "tools/call", "resources/read"],
			"hosts": ["login.acme.com"],
		},
		{"id": "bound", "groups": ["support"], "servers": ["s"], "tools": ["bound"], "repositories": ["acme/app"]},
		{
			"id": "gh", "groups": ["support"], "servers": ["github"],
			"toolsets": ["read", "triage", "propose"], "repositories": ["Acme/*"],
		},
		{
			"id": "gh-where", "groups": ["support"], "servers": ["github"], "tools": ["run_workflow"],
			"repositories": ["acme/app"], "where": {"ref": {"equals": "main"}},
		},
		{
			"id": "gh-merge", "groups": ["maintainers"], "servers": ["github"],
			"toolsets": ["merge"], "repositories": ["acme/app"],
		},
		{
			"id": "gh-flow", "groups": ["maintainers", "release"], "servers": ["github"],
			"toolsets": ["workflows"],
		},
		{"id": "void", "groups": ["x"], "servers": ["github"], "toolsets": ["merge"], "repos": ["acme/app"]},
	],
}

_input := {
	"server": "s",
	"direction": "to_server",
	"kind": "request",
	"identity": {"subject": "u1", "groups": ["support"]},
}

_asked(more) := object.union(_input, more)

_allowed(more) := ids if {
	ids := {object.get(reason, ["details", "grant"], reason.code) | some reason in grants.allow} with input as _asked(more)
		with data.config as _config
}

_explained(more) := reasons if {
	reasons := grants.explain with input as _asked(more) with data.config as _config
}

_codes(more) := {reason.code | some reason in _explained(more)}

_visible(items) := found if {
	found := grants.visible with input as _asked({"method": "x/list", "items": items}) with data.config as _config
}

_call(tool, arguments) := {"method": "tools/call", "tool": {"name": tool}, "arguments": arguments}

_github(tool, arguments) := object.union(_call(tool, arguments), {"server": "github"})

test_a_tool_is_granted_by_name if _allowed(_call("lookup", {})) == {"reader"}

test_a_tool_that_is_not_granted_is_not if {
	_allowed(_call("Lookup", {})) == set()
	_codes(_call("Lookup", {})) == set()
	_allowed({"method": "tools/call"}) == set()
}

test_conditions_must_hold if {
	_allowed(_call("refund", {"amount_cents": 10000})) == {"support"}
	_allowed(_call("refund", {})) == set()
	_codes(_call("refund", {})) == {"condition_not_met"}
	every value in [null, false, {}, "100", 0, 10001, -5] {
		_allowed(_call("refund", {"amount_cents": value})) == set()
	}
}

test_a_profile_that_does_not_exist_or_is_missing_grants_nothing if {
	_allowed(object.union(_call("refund", {"amount_cents": 1}), {"server": "typo"})) == set()
	_allowed(object.union(_call("refund", {"amount_cents": 1}), {"server": "none"})) == set()
}

test_a_call_is_a_request_to_the_server if {
	_allowed(object.union(_call("lookup", {}), {"kind": "response"})) == set()
	_allowed(object.union(_call("lookup", {}), {"direction": "to_client"})) == set()
	_allowed(object.union(_call("lookup", {}), {"method": "tools/list"})) == set()
}

test_repositories_hold_for_no_call_of_a_server_without_them if {
	_allowed(_call("bound", {"owner": "acme", "repo": "app"})) == set()
	_codes(_call("bound", {"owner": "acme", "repo": "app"})) == {"repository_not_granted"}
}

test_prompts_are_granted_by_name if {
	_allowed({"method": "prompts/get", "prompt": {"name": "greet"}}) == {"reader"}
	_allowed({"method": "completion/complete", "prompt": {"name": "greet"}}) == {"reader"}
	_allowed({"method": "prompts/get", "prompt": {"name": "other"}}) == set()
	_allowed({"method": "prompts/get"}) == set()
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

test_methods_that_name_nothing_are_granted_by_method if {
	_allowed({"method": "sampling/createMessage", "direction": "to_client"}) == {"client"}
	_allowed({"method": "elicitation/create", "direction": "to_client"}) == {"client"}
	_allowed({"method": "elicitation/create", "direction": "to_client", "elicitation": {"mode": "form"}}) == {"client"}
	_allowed({"method": "elicitation/create", "kind": "response"}) == {"client"}
	_allowed({"method": "roots/list", "direction": "to_client"}) == set()
}

test_methods_that_name_something_are_not if {
	_allowed(_call("anything", {})) == set()
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
}

test_visible_are_the_things_that_are_granted if {
	_visible([
		{"kind": "tool", "key": "refund"},
		{"kind": "tool", "key": "greet"},
		{"kind": "prompt", "key": "greet"},
		{"kind": "prompt", "key": "refund"},
		{"kind": "resource", "key": "file:///readme.md"},
		{"kind": "link", "key": "repo://acme/app/a"},
		{"kind": "embedded", "key": "repo://acme/other/a"},
		{"kind": "template", "key": "file:///{path}"},
		{"kind": "template", "key": "file:///{other}"},
		{"kind": "capability", "key": "tasks"},
		{"kind": "capability", "key": "experimental"},
		{"kind": "completion", "key": "v"},
		{"kind": "task", "key": "t"},
	]) == {0, 2, 4, 5, 7, 9}
}

test_completions_are_visible_where_the_question_was_granted if {
	items := [{"kind": "completion", "key": "v"}]
	every more in [{"prompt": {"name": "greet"}}, {"template": "file:///{path}"}] {
		grants.visible == {0} with input as _asked(object.union({"items": items}, more)) with data.config as _config
	}
	every more in [{"prompt": {"name": "other"}}, {"template": "x"}, {}] {
		grants.visible == set() with input as _asked(object.union({"items": items}, more)) with data.config as _config
	}
}

test_a_condition_or_a_repository_hides_no_tool if {
	names := ["run_workflow", "create_pull_request", "merge_pull_request", "get_me", "nonsense"]
	items := [{"kind": "tool", "key": name} | some name in names]
	grants.visible == {0, 1} with input as _asked({"server": "github", "items": items}) with data.config as _config
}

test_a_banned_tool_is_not_visible if {
	items := [{"kind": "tool", "key": "lookup"}]
	grants.visible == set() with input as _asked({"items": items})
		with data.config as object.union(_config, {"banned": {"s": ["lookup"]}})
}

test_a_set_of_tools_is_granted_on_the_repositories if {
	_allowed(_github("get_commit", {"owner": "acme", "repo": "app"})) == {"gh"}
	_allowed(_github("get_commit", {"owner": "ACME", "repo": "Other"})) == {"gh"}
	_allowed(_github("get_commit", {"owner": "evil", "repo": "app"})) == set()
	_codes(_github("get_commit", {"owner": "evil", "repo": "app"})) == {"repository_not_granted"}
	every value in [null, false, {}, "", "acme/app", ".", "..", "a b", "app%2f", 0] {
		_allowed(_github("get_commit", {"owner": "acme", "repo": value})) == set()
		_allowed(_github("get_commit", {"owner": value, "repo": "app"})) == set()
	}
	_allowed(_github("get_commit", {"owner": "acme"})) == set()
	_allowed(_github("get_commit", {})) == set()
}

test_who_lacks_a_set_is_told_which_group_has_it if {
	_explained(_github("merge_pull_request", {"owner": "acme", "repo": "app", "pullNumber": 7})) == {{
		"code": "merge_not_granted",
		"title": "Merging needs the maintainers group",
		"help": "ask to be in group maintainers",
		"details": {"toolset": "merge", "groups": ["maintainers"]},
	}}
	_explained(_github("rerun_failed_jobs", {"owner": "acme", "repo": "app", "run_id": 7})) == {{
		"code": "workflow_not_granted",
		"title": "Running workflows needs one of the groups maintainers, release",
		"help": "ask to be in one of the groups maintainers, release",
		"details": {"toolset": "workflows", "groups": ["maintainers", "release"]},
	}}
	_explained(_github("merge_pull_request", {"owner": "acme", "repo": "other", "pullNumber": 7})) == {{
		"code": "merge_not_granted",
		"title": "Merging is not granted to any group here",
		"details": {"toolset": "merge", "groups": []},
	}}
}

test_where_and_repositories_hold_together if {
	_allowed(_github("run_workflow", {"owner": "acme", "repo": "app", "workflow_id": "x", "ref": "main"})) == {"gh-where"}
	_codes(_github("run_workflow", {"owner": "acme", "repo": "app", "workflow_id": "x", "ref": "dev"})) == {"condition_not_met"}
	_codes(_github("run_workflow", {"owner": "acme", "repo": "x", "ref": "main"})) == {"repository_not_granted"}
}

test_what_the_profile_needs_is_explained if {
	call := _github("delete_file", {
		"owner": "acme", "repo": "app", "path": "a", "message": "m",
		"branch": "main",
	})
	_allowed(call) == set()
	_codes(call) == {"protected_branch"}
}

test_what_is_needed_besides_must_be_granted_too if {
	call := _github("update_pull_request", {"owner": "acme", "repo": "app", "pullNumber": 7, "base": "other"})
	_allowed(call) == set()
	_explained(call) == {{
		"code": "base_change_not_granted",
		"title": "Changing the base of a pull request needs the maintainers group",
		"help": "leave the base out, or open a new pull request",
		"details": {"toolset": "merge", "groups": ["maintainers"]},
	}}
	both := {"identity": {"subject": "u2", "groups": ["support", "maintainers"]}}
	_allowed(object.union(call, both)) == {"gh", "gh-merge"}
	elsewhere := {"arguments": {"repo": "other"}}
	_allowed(object.union(object.union(call, both), elsewhere)) == set()
}
