package mcp.rules.protocol_test

import data.mcp.rules.protocol

_base := {
	"kind": "request",
	"direction": "to_server",
	"identity": {"subject": "u1", "groups": []},
}

_codes(more) := codes if {
	codes := {reason.code | some reason in protocol.allow} with input as object.union(_base, more)
}

test_basics_are_for_every_identified_caller if {
	every method in [
		"initialize", "server/discover", "tools/list", "prompts/list", "resources/list",
		"resources/templates/list", "logging/setLevel", "tasks/list",
	] {
		_codes({"method": method}) == {"protocol_basics"}
	}
}

test_streams_and_ends_are_basics if {
	every method in ["stream/open", "session/end"] {
		_codes({"method": method, "kind": "stream"}) == {"protocol_basics"}
		_codes({"method": method}) == set()
		_codes({"method": method, "kind": "stream", "direction": "to_client"}) == set()
	}
}

test_without_a_subject_there_is_nothing if {
	every subject in [null, false, {}, "", 0] {
		_codes({"method": "tools/list", "identity": {"subject": subject}}) == set()
	}
	count(protocol.allow) == 0 with input as {"kind": "request", "direction": "to_server", "method": "tools/list"}
}

test_what_names_something_is_no_basic if {
	every method in ["tools/call", "prompts/get", "resources/read", "completion/complete", "nonsense"] {
		_codes({"method": method}) == set()
	}
}

test_a_response_or_the_other_direction_is_no_basic if {
	_codes({"method": "tools/list", "kind": "response"}) == set()
	_codes({"method": "tools/list", "direction": "to_client"}) == set()
}

test_listening_without_resources_is_a_basic if {
	_codes({"method": "subscriptions/listen"}) == {"protocol_basics"}
	_codes({"method": "subscriptions/listen", "resources": []}) == {"protocol_basics"}
	_codes({"method": "subscriptions/listen", "resources": [{"uri": "x:y"}]}) == set()
	_codes({"method": "subscriptions/listen", "resources": null}) == set()
}

test_a_task_is_followed_by_its_owner_only if {
	every method in ["tasks/get", "tasks/result", "tasks/cancel", "tasks/update"] {
		_codes({"method": method, "task": {"owner": "same"}}) == {"own_task"}
		_codes({"method": method, "task": {"owner": "other"}}) == set()
		_codes({"method": method, "task": {"owner": "unknown"}}) == set()
		_codes({"method": method}) == set()
	}
}

test_basic_capabilities_are_visible if {
	items := [
		{"kind": "capability", "key": "tools"},
		{"kind": "capability", "key": "tasks"},
		{"kind": "tool", "key": "tools"},
	]
	protocol.visible == {0} with input as object.union(_base, {"items": items})
	protocol.visible == set() with input as {"items": items}
}
