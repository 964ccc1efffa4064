package mcp.rules.undeclared_test

import data.mcp.rules.undeclared

_codes(value) := codes if {
	codes := {reason.code | some reason in undeclared.deny} with input as {"undeclared_arguments": value}
}

test_an_undeclared_argument_bars_the_call if _codes(["/Owner"]) == {"undeclared_arguments"}

test_none_bars_nothing if {
	_codes([]) == set()
	count(undeclared.deny) == 0 with input as {}
}

test_another_type_bars_the_call if {
	every value in [null, false, {}, "x", 0] {
		_codes(value) == {"undeclared_arguments"}
	}
}
