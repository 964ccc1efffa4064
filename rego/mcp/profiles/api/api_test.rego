package mcp.profiles.api_test

import data.mcp.main
import data.mcp.profiles.api

_config := {
	"servers": {"billing": {
		"profile": "api",
		"base_url": "https://billing.acme.example",
		"endpoints": {
			"read_customer": "GET /v1/customers/{id}",
			"list_customers": "GET /v1/customers",
			"refund": "POST /v1/refunds",
			"odd": 7,
		},
		"request_tools": {"http_request": {"method": "method", "path": "path", "arguments": ["query", "body"]}},
		"operations": {"getCustomer": "read_customer", "deleteCustomer": "delete_customer", "odd": 7},
	}},
	"grants": [
		{
			"id": "support", "groups": ["support"], "servers": ["billing"],
			"tools": ["http_request", "getCustomer", "deleteCustomer", "odd", "shell"],
			"endpoints": ["read_customer", "refund", "odd"],
		},
		{"id": "nowhere", "groups": ["support"], "servers": ["billing"], "tools": ["http_request", "shell"]},
	],
}

_decision(tool, arguments) := decision if {
	decision := main.decision with input as {
		"server": "billing", "direction": "to_server", "kind": "request", "method": "tools/call",
		"identity": {"subject": "u", "groups": ["support"]}, "tool": {"name": tool}, "arguments": arguments,
	}
		with data.config as _config
}

_allowed(tool, arguments) if _decision(tool, arguments).allow

_codes(tool, arguments) := {reason.code | some reason in _decision(tool, arguments).reasons}

test_a_request_is_for_an_endpoint_of_the_grant if {
	_allowed("http_request", {"method": "GET", "path": "/v1/customers/42"})
	_allowed("http_request", {"method": "GET", "path": "https://billing.acme.example/v1/customers/42", "query": {"a": 1}})
	_allowed("http_request", {"method": "POST", "path": "/v1/refunds", "body": {"amount": 1}})
	_codes("http_request", {"method": "GET", "path": "/v1/customers"}) == {"out_of_scope"}
	_codes("http_request", {"method": "DELETE", "path": "/v1/customers/42"}) == {"out_of_scope"}
}

_for_some(arguments) if {
	count(api.targets[0]) > 0 with input as {"server": "billing", "tool": {"name": "http_request"}, "arguments": arguments}
		with data.config as _config
}

test_a_request_that_is_not_plain_is_for_none if {
	_for_some({"method": "GET", "path": "/v1/customers/42"})
	every path in [
		"/v1/customers/", "/v1/customers/..", "/v1/customers/a/b", "/v1/customers/42?x=1", "/v1/customers/42#x",
		"/v1/customers/%2e%2e", "/v1/customers/a%2Fb", "/v1//customers/42", "v1/customers/42", "/V1/customers/42",
		"https://evil.example/v1/customers/42", "https://billing.acme.example.evil/v1/customers/42",
		"/v1/customers/{id}", "", null, false, {}, [], 0,
	] {
		not _for_some({"method": "GET", "path": path})
	}
	every method in ["get", "", null, false, {}, [], 0, "GET "] {
		not _for_some({"method": method, "path": "/v1/customers/42"})
	}
	not _allowed("http_request", {"path": "/v1/customers/42"})
	not _allowed("http_request", {"method": "GET"})
}

test_arguments_that_data_does_not_list_are_refused if {
	call := {"method": "GET", "path": "/v1/customers/42", "headers": {"X-HTTP-Method-Override": "DELETE"}}
	_codes("http_request", call) == {"api_argument_unknown"}
}

test_an_operation_is_its_endpoint if {
	_allowed("getCustomer", {"id": "42"})
	_allowed("getCustomer", {"id": 42, "expand": true})
	_allowed("getCustomer", {"id": 5000000000})
	every value in ["../refunds", "a/b", "%2e%2e", "..", ".", "", null, false, {}, [], -1, 1.5] {
		_codes("getCustomer", {"id": value}) == {"api_address_not_plain"}
	}
	_codes("getCustomer", {}) == {"api_address_not_plain"}
	_codes("deleteCustomer", {"id": "42"}) == {"out_of_scope"}
	not _allowed("odd", {})
}

test_another_tool_is_for_no_endpoint if {
	_codes("shell", {"method": "GET", "path": "/v1/customers/42"}) == {"out_of_scope"}
	api.bound
	api.tools == {}
	api.scope == "endpoints"
}
