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
