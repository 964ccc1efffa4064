# METADATA
# title: The two questions
# description: |
#   Asks every rule family below `mcp.rules`. Deny beats allow, and nothing allowed means denied.
# schemas:
#   - input: schema.input
package mcp.main

import data.mcp.reason
import data.mcp.request

# METADATA
# title: May this message pass?
# description: |
#   `allow` is what is enforced. `dry_run` is there only where the rules that are not enforced yet would change it:
#   those marked `enforcement: dryrun`, and those that `config.dry_run` names.
# scope: document
# entrypoint: true
# custom:
#   contract: 1
decision := _outcome(_denials, _grants) if not _any_dry

decision := _enforced if {
	_any_dry
	_enforced.allow == _whole.allow
}

decision := object.union(_enforced, {"dry_run": _whole}) if {
	_any_dry
	_enforced.allow != _whole.allow
}

# METADATA
# title: Which of these things may the caller know of?
# description: |
#   From the index of each visible item of `input.items`, as a string, to `true` or to a narrowed schema. What one
#   family shows and another hides is hidden.
# scope: document
# entrypoint: true
# custom:
#   contract: 1
visible[format_int(index, 10)] := _shown(index) if {
	not _all_dry
	some index in data.mcp.rules[_].visible
	not _hidden[index]
}

visible[format_int(index, 10)] := true if {
	_all_dry
	some index, _ in input.items
}

# METADATA
# description: What is said where nothing allowed the message and no family can say what is missing.
# title: Nothing in the policy allows this
# custom:
#   code: not_granted
_not_granted := reason.of(rego.metadata.rule())

# METADATA
# description: What is said of a message that the policy would refuse where all of it runs dry.
# title: The policy is not enforced here, only evaluated
# custom:
#   code: dry_run
_not_enforced := reason.of(rego.metadata.rule())

_denials := [denial | some denial in data.mcp.rules[_].deny]

_grants := [grant | some grant in data.mcp.rules[_].allow]

_explanations := [explanation | some explanation in data.mcp.rules[_].explain]

_whole := _outcome(_denials, _grants)

_enforced := _outcome([d | some d in _denials; not _is_dry(d)], [g | some g in _grants; not _is_dry(g)]) if not _all_dry

_enforced := _whole if {
	_all_dry
	_whole.allow
}

_enforced := {"allow": true, "reasons": [_not_enforced]} if {
	_all_dry
	not _whole.allow
}

# With a default: what is undefined is evaluated anew at each mention.
default _any_dry := false

_any_dry if _all_dry

_any_dry if {
	some found in _denials
	_is_dry(found)
}

_any_dry if {
	some found in _grants
	_is_dry(found)
}

default _all_dry := false

# Who is not known is never let in.
_all_dry if {
	"all" in _dry_settings
	request.identified
	not _stopped
}

# The switch that stops everything is never a trial.
_stopped if {
	some found in _denials
	found.code in _always
}

_always := {"stopped"}

_is_dry(found) if found.enforcement == "dryrun"

_is_dry(found) if {
	some codes in _dry_settings
	is_array(codes)
	found.code in codes
	not found.code in _always
}

_dry_settings contains data.config.dry_run

_dry_settings contains request.settings.dry_run

_hidden := {index |
	some code, indexes in data.mcp.rules[_].hidden
	not _is_dry({"code": code})
	some index in indexes
}

_shown(index) := {"inputSchema": _narrowed[index]} if _narrowed[index]

_shown(index) if not _narrowed[index]

# What one family narrows and another shows as it is may be called as it is.
_narrowed[index] := schema if {
	some family
	schema := data.mcp.rules[family].narrowed[index]
	[showing | data.mcp.rules[showing].visible[index]] == [family]
}

_outcome(denials, _) := {"allow": false, "reasons": _sorted(denials)} if count(denials) > 0

_outcome(denials, grants) := {"allow": true, "reasons": _sorted(grants)} if {
	count(denials) == 0
	count(grants) > 0
}

_outcome(denials, grants) := {"allow": false, "reasons": _sorted(_missing)} if {
	count(denials) == 0
	count(grants) == 0
}

_missing := _explanations if count(_explanations) > 0

_missing := [_not_granted] if count(_explanations) == 0

# Arrays until here: a set would hash each reason whole.
_sorted(reasons) := [object.remove(found, ["enforcement"]) | some found in reasons] if count(reasons) < 2

_sorted(reasons) := [pair[1] |
	some pair in sort({[found.code, object.remove(found, ["enforcement"])] | some found in reasons})
] if {
	count(reasons) > 1
}
