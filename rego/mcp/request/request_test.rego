package mcp.request_test

import data.mcp.request

test_it_asks_when_a_request_goes_to_the_server if {
	request.asks with input as {"kind": "request", "direction": "to_server"}
	not request.asks with input as {"kind": "response", "direction": "to_server"}
	not request.asks with input as {"kind": "request", "direction": "to_client"}
	not request.asks with input as {}
}

test_arguments_are_always_an_object if {
	request.arguments == {"a": 1} with input as {"arguments": {"a": 1}}
	request.given == {"a"} with input as {"arguments": {"a": null}}
	request.arguments == {} with input as {}
	every value in [null, false, [], "x", 0] {
		request.arguments == {} with input as {"arguments": value}
		request.given == set() with input as {"arguments": value}
	}
}

test_groups_come_from_the_identity_and_the_directory if {
	request.groups == {"a", "b"} with input as {"identity": {"subject": "u", "groups": ["a"]}}
		with data.config.directory as {"u": {"groups": ["b"]}, "v": {"groups": ["c"]}}
	request.groups == set() with input as {"identity": {}} with data.config as {}
}

_grant := {"id": "g", "groups": ["eng"], "servers": ["s"], "tools": ["t"]}

_input := {"server": "s", "identity": {"subject": "u1", "email": "Ann@acme.com", "groups": ["eng"]}}

_applies(grant) if _ids(_input, [grant]) == ["g"]

_ids(asked, grants) := ids if {
	ids := [grant.id | some grant in request.grants] with input as asked
		with data.config as {"servers": {"s": {"profile": "generic"}}, "grants": grants}
}

test_a_grant_applies_by_group_subject_or_email if {
	_applies(_grant)
	_applies({"id": "g", "subjects": ["u1"], "servers": ["s"]})
	_applies({"id": "g", "emails": ["ann@ACME.com"], "servers": ["s"]})
}

test_a_grant_for_others_does_not_apply if {
	not _applies({"id": "g", "groups": ["ops"], "servers": ["s"]})
	not _applies({"id": "g", "subjects": ["u2"], "servers": ["s"]})
	not _applies({"id": "g", "emails": ["bob@acme.com"], "servers": ["s"]})
	not _applies({"id": "g", "servers": ["s"]})
	not _applies({"id": "g", "groups": ["eng"], "servers": ["other"]})
	not _applies({"id": "g", "groups": ["eng"]})
}

test_nobody_is_granted_anything_without_a_subject if {
	_ids({"server": "s", "identity": {"groups": ["eng"]}}, [_grant]) == []
}

test_a_server_that_data_does_not_know_is_granted_nothing if {
	request.grants == [] with input as _input with data.config as {"grants": [_grant]}
	request.grants == [] with input as _input with data.config as {"servers": {"s": {}}, "grants": [_grant]}
	request.grants == [] with input as _input
		with data.config as {"servers": {"s": {"profile": 1}}, "grants": [_grant]}
}

test_an_unknown_key_makes_a_grant_void if not _applies(object.union(_grant, {"repositorys": ["acme/app"]}))

test_grants_may_be_described if _applies(object.union(_grant, {"description": "why"}))

test_a_key_of_another_type_makes_a_grant_void if {
	every value in [null, false, {}, "eng", 0] {
		not _applies(object.union(_grant, {"groups": value}))
		not _applies(object.union(_grant, {"servers": value}))
		not _applies(object.union(_grant, {"repositories": value}))
		not _applies(object.union(_grant, {"tools": value, "subjects": ["u1"]}))
	}
	every value in [null, false, [], "x", 0] {
		not _applies(object.union(_grant, {"where": value}))
	}
	not _applies(object.remove(_grant, ["id"]))
	_ids(_input, [object.union(_grant, {"id": 7})]) == []
}

test_grants_that_are_not_objects_are_void if {
	_ids(_input, [null, 1, "g", [], _grant]) == ["g"]
	_ids(_input, {"first": _grant}) == ["g"]
}

_where_holds(condition, arguments) if {
	request.conditions_hold({"where": {"x": condition}}) with input as {"arguments": arguments}
}

_others := [null, false, true, {}, [], "", "zzz", -1, 1e9]

test_no_conditions_hold if {
	request.conditions_hold({})
	request.conditions_hold({"where": {}})
}

