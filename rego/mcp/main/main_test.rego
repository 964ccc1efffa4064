package mcp.main_test

import data.mcp.main

_grant := {"code": "b_granted", "title": "Granted"}

_other := {"code": "a_granted", "title": "Granted too", "details": {"z": 1}}

_ban := {"code": "banned", "title": "Banned"}

_dry(reason) := object.union(reason, {"enforcement": "dryrun"})

test_nothing_allowed_is_denied if {
	main.decision == {
		"allow": false,
		"reasons": [{"code": "not_granted", "title": "Nothing in the policy allows this"}],
	} with data.mcp.rules as {}
}

test_the_real_families_deny_an_empty_input if {
	not main.decision.allow with input as {} with data.config as {}
	main.visible == {} with input as {} with data.config as {}
}

test_one_family_that_allows_is_enough if {
	main.decision == {"allow": true, "reasons": [_grant]} with data.mcp.rules as {
		"one": {"allow": {_grant}},
		"two": {"allow": set(), "deny": set()},
	}
}

test_deny_beats_allow if {
	main.decision == {"allow": false, "reasons": [_ban]} with data.mcp.rules as {
		"one": {"allow": {_grant}},
		"two": {"deny": {_ban}},
	}
}

test_reasons_are_sorted_by_code if {
	main.decision.reasons == [_other, _grant] with data.mcp.rules as {
		"one": {"allow": {_grant}},
		"two": {"allow": {_other}},
	}
}

test_a_family_may_say_what_is_missing if {
	missing := {"code": "merge_not_granted", "title": "Merging needs the maintainers group"}
	main.decision == {"allow": false, "reasons": [missing]} with data.mcp.rules as {"one": {"explain": {missing}}}
}

test_what_is_missing_is_not_said_of_an_allow if {
	main.decision == {"allow": true, "reasons": [_grant]} with data.mcp.rules as {
		"one": {"explain": {_ban}},
		"two": {"allow": {_grant}},
	}
}

test_a_deny_in_dry_run_bars_nothing_and_is_reported if {
	main.decision == {
		"allow": true,
		"reasons": [_grant],
		"dry_run": {"allow": false, "reasons": [_ban]},
	} with data.mcp.rules as {"one": {"allow": {_grant}}, "two": {"deny": {_dry(_ban)}}}
}

test_an_allow_in_dry_run_opens_nothing_and_is_reported if {
	main.decision == {
		"allow": false,
		"reasons": [{"code": "not_granted", "title": "Nothing in the policy allows this"}],
		"dry_run": {"allow": true, "reasons": [_grant]},
	} with data.mcp.rules as {"one": {"allow": {_dry(_grant)}}}
}

test_a_dry_run_without_another_outcome_is_not_reported if {
	main.decision == {"allow": false, "reasons": [_ban]} with data.mcp.rules as {
		"one": {"deny": {_ban}},
		"two": {"deny": {_dry(_other)}},
	}
}

test_enforcement_deny_is_enforced if {
	main.decision == {"allow": false, "reasons": [_ban]} with data.mcp.rules as {
		"one": {"deny": {object.union(_ban, {"enforcement": "deny"})}},
		"two": {"allow": {_grant}},
	}
}

test_visible_is_the_union_of_the_families_by_index if {
	main.visible == {"0": true, "11": true} with data.mcp.rules as {
		"one": {"visible": {0}},
		"two": {"visible": {0, 11}},
		"three": {"deny": set()},
	}
}

_families := {"one": {"allow": {_grant}}, "two": {"deny": {_ban}}}

test_data_puts_rules_into_dry_run_by_code if {
	main.decision == {"allow": true, "reasons": [_grant], "dry_run": {"allow": false, "reasons": [_ban]}} with input as {"server": "s"}
		with data.mcp.rules as _families
		with data.config as {"dry_run": ["banned"]}
	main.decision == {"allow": true, "reasons": [_grant], "dry_run": {"allow": false, "reasons": [_ban]}} with input as {"server": "s"}
		with data.mcp.rules as _families
		with data.config as {"servers": {"s": {"dry_run": ["banned"]}}}
	every value in [["other"], [], "banned", null, true, {"x": "banned"}, "ALL", ["all"]] {
		not main.decision.allow with input as {"server": "s"} with data.mcp.rules as _families
			with data.config as {"dry_run": value}
	}
}

_known := {"server": "s", "identity": {"subject": "u"}, "items": [{"kind": "tool", "key": "t"}, {"kind": "tool", "key": "u"}]}

test_data_puts_all_rules_into_dry_run if {
	main.decision == {
		"allow": true,
		"reasons": [{"code": "dry_run", "title": "The policy is not enforced here, only evaluated"}],
		"dry_run": {"allow": false, "reasons": [_ban]},
	} with input as _known with data.mcp.rules as _families with data.config as {"dry_run": "all"}
	main.decision == {"allow": true, "reasons": [_grant]} with input as _known
		with data.mcp.rules as {"one": {"allow": {_grant}}}
		with data.config as {"servers": {"s": {"dry_run": "all"}}}
	main.visible == {"0": true, "1": true} with input as _known
		with data.mcp.rules as {"one": {"visible": {0}}}
		with data.config as {"dry_run": "all"}
}

test_a_dry_run_lets_nobody_in_who_is_not_known if {
	asked := object.remove(_known, ["identity"])
	not main.decision.allow with input as asked with data.mcp.rules as _families with data.config as {"dry_run": "all"}
	main.visible == {} with input as asked with data.mcp.rules as {} with data.config as {"dry_run": "all"}
}

test_what_one_family_hides_is_hidden if {
	families := {"one": {"visible": {0, 1}}, "two": {"hidden": {"banned": {1}}}}
	main.visible == {"0": true} with data.mcp.rules as families
	main.visible == {"0": true, "1": true} with data.mcp.rules as families with data.config as {"dry_run": ["banned"]}
}

test_a_schema_may_be_narrowed if {
	families := {"one": {"visible": {0, 1}, "narrowed": {1: {"type": "object"}}}}
	main.visible == {"0": true, "1": {"inputSchema": {"type": "object"}}} with data.mcp.rules as families
}

test_what_another_family_shows_is_not_narrowed if {
	families := {"one": {"visible": {0}, "narrowed": {0: {"type": "object"}}}, "two": {"visible": {0}}}
	main.visible == {"0": true} with data.mcp.rules as families
	both := json.patch(families, [{"op": "add", "path": "/two/narrowed", "value": {0: {"type": "string"}}}])
	main.visible == {"0": true} with data.mcp.rules as both
	hidden := {"one": {"narrowed": {0: {"type": "object"}}}}
	main.visible == {} with data.mcp.rules as hidden
}
