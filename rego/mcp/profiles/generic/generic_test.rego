package mcp.profiles.generic_test

import data.mcp.profiles.generic

test_nothing_is_needed_beyond_the_grant if {
	generic.holds
	generic.tools == {}
}
