# METADATA
# title: Working hours
# description: |
#   Where data gives a server `hours`, its tools may be called within them only. Hours of one grant are in the grant.
# related_resources:
#   - ref: https://www.openpolicyagent.org/docs/policy-reference/builtins/time
#     description: Not used. The time is `input.time_ms`, so that a recorded decision can be replayed.
# schemas:
#   - input: schema.input
package mcp.rules.hours

import data.mcp.reason
import data.mcp.request

# METADATA
# title: The tools of this server may be called in working hours only
# description: The hours are in data, with the offset of the clock on the wall. Malformed hours are no hours.
# custom:
#   code: server_closed
#   severity: low
_server_closed := reason.of(rego.metadata.rule())

# METADATA
# description: What this family bars.
# scope: document
deny contains reason.detailed(_server_closed, {"hours": request.settings.hours}) if {
	input.method == "tools/call"
	request.settings.hours != false
	not request.within(request.settings.hours)
}
