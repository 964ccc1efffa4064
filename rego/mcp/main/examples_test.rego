package mcp.examples_test

import data.mcp.main

# What a canary leaves out of its input, as the sidecar fills it in.
_plain_call := {
	"time": "2026-11-24T10:26:14.008Z",
	"time_ms": 1795515974008,
	"direction": "to_server",
	"kind": "request",
	"method": "tools/call",
	"params": {},
	"identity": {"source": "pomerium", "groups": [], "claims": {}},
}

# Each `example.yaml` is data as below `config`, and canaries that hold with it.
test_example[name] if {
	some family
	example := data.mcp.rules[family].example
	some title, canary in example.canaries
	name := concat(": ", [family, title])
	decision := main.decision with input as object.union(_plain_call, canary.input) with data.config as example
	decision.allow == canary.allow
	_said(decision, canary)
}

_said(_, canary) if not canary.code

_said(decision, canary) if {
	some found in decision.reasons
	found.code == canary.code
}