test_equals if {
	_where_holds({"equals": "a"}, {"x": "a"})
	_where_holds({"equals": 0}, {"x": 0})
	not _where_holds({"equals": "a"}, {})
	every value in _others {
		not _where_holds({"equals": "a"}, {"x": value})
		not _where_holds({"equals": 0}, {"x": value})
	}
}

test_in if {
	_where_holds({"in": ["a", 2]}, {"x": "a"})
	_where_holds({"in": ["a", 2]}, {"x": 2})
	not _where_holds({"in": ["a"]}, {})
	not _where_holds({"in": "abc"}, {"x": "a"})
	not _where_holds({"in": {"k": "a"}}, {"x": "a"})
	every value in _others {
		not _where_holds({"in": ["a", 2]}, {"x": value})
	}
}

test_prefix if {
	_where_holds({"prefix": "docs/"}, {"x": "docs/a.md"})
	not _where_holds({"prefix": "docs/"}, {"x": "docs/../a.md"})
	not _where_holds({"prefix": "docs/"}, {})
	not _where_holds({"prefix": ""}, {"x": "docs/a.md"})
	not _where_holds({"prefix": 1}, {"x": "1"})
	every value in _others {
		not _where_holds({"prefix": "docs/"}, {"x": value})
	}
}

test_ranges if {
	_where_holds({"above": 0, "max": 10}, {"x": 10})
	_where_holds({"min": 0, "below": 10}, {"x": 0})
	not _where_holds({"above": 0}, {"x": 0})
	not _where_holds({"below": 0}, {"x": 0})
	not _where_holds({"min": 1}, {"x": 0})
	not _where_holds({"max": 1}, {"x": 2})
	every operator in ["above", "below", "min", "max"] {
		not _where_holds({operator: 5}, {})
		every value in [null, false, true, {}, [], "", "5", "zzz"] {
			not _where_holds({operator: 5}, {"x": value})
			not _where_holds({operator: value}, {"x": 5})
		}
	}
}

test_every_operator_must_hold if not _where_holds({"min": 1, "equals": 5}, {"x": 6})

test_a_malformed_condition_does_not_hold if {
	not _where_holds({"least": 1}, {"x": 5})
	every condition in [null, false, true, {}, [], "a", 5] {
		not _where_holds(condition, {"x": condition})
	}
}

test_a_call_is_a_request_to_run_a_tool if {
	request.calls with input as {"kind": "request", "direction": "to_server", "method": "tools/call"}
	not request.calls with input as {"kind": "request", "direction": "to_server", "method": "tools/list"}
	not request.calls with input as {"kind": "request", "direction": "to_client", "method": "tools/call"}
}

test_like if {
	_where_holds({"like": ["main", "feature/*"]}, {"x": "main"})
	_where_holds({"like": ["main", "feature/*"]}, {"x": "feature/a/b"})
	not _where_holds({"like": ["feature/*"]}, {"x": "feature/../main"})
	not _where_holds({"like": ["feature/*"]}, {})
	not _where_holds({"like": "main"}, {"x": "main"})
	not _where_holds({"like": ["*"]}, {"x": "main"})
	every value in _others {
		not _where_holds({"like": ["main", 1, null, "feature/*"]}, {"x": value})
	}
}

test_under if {
	every value in ["docs", "docs/", "docs/a.md", "/srv/x", "/srv/x/y"] {
		_where_holds({"under": ["docs/", "/srv/x"]}, {"x": value})
	}
	every value in array.concat(_others, [
		"docs2/a", "docs/../a", "docs//a", "./docs/a", "docs/./a", "/docs", "docs/a\\..\\b",
		"docs/%2e%2e/a", "docs/a\u0000", "/srv", "/srv/xy", "/", "..",
	]) {
		not _where_holds({"under": ["docs/", "/srv/x", null, 1]}, {"x": value})
	}
	not _where_holds({"under": ["", "/"]}, {"x": "/etc/passwd"})
	not _where_holds({"under": "docs"}, {"x": "docs/a"})
	not _where_holds({"under": ["docs"]}, {})
}

test_sizes if {
	_where_holds({"min_size": 1, "max_size": 3}, {"x": "abc"})
	_where_holds({"max_size": 3}, {"x": [1, 2, 3]})
	_where_holds({"max_size": 1}, {"x": {"a": 1}})
	not _where_holds({"min_size": 4}, {"x": "abc"})
	not _where_holds({"max_size": 2}, {"x": "abc"})
	every operator in ["min_size", "max_size"] {
		not _where_holds({operator: 3}, {})
		every value in [null, false, true, 3, 3.5] {
			not _where_holds({operator: 3}, {"x": value})
		}
		not _where_holds({operator: "3"}, {"x": "abc"})
		not _where_holds({operator: null}, {"x": "abc"})
	}
}

