package mcp.rules.pins_test

import data.mcp.rules.pins

_pins := {"s": {
	"short": "sha256:aa",
	"long": {"digest": "sha256:bb", "definition": {"name": "long"}},
	"odd": {"digest": 7},
	"empty": "",
}}

_denied(tool) := codes if {
	codes := {reason.code | some reason in pins.deny} with input as {"server": "s", "method": "tools/call", "tool": tool}
		with data.config.pins as _pins
}

test_a_tool_is_called_while_it_is_the_one_that_was_reviewed if {
	_denied({"name": "short", "digest": "sha256:aa"}) == set()
	_denied({"name": "long", "digest": "sha256:bb"}) == set()
	_denied({"name": "short", "digest": "sha256:bb"}) == {"tool_changed"}
	_denied({"name": "long", "digest": "sha256:aa"}) == {"tool_changed"}
}

test_an_unseen_definition_is_not_the_reviewed_one if {
	_denied({"name": "short"}) == {"tool_changed"}
	every value in [null, false, {}, 7, ""] {
		_denied({"name": "short", "digest": value}) == {"tool_changed"}
	}
}

test_a_tool_that_is_not_pinned_is_refused if {
	every name in ["other", "odd", "empty", "Short", null, 7] {
		_denied({"name": name, "digest": ""}) == {"tool_not_pinned"}
	}
	_denied({}) == {"tool_not_pinned"}
}

test_pins_are_on_where_data_has_the_server if {
	asked := {"server": "s", "method": "tools/call", "tool": {"name": "t"}}
	every value in [{}, null, false, [], "x"] {
		count(pins.deny) == 1 with input as asked with data.config.pins as {"s": value}
	}
	count(pins.deny) == 0 with input as asked with data.config.pins as {"other": {}}
	count(pins.deny) == 0 with input as asked with data.config as {}
	count(pins.deny) == 0 with input as {"server": "s", "method": "prompts/get"} with data.config.pins as _pins
}

test_what_may_not_be_called_is_not_shown if {
	items := [
		{"kind": "tool", "key": "short", "digest": "sha256:aa"},
		{"kind": "tool", "key": "short", "digest": "sha256:bb"},
		{"kind": "tool", "key": "long"},
		{"kind": "tool", "key": "other", "digest": "sha256:aa"},
		{"kind": "prompt", "key": "other"},
	]
	asked := {"server": "s", "items": items}
	pins.hidden == {"tool_changed": {1, 2}, "tool_not_pinned": {3}} with input as asked with data.config.pins as _pins
	pins.hidden == {"tool_changed": set(), "tool_not_pinned": set()} with input as asked with data.config as {}
}
