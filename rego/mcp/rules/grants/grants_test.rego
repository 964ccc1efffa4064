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
	_codes(_call("bound", {"owner": "acme", "repo": "app"})) == {"out_of_scope"}
}

test_prompts_are_granted_by_name if {
	_allowed({"method": "prompts/get", "prompt": {"name": "greet"}}) == {"reader"}
	_allowed({"method": "completion/complete", "prompt": {"name": "greet"}}) == {"reader"}
	_allowed({"method": "prompts/get", "prompt": {"name": "other"}}) == set()
	_allowed({"method": "prompts/get"}) == set()
}

test_a_condition_or_a_repository_hides_no_tool if {
	names := ["run_workflow", "create_pull_request", "merge_pull_request", "get_me", "nonsense"]
	items := [{"kind": "tool", "key": name} | some name in names]
	grants.visible == {0, 1} with input as _asked({"server": "github", "items": items}) with data.config as _config
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

test_visible_are_the_tools_prompts_and_tasks_that_are_granted if {
	_visible([
		{"kind": "tool", "key": "refund"},
		{"kind": "tool", "key": "greet"},
		{"kind": "prompt", "key": "greet"},
		{"kind": "prompt", "key": "refund"},
		{"kind": "task", "key": "refund"},
		{"kind": "task", "key": "other"},
	]) == {0, 2, 4}
}

test_a_scope_of_another_profile_reaches_nothing if {
	grant := {"id": "g", "groups": ["support"], "servers": ["github"], "toolsets": ["read"], "channels": ["C1"]}
	asked := _asked(_github("get_commit", {"owner": "acme", "repo": "app"}))
	count(grants.allow) == 0 with input as asked with data.config.grants as [grant] with data.config.servers as _config.servers
	both := object.union(grant, {"repositories": ["acme/app"]})
	count(grants.allow) == 0 with input as asked with data.config.grants as [both] with data.config.servers as _config.servers
}

_hours_config(hours) := {
	"servers": {"s": {"profile": "generic"}},
	"grants": [{
		"id": "day", "groups": ["support"], "servers": ["s"], "tools": ["t"], "prompts": ["p"],
		"hours": hours, "where": {"x": {"equals": 1}},
	}],
}

# A Tuesday, 10:26 UTC.
test_a_grant_holds_within_its_hours if {
	asked := object.union(_asked(_call("t", {"x": 1})), {"time_ms": 1795602374008})
	within := _hours_config({"days": ["wed"], "from": "08:00", "to": "18:00"})
	outside := _hours_config({"days": ["sat"], "from": "08:00", "to": "18:00"})
	count(grants.allow) == 1 with input as asked with data.config as within
	count(grants.allow) == 0 with input as asked with data.config as outside
	[reason.code | some reason in grants.explain] == ["outside_hours"] with input as asked with data.config as outside
	other := object.union(asked, {"arguments": {"x": 2}})
	[reason.code | some reason in grants.explain] == ["condition_not_met"] with input as other with data.config as within
	prompt := object.union(asked, {"method": "prompts/get", "prompt": {"name": "p"}})
	count(grants.allow) == 1 with input as prompt with data.config as within
	count(grants.allow) == 0 with input as prompt with data.config as outside
}

_scoped(channels, targets) if {
	grant := object.union({"id": "g", "groups": ["support"], "servers": ["s"], "tools": ["t"]}, channels)
	count(grants.allow) == 1 with input as _asked(_call("t", {}))
		with data.config as {"servers": {"s": {"profile": "generic"}}, "grants": [grant]}
		with data.mcp.profiles.generic as {"holds": true, "scope": "channels", "bound": true, "targets": targets}
}

test_where_a_profile_is_bound_a_grant_must_say_where if {
	_scoped({"channels": ["C1", "C2"]}, [{"C1"}])
	_scoped({"channels": ["C1", "C2"]}, [{"C1"}, {"C2", "C3"}])
	not _scoped({"channels": ["C1"]}, [{"C1"}, {"C2"}])
	not _scoped({"channels": ["c1"]}, [{"C1"}])
	not _scoped({"channels": ["C1"]}, [])
	not _scoped({"channels": []}, [{"C1"}])
	not _scoped({}, [{"C1"}])
}
