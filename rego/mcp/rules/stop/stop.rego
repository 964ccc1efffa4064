# METADATA
# title: The switch that stops everything
# description: |
#   Where data says `stop`, nothing passes but what ends a task or a session. It beats every grant, and no dry run
#   weakens it.
# related_resources:
#   - ref: https://csrc.nist.gov/pubs/sp/800/61/r3/final
#     description: Containment, in the response to an incident.
# schemas:
#   - input: schema.input
package mcp.rules.stop

import data.mcp.reason

# METADATA
# title: Everything is stopped for now
# description: Data has stopped all calls on every server, for an incident.
# custom:
#   code: stopped
#   help: do not try again; ask the platform team when it is on again
#   severity: high
_stopped := reason.of(rego.metadata.rule())

# METADATA
# description: What this family bars.
# scope: document
deny contains _told if {
	_on
	not _ends
}

# METADATA
# description: Nothing is shown.
hidden.stopped contains index if {
	_on
	some index, _ in input.items
}

# A rule of its own: a condition that looks up what is not there would not hold, negated or not.
_ends if data.mcp.rules.stop.ends[input.method]

# Whatever is written there that is not `false` stops.
_on if data.config.stop != false

_told := reason.detailed(_stopped, {"stop": data.config.stop}) if is_string(data.config.stop)

_told := _stopped if not is_string(data.config.stop)
