package mcp.reason_test

import data.mcp.reason

_rule := {
	"title": "A title",
	"description": "not passed on",
	"scope": "rule",
	"custom": {"code": "a_code", "help": "a help", "severity": "low", "enforcement": "dryrun", "contract": 1},
}

test_a_reason_is_made_of_the_metadata_of_its_rule if {
	reason.of(_rule) == {
		"code": "a_code", "title": "A title", "help": "a help",
		"severity": "low", "enforcement": "dryrun",
	}
}

test_details_are_added if {
	reason.with_details({"title": "T", "custom": {"code": "c"}}, {"grant": "g"}) == {
		"code": "c", "title": "T", "details": {"grant": "g"},
	}
}
