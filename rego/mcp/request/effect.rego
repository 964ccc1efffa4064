package mcp.request

# METADATA
# description: |
#   What a tool does: `read`, `write` or `destructive`. The team's data says it, else the profile, else the tool's own
#   annotations where data trusts them. Nothing known is destructive: a missing hint is not a safe one.
effect(name, annotations) := found if {
	found := [effect |
		some effect in [_by_team(name), _by_profile(name), _by_hints(annotations)]
		effect != ""
	][0]
} else := "destructive"

# A word that is none of the three must not read as harmless.
_by_team(name) := "destructive" if {
	effect := settings.effects[name]
	not effect in data.mcp.request.effects
} else := object.get(settings, ["effects", name], "")

_by_profile(name) := effect if {
	effect := data.mcp.profiles[profile].tools[name].effect
} else := data.mcp.profiles[profile].toolsets[toolset].effect if {
	toolset := data.mcp.profiles[profile].tools[name].toolset
} else := ""

_by_hints(annotations) := "read" if {
	settings.trust_annotations == true
	annotations.readOnlyHint == true
} else := "write" if {
	settings.trust_annotations == true
	annotations.destructiveHint == false
} else := ""
