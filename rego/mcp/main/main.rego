# METADATA
# title: The two questions
# description: |
#   Asks every rule family below `mcp.rules`. Deny beats allow, and nothing allowed means denied.
# schemas:
#   - input: schema.input
package mcp.main

import data.mcp.reason

# METADATA
# title: May this message pass?
# description: |
#   `allow` is what is enforced. `dry_run` is there only where the rules marked `enforcement: dryrun` would
#   change it.
# scope: document
# entrypoint: true
# custom:
#   contract: 1
decision := object.union(_outcome(_enforced), _dry_run)

# METADATA
# title: Which of these things may the caller know of?
# description: From the index of each visible item of `input.items`, as a string, to `true`.
# scope: document
# entrypoint: true
# custom:
#   contract: 1
visible[format_int(index, 10)] := true if some index in data.mcp.rules[_].visible

# METADATA
# description: What is said where nothing allowed the message and no family can say what is missing.
# title: Nothing in the policy allows this
# custom:
#   code: not_granted
_not_granted := reason.of(rego.metadata.rule())

_denials := {denial | some denial in data.mcp.rules[_].deny}

_grants := {grant | some grant in data.mcp.rules[_].allow}

_explanations := {explanation | some explanation in data.mcp.rules[_].explain}

_enforced := {
	"deny": {denial | some denial in _denials; not _is_dry_run(denial)},
	"allow": {grant | some grant in _grants; not _is_dry_run(grant)},
}

_is_dry_run(found) if found.enforcement == "dryrun"

_dry_run := {} if not _marked

_dry_run := _difference(_outcome(_enforced), _outcome({"deny": _denials, "allow": _grants})) if _marked

_marked if {
	some found in (_denials | _grants)
	_is_dry_run(found)
}

_difference(enforced, whole) := {} if enforced.allow == whole.allow

_difference(enforced, whole) := {"dry_run": whole} if enforced.allow != whole.allow

_outcome(found) := {"allow": false, "reasons": _sorted(found.deny)} if count(found.deny) > 0

_outcome(found) := {"allow": true, "reasons": _sorted(found.allow)} if {
	count(found.deny) == 0
	count(found.allow) > 0
}

_outcome(found) := {"allow": false, "reasons": _sorted(_missing)} if {
	count(found.deny) == 0
	count(found.allow) == 0
}

_missing := _explanations if count(_explanations) > 0

_missing := {_not_granted} if count(_explanations) == 0

_sorted(reasons) := [pair[1] | some pair in sort([[found.code, object.remove(found, ["enforcement"])] | some found in reasons])]
