# Who may do what, by the grants as they are. A change of grants/ comes with the case that shows it.
package tests.access_test

import data.mcp.main

_call(tool, arguments, groups) := {
	"server": "github",
	"direction": "to_server",
	"kind": "request",
	"method": "tools/call",
	"tool": {"name": tool, "declared": "listed"},
	"arguments": arguments,
	"identity": {"subject": "somebody", "groups": groups},
}

_app := {"owner": "acme", "repo": "app"}

test_engineers_read_the_app if {
	main.decision.allow with input as _call("get_commit", object.union(_app, {"sha": "abc"}), ["engineering"])
}

test_engineers_read_nothing_else if {
	secret := {"owner": "acme", "repo": "secret", "sha": "abc"}
	not main.decision.allow with input as _call("get_commit", secret, ["engineering"])
}

test_engineers_do_not_merge if {
	merge := object.union(_app, {"pullNumber": 1})
	some why in main.decision.reasons with input as _call("merge_pull_request", merge, ["engineering"])
	why.code == "merge_not_granted"
}

test_nobody_else_does_anything if {
	not main.decision.allow with input as _call("get_commit", object.union(_app, {"sha": "abc"}), [])
}
