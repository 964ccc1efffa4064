# METADATA
# title: Slack
# description: |
#   What a call must satisfy beyond its grant: posts go to the channels of the grant, never to a person, and call
#   nobody together. Which tool does what is in data.yaml beside this file.
# related_resources:
#   - ref: https://docs.slack.dev/messaging/formatting-message-text
# schemas:
#   - input: schema.input
package mcp.profiles.slack

import data.mcp.reason
import data.mcp.request

# METADATA
# description: Everything that the tool asks of its arguments holds.
holds if {
	_channels_are_channels
	_types_are_channels
	_arguments_known
	_calls_nobody
}

# METADATA
# description: The grant must say in which channels. So must one for a tool that is in no set.
bound if not _toolset

bound if data.mcp.profiles.slack.toolsets[_toolset].bound

# METADATA
# description: The channels that the call names; each must be in the grant.
targets := [{channel} | some channel in _channels]

# METADATA
# description: By each channel of the caller's grants, the arguments that may name it, for a schema that is narrowed.
within[channel] := {name: channel | some name in data.mcp.profiles.slack.channel_arguments} if {
	some grant in request.grants
	some channel in grant.channels
}

# METADATA
# title: A direct message, or no channel at all
# description: A channel is an id that begins with C or G, or a name that begins with #. People have other ids.
# custom:
#   code: direct_message
#   help: write in a channel that the grant names
unmet contains reason.of(rego.metadata.rule()) if not _channels_are_channels

# METADATA
# title: Direct messages are not listed
# description: The types of channels to list are public_channel and private_channel.
# custom:
#   code: direct_messages_listed
unmet contains reason.of(rego.metadata.rule()) if not _types_are_channels

# METADATA
# title: The message calls many people
# description: |
#   No text, block or attachment mentions a whole channel, everyone who is here, or a group. Structure that is given as
#   text with escapes cannot be looked at.
# custom:
#   code: broadcast_mention
#   help: leave out @channel, @here, @everyone and mentions of groups
unmet contains reason.of(rego.metadata.rule()) if not _calls_nobody

# METADATA
# title: The call has an argument that the policy does not know
# description: A call is judged on all of its arguments, or not allowed.
# custom:
#   code: slack_argument_unknown
unmet contains reason.of(rego.metadata.rule()) if not _arguments_known

_tool := data.mcp.profiles.slack.tools[input.tool.name]

_toolset := _tool.toolset

_channels := [request.arguments[name] |
	some name in data.mcp.profiles.slack.channel_arguments
	name in request.given
]

_channels_are_channels if {
	every channel in _channels {
		_is_channel(channel)
	}
}

_is_channel(channel) if {
	is_string(channel)
	substring(channel, 0, 1) in {"C", "G"}
	count(channel) > 1
	trim(channel, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

_is_channel(channel) if {
	startswith(channel, "#")
	count(channel) > 1
	not contains(channel, "@")
	not contains(channel, " ")
}

_types_are_channels if not "channel_types" in request.given

_types_are_channels if {
	every kind in split(request.arguments.channel_types, ",") {
		trim_space(kind) in {"private_channel", "public_channel"}
	}
}

_arguments_known if not _tool.arguments

_arguments_known if {
	every name, _ in request.arguments {
		name in _tool.arguments
	}
}

_calls_nobody if data.mcp.profiles.slack.toolsets[_toolset].effect == "read"

_calls_nobody if {
	text := lower(json.marshal(request.arguments))
	every mention in data.mcp.profiles.slack.broadcasts {
		not contains(text, mention)
	}
	every name in data.mcp.profiles.slack.rich_arguments {
		not _hides_letters(name)
	}
}

_hides_letters(name) if contains(lower(request.arguments[name]), "\\u")
