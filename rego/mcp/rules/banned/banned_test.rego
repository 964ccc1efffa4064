package mcp.rules.banned_test

import data.mcp.rules.banned

_codes(tool) := codes if {
	codes := {reason.code | some reason in banned.deny} with input as {"server": "github", "tool": {"name": tool}}
		with data.config.banned as {"github": ["delete_repository"], "slack": ["post"]}
}

test_a_banned_tool_is_denied if _codes("delete_repository") == {"tool_banned"}

test_another_tool_is_not if _codes("get_me") == set()

test_a_ban_is_for_one_server if _codes("post") == set()

test_no_tool_and_no_bans_deny_nothing if {
	count(banned.deny) == 0 with input as {"server": "github"} with data.config.banned as {"github": ["x"]}
	count(banned.deny) == 0 with input as {"server": "github", "tool": {"name": "x"}} with data.config as {}
}

test_a_banned_tool_is_not_shown if {
	items := [{"kind": "tool", "key": "x"}, {"kind": "prompt", "key": "x"}, {"kind": "tool", "key": "y"}]
	banned.hidden.tool_banned == {0} with input as {"server": "s", "items": items} with data.config.banned as {"s": ["x"]}
}
