package mcp.rules.hours_test

import data.mcp.rules.hours

_week := {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "18:00"}

# A Sunday evening.
_call := {"server": "s", "method": "tools/call", "time_ms": 1795379174008}

test_a_server_may_have_hours if {
	{reason.code | some reason in hours.deny} == {"server_closed"} with input as _call
		with data.config.servers as {"s": {"hours": _week}}
	count(hours.deny) == 0 with input as _call
		with data.config.servers as {"s": {"hours": object.union(_week, {"days": ["sun"], "to": "24:00"})}}
}

test_malformed_hours_close_it if {
	every value in [null, true, {}, [], "mon", 0] {
		count(hours.deny) == 1 with input as _call with data.config.servers as {"s": {"hours": value}}
	}
}

test_without_hours_it_is_open if {
	count(hours.deny) == 0 with input as _call with data.config.servers as {"s": {}}
	count(hours.deny) == 0 with input as _call with data.config as {}
	count(hours.deny) == 0 with input as object.union(_call, {"method": "tools/list"})
		with data.config.servers as {"s": {"hours": _week}}
}
