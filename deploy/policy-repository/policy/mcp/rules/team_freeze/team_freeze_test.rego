package mcp.rules.team_freeze_test

import data.mcp.rules.team_freeze

_codes(tool, freeze) := codes if {
	codes := {why.code | some why in team_freeze.deny} with input as {
		"server": "github",
		"method": "tools/call",
		"tool": tool,
	}
		with data.config.freeze as freeze
		with data.config.servers as {"github": {"profile": "github"}}
}

test_a_freeze_stops_merges if _codes({"name": "merge_pull_request"}, {"github": true}) == {"team_freeze"}

test_a_freeze_leaves_the_rest if {
	_codes({"name": "get_commit"}, {"github": true}) == set()
	_codes({"name": "create_pull_request"}, {"github": true}) == set()
}

test_what_nobody_knows_is_frozen if {
	_codes({"name": "unheard_of"}, {"github": true}) == {"team_freeze"}
	_codes({}, {"github": true}) == {"team_freeze"}
}

test_no_freeze if {
	every freeze in [{}, {"github": false}, {"other": true}] {
		_codes({"name": "merge_pull_request"}, freeze) == set()
	}
}

test_what_is_not_false_freezes if {
	every value in ["no", null, [], 0, {}] {
		_codes({"name": "merge_pull_request"}, {"github": value}) == {"team_freeze"}
	}
}
