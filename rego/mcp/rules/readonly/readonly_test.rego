package mcp.rules.readonly_test

import data.mcp.rules.readonly

_denied(tool, servers) := codes if {
	codes := {reason.code | some reason in readonly.deny} with input as {
		"server": "github", "method": "tools/call",
		"tool": tool,
	}
		with data.config.servers as servers
}

_on(value) := {"github": {"profile": "github", "read_only": value}}

test_only_tools_that_read_may_be_called if {
	_denied({"name": "get_commit"}, _on(true)) == set()
	_denied({"name": "create_branch"}, _on(true)) == {"read_only"}
	_denied({"name": "unheard_of", "annotations": {"readOnlyHint": true}}, _on(true)) == {"read_only"}
	_denied({}, _on(true)) == {"read_only"}
}

test_it_is_off_unless_data_says_so if {
	_denied({"name": "create_branch"}, {}) == set()
	_denied({"name": "create_branch"}, _on(false)) == set()
	every value in ["no", null, {}, [], 0] {
		_denied({"name": "create_branch"}, _on(value)) == {"read_only"}
	}
}

test_it_may_be_on_for_all_servers if {
	count(readonly.deny) == 1 with input as {"server": "x", "method": "tools/call", "tool": {"name": "t"}}
		with data.config as {"read_only": true}
	count(readonly.deny) == 0 with input as {"server": "x", "method": "prompts/get"} with data.config as {"read_only": true}
}

test_only_tools_that_read_are_shown if {
	items := [{"kind": "tool", "key": "get_commit"}, {"kind": "tool", "key": "create_branch"}, {"kind": "prompt", "key": "p"}]
	readonly.hidden.read_only == {1} with input as {"server": "github", "items": items} with data.config.servers as _on(true)
	count(readonly.hidden.read_only) == 0 with input as {"server": "github", "items": items}
		with data.config.servers as _on(false)
}
