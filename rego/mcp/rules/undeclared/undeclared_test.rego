package mcp.rules.undeclared_test

import data.mcp.rules.undeclared

_call(more) := object.union({"server": "s", "method": "tools/call", "tool": {"name": "t"}, "arguments": {"a": 1}}, more)

_codes(more, config) := codes if {
	codes := {reason.code | some reason in undeclared.deny} with input as _call(more) with data.config as config
}

test_an_argument_that_the_schema_rules_out_bars_the_call if {
	_codes({"undeclared_arguments": ["/Owner"], "tool": {"closed": true}}, {}) == {"undeclared_arguments"}
}

test_one_that_it_does_not_rule_out_bars_nothing if {
	_codes({"undeclared_arguments": ["/x"], "tool": {"closed": false}}, {}) == set()
}

test_what_is_not_known_to_be_open_is_closed if {
	_codes({"undeclared_arguments": ["/Owner"]}, {}) == {"undeclared_arguments"}
	every value in [null, 0, "false", [], {}] {
		_codes({"undeclared_arguments": ["/Owner"], "tool": {"closed": value}}, {}) == {"undeclared_arguments"}
	}
}

_switched_on := [
config |
	some value in [true, null, 0, "", [], {}]
	some config in [{"declared_only": value}, {"servers": {"s": {"declared_only": value}}}]
]

test_data_bars_all_of_them if {
	every config in _switched_on {
		_codes({"undeclared_arguments": ["/x"], "tool": {"closed": false}}, config) == {"undeclared_arguments"}
		_codes({"undeclared_arguments": []}, config) == set()
	}
}

test_data_bars_what_is_not_known if {
	every config in _switched_on {
		_codes({}, config) == {"declaration_unknown"}
		_codes({"arguments": null}, config) == set()
		_codes({"method": "prompts/get"}, config) == set()
	}
}

test_the_switch_is_off_where_data_says_so_or_nothing if {
	every config in [
		{}, {"declared_only": false}, {"servers": {"s": {"declared_only": false}}},
		{"servers": {"other": {"declared_only": true}}},
	] {
		_codes({"undeclared_arguments": ["/x"], "tool": {"closed": false}}, config) == set()
		_codes({}, config) == set()
	}
}

test_none_bars_nothing if {
	_codes({"undeclared_arguments": []}, {}) == set()
	count(undeclared.deny) == 0 with input as {} with data.config as {}
}

test_another_type_bars_the_call if {
	every value in [null, false, {}, "x", 0] {
		_codes({"undeclared_arguments": value}, {}) == {"undeclared_arguments"}
		_codes({"undeclared_arguments": value}, {"declared_only": true}) == {"undeclared_arguments", "declaration_unknown"}
	}
}