test_type if {
	_where_holds({"type": "boolean"}, {"x": false})
	not _where_holds({"type": "boolean"}, {"x": "false"})
	not _where_holds({"type": "null"}, {})
}

test_each if {
	_where_holds({"each": {"in": ["a", "b"]}}, {"x": ["a", "b", "a"]})
	_where_holds({"each": {"in": ["a", "b"]}, "min_size": 1}, {"x": ["a"]})
	not _where_holds({"each": {"in": ["a", "b"]}, "min_size": 1}, {"x": []})
	not _where_holds({"each": {"in": ["a"]}}, {"x": ["a", "b"]})
	not _where_holds({"each": {"in": ["a"]}}, {"x": "a"})
	not _where_holds({"each": {"in": ["a"]}}, {"x": {"k": "a"}})
	not _where_holds({"each": {}}, {"x": ["a"]})
	not _where_holds({"each": ["a"]}, {"x": ["a"]})
	not _where_holds({"each": {"in": ["a"]}}, {})
}

test_one_of_several_conditions if {
	either := [{"absent": true}, {"in": ["main"]}]
	_where_holds(either, {})
	_where_holds(either, {"x": "main"})
	every value in _others {
		not _where_holds(either, {"x": value})
	}
	not _where_holds([{"in": ["main"]}], {})
	not _where_holds({"absent": true}, {})
	not _where_holds([{"absent": false}], {})
	not _where_holds([null, "main", {}], {"x": "main"})
}

test_an_argument_within_another if {
	holds := {"where": {"/a/b": {"equals": 1}}}
	request.conditions_hold(holds) with input as {"arguments": {"a": {"b": 1}}}
	every value in [{}, {"a": {}}, {"a": 1}, {"a": {"b": 2}}, {"a": null}, {"a/b": 1}, {"/a/b": 1}] {
		not request.conditions_hold(holds) with input as {"arguments": value}
	}
	request.conditions_hold({"where": {"/a/b": [{"absent": true}]}}) with input as {"arguments": {"a": {}}}
	not request.conditions_hold({"where": {"/a/b": [{"absent": true}]}}) with input as {"arguments": {"a": {"b": null}}}
}

_agents := {
	"ci": {"subjects": ["svc:ci"]},
	"route": {"audiences": ["agent.acme.example"]},
}

_agent_applies(grant, identity) if {
	count(request.grants) == 1 with input as {"server": "s", "identity": identity}
		with data.config as {"servers": {"s": {"profile": "generic"}}, "agents": _agents, "grants": [grant]}
}

test_agents_are_told_apart_by_subject_and_audience if {
	grant := {"id": "g", "agents": ["ci", "route", "unknown"], "servers": ["s"]}
	_agent_applies(grant, {"subject": "svc:ci"})
	_agent_applies(grant, {"subject": "ann", "audience": "agent.acme.example"})
	not _agent_applies(grant, {"subject": "ann", "audience": "other"})
	not _agent_applies(grant, {"audience": "agent.acme.example"})
}

test_a_grant_for_a_group_through_an_agent_needs_both if {
	grant := {"id": "g", "groups": ["eng"], "agents": ["route"], "servers": ["s"]}
	_agent_applies(grant, {"subject": "ann", "groups": ["eng"], "audience": "agent.acme.example"})
	not _agent_applies(grant, {"subject": "ann", "groups": ["eng"], "audience": "x"})
	not _agent_applies(grant, {"subject": "ann", "groups": ["ops"], "audience": "agent.acme.example"})
	not _agent_applies({"id": "g", "groups": [], "agents": ["route"], "servers": ["s"]}, {
		"subject": "ann", "audience": "agent.acme.example",
	})
}

_in_force(grant, now) if {
	count(request.grants) == 1 with input as object.union(_input, {"time_ms": now})
		with data.config as {"servers": {"s": {"profile": "generic"}}, "grants": [object.union(_grant, grant)]}
}

