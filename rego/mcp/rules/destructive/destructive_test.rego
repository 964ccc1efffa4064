package mcp.rules.destructive_test

import data.mcp.rules.destructive

_config(guard, grant) := {
	"servers": {
		"github": {"profile": "github", "guard_destructive": guard},
		"s": {"profile": "generic", "guard_destructive": guard, "trust_annotations": true},
	},
	"grants": [object.union({"id": "g", "subjects": ["u"], "servers": ["github", "s"]}, grant)],
}

_denied(server, tool, config) := codes if {
	codes := {reason.code | some reason in destructive.deny} with input as {
		"server": server, "method": "tools/call",
		"identity": {"subject": "u"}, "tool": tool,
	}
		with data.config as config
}

test_a_destructive_tool_needs_a_grant_that_says_so if {
	every name in ["merge_pull_request", "delete_file", "unheard_of"] {
		_denied("github", {"name": name}, _config(true, {"toolsets": ["merge", "propose"], "tools": ["unheard_of"]})) == {"destructive_not_granted"}
		_denied("github", {"name": name}, _config(true, {
			"toolsets": ["merge", "propose"], "tools": ["unheard_of"],
			"destructive": true,
		})) == set()
		_denied("github", {"name": name}, _config(true, {"toolsets": ["read"], "destructive": true})) == {"destructive_not_granted"}
		_denied("github", {"name": name}, _config(true, {"toolsets": ["merge", "propose"], "destructive": "yes"})) == {"destructive_not_granted"}
	}
	_denied("github", {"name": "create_branch"}, _config(true, {})) == set()
	_denied("github", {}, _config(true, {})) == {"destructive_not_granted"}
}

test_hints_count_where_data_trusts_them_and_a_missing_one_is_not_safe if {
	_denied("s", {"name": "t", "annotations": {"destructiveHint": false}}, _config(true, {})) == set()
	_denied("s", {"name": "t", "annotations": {"readOnlyHint": true}}, _config(true, {})) == set()
	_denied("s", {"name": "t", "annotations": {"destructiveHint": true}}, _config(true, {})) == {"destructive_not_granted"}
	_denied("s", {"name": "t", "annotations": {}}, _config(true, {})) == {"destructive_not_granted"}
	_denied("s", {"name": "t"}, _config(true, {})) == {"destructive_not_granted"}
	_denied("github", {"name": "t", "annotations": {"readOnlyHint": true}}, _config(true, {})) == {"destructive_not_granted"}
}

test_it_is_off_unless_data_says_so if {
	_denied("github", {"name": "delete_file"}, _config(false, {})) == set()
	_denied("github", {"name": "delete_file"}, {}) == set()
	_denied("github", {"name": "delete_file"}, _config(null, {})) == {"destructive_not_granted"}
}

test_what_may_never_be_called_is_not_shown if {
	items := [{"kind": "tool", "key": "delete_file"}, {"kind": "tool", "key": "create_branch"}, {"kind": "prompt", "key": "x"}]
	asked := {"server": "github", "identity": {"subject": "u"}, "items": items}
	destructive.hidden.destructive_not_granted == {0} with input as asked with data.config as _config(true, {})
	destructive.hidden.destructive_not_granted == set() with input as asked
		with data.config as _config(true, {"toolsets": ["propose"], "destructive": true})
	destructive.hidden.destructive_not_granted == set() with input as asked with data.config as _config(false, {})
}
