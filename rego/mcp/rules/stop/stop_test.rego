package mcp.rules.stop_test

import data.mcp.main
import data.mcp.rules.stop

_codes(asked, config) := codes if {
	codes := {reason.code | some reason in stop.deny} with input as asked with data.config as config
}

test_it_stops_whatever_is_asked if {
	every asked in [
		{},
		{"method": "tools/call", "direction": "to_server"},
		{"method": "initialize", "direction": "to_server"},
		{"method": "stream/open", "kind": "stream"},
		{"method": "sampling/createMessage", "direction": "to_client"},
		{"method": "acme/unheard_of"},
	] {
		_codes(asked, {"stop": true}) == {"stopped"}
		_codes(asked, {"stop": false}) == set()
		_codes(asked, {}) == set()
	}
}

test_whatever_is_not_false_stops if {
	every value in [null, 0, "", "false", {}, []] {
		_codes({"method": "tools/call"}, {"stop": value}) == {"stopped"}
	}
}

test_a_text_is_told_to_who_is_stopped if {
	{reason.details.stop | some reason in stop.deny} == {"incident 42"} with input as {} with data.config.stop as "incident 42"
}

test_what_ends_something_passes if {
	every method in ["session/end", "tasks/cancel"] {
		_codes({"method": method}, {"stop": true}) == set()
	}
}

_mona := {
	"server": "s", "method": "tools/call", "kind": "request", "direction": "to_server",
	"tool": {"name": "t"}, "identity": {"subject": "mona"},
	"items": [{"kind": "tool", "key": "t"}],
}

test_it_beats_grants_and_no_dry_run_weakens_it if {
	grants := [{"id": "g", "subjects": ["mona"], "servers": ["s"], "tools": ["t"]}]
	main.decision.allow with input as _mona with data.config as {"servers": {"s": {"profile": "generic"}}, "grants": grants}
	every dry in ["none", "all", ["stopped"]] {
		config := {"servers": {"s": {"profile": "generic", "dry_run": dry}}, "grants": grants, "stop": true}
		main.decision.allow == false with input as _mona with data.config as config
		{reason.code | some reason in main.decision.reasons} == {"stopped"} with input as _mona with data.config as config
		main.visible == {} with input as _mona with data.config as config
	}
}