test_grants_begin_and_expire if {
	noon := request.moment("2026-12-31T12:00:00Z")
	_in_force({"expires": "2026-12-31T12:00:01Z"}, noon)
	not _in_force({"expires": "2026-12-31T12:00:00Z"}, noon)
	_in_force({"not_before": "2026-12-31T12:00:00Z"}, noon)
	not _in_force({"not_before": "2026-12-31T12:00:01Z"}, noon)
	every now in [null, "2026", {}, false] {
		not _in_force({"expires": "2999-01-01T00:00:00Z"}, now)
		not _in_force({"not_before": "2000-01-01T00:00:00Z"}, now)
	}
	every text in [
		"", "never", "2026-12-31", "2999-12-31T00:00:00", "2999-12-31T00:00Z", "2999-13-31T00:00:00Z",
		"2999-00-31T00:00:00Z", "2999-12-32T00:00:00Z", "2999-12-31T24:00:00Z", "2999-12-31T00:60:00Z",
		"2999-12-31T00:00:61Z", "2999-12-31T00:00:00+02:00", "zzzz-12-31T00:00:00Z", "2999-1.5-31T00:00:00Z", "1e9-1-1T0:0:0Z",
	] {
		not _in_force({"expires": text}, 1)
		not _in_force({"not_before": text}, 99999999999999)
	}
}

test_moments if {
	request.moment("2000-01-01T00:00:00Z") == 946684800000
	request.moment("2024-02-29T23:59:59Z") == 1709251199000
	request.moment("2026-11-22T20:26:14Z") == 1795379174000
}

_within(hours, text) if {
	request.within(hours) with input as {"time_ms": request.moment(text) + 500}
}

_day := {"days": ["mon", "fri"], "from": "08:30", "to": "18:00"}

test_hours if {
	_within(_day, "2026-11-23T08:30:00Z")
	_within(_day, "2026-11-27T17:59:59Z")
	not _within(_day, "2026-11-23T08:29:59Z")
	not _within(_day, "2026-11-23T18:00:00Z")
	not _within(_day, "2026-11-24T12:00:00Z")
	_within({"days": ["sun"], "from": "00:00", "to": "24:00"}, "2026-11-22T23:59:59Z")
	_within(object.union(_day, {"utc_offset_minutes": 120}), "2026-11-23T06:30:00Z")
	_within({"days": ["mon"], "from": "00:00", "to": "01:00", "utc_offset_minutes": 120}, "2026-11-22T22:00:00Z")
	not _within({"days": ["mon"], "from": "18:00", "to": "08:00"}, "2026-11-23T20:00:00Z")
}

test_malformed_hours_are_no_hours if {
	every more in [
		{"days": null}, {"days": "mon"}, {"days": []}, {"from": null}, {"from": "8"}, {"from": "25:00"}, {"from": "aa:bb"},
		{"to": {}}, {"to": "18:60"}, {"utc_offset_minutes": "60"}, {"utc_offset_minutes": 1e9}, {"utc_offset_minutes": 0.5},
		{"zone": "Europe/Bucharest"},
	] {
		not _within(object.union(_day, more), "2026-11-23T12:00:00Z")
	}
	every hours in [null, false, "mon", [], {}] {
		not _within(hours, "2026-11-23T12:00:00Z")
	}
	not request.within(_day) with input as {}
}

_effect(name, annotations, settings) := effect if {
	effect := request.effect(name, annotations) with input as {"server": "s"} with data.config.servers as {"s": settings}
}

test_what_a_tool_does if {
	github := {"profile": "github", "effects": {"get_commit": "destructive", "own": "read", "odd": "safe"}}
	_effect("get_commit", {}, github) == "destructive"
	_effect("get_issue", {}, github) == "read"
	_effect("delete_file", {}, github) == "destructive"
	_effect("create_branch", {}, github) == "write"
	_effect("own", {}, github) == "read"
	_effect("odd", {"readOnlyHint": true}, object.union(github, {"trust_annotations": true})) == "destructive"
}

test_a_missing_hint_is_not_a_safe_one if {
	trusted := {"profile": "generic", "trust_annotations": true}
	_effect("t", {"readOnlyHint": true}, trusted) == "read"
	_effect("t", {"readOnlyHint": false, "destructiveHint": false}, trusted) == "write"
	_effect("t", {"readOnlyHint": true}, {"profile": "generic"}) == "destructive"
	_effect("t", {"readOnlyHint": true}, {"profile": "generic", "trust_annotations": "yes"}) == "destructive"
	every annotations in [{}, null, {"readOnlyHint": null}, {"readOnlyHint": "true"}, {"destructiveHint": null}, {"destructiveHint": 0}] {
		_effect("t", annotations, trusted) == "destructive"
	}
	request.effect("t", {}) == "destructive" with input as {"server": "s"} with data.config as {}
}
