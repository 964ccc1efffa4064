package mcp.profiles.slack_test

import data.mcp.main
import data.mcp.profiles.slack

_config := {
	"servers": {"slack": {"profile": "slack"}},
	"grants": [
		{
			"id": "g", "groups": ["eng"], "servers": ["slack"],
			"toolsets": ["read", "post", "react", "people"], "channels": ["C0DEPLOYS", "#deploys"],
		},
		{"id": "h", "groups": ["eng"], "servers": ["slack"], "toolsets": ["read", "post", "manage"], "tools": ["send"]},
	],
}

_decision(tool, arguments) := decision if {
	decision := main.decision with input as {
		"server": "slack", "direction": "to_server", "kind": "request", "method": "tools/call",
		"identity": {"subject": "u", "groups": ["eng"]}, "tool": {"name": tool}, "arguments": arguments,
	}
		with data.config as _config
}

_allowed(tool, arguments) if _decision(tool, arguments).allow

_codes(tool, arguments) := {reason.code | some reason in _decision(tool, arguments).reasons}

_wrong(tool, arguments) := codes if {
	codes := {reason.code | some reason in slack.unmet} with input as {"tool": {"name": tool}, "arguments": arguments}
}

_post(more) := object.union({"channel_id": "C0DEPLOYS", "text": "v1.2 is out"}, more)

test_posts_go_to_named_channels if {
	_allowed("slack_post_message", _post({}))
	_allowed("conversations_add_message", {"channel_id": "#deploys", "payload": "v1.2 is out"})
	_allowed("slack_add_reaction", {"channel_id": "C0DEPLOYS", "timestamp": "1.2", "reaction": "eyes"})
	_codes("slack_post_message", _post({"channel_id": "C0GENERAL"})) == {"out_of_scope"}
	_codes("slack_post_message", {"text": "x"}) == {"out_of_scope"}
	every value in [null, false, {}, [], "", 0, "c0deploys", "C0DEPLOYS ", ["C0DEPLOYS"]] {
		not _allowed("slack_post_message", _post({"channel_id": value}))
	}
}

test_a_second_name_of_a_channel_must_be_granted_too if {
	not _allowed("send", _post({"channel": "C0GENERAL"}))
}

test_reading_needs_no_channel_in_the_grant if {
	_allowed("slack_get_channel_history", {"channel_id": "C0GENERAL"})
	_allowed("channels_list", {"channel_types": "public_channel, private_channel"})
	_codes("channels_list", {"channel_types": "public_channel,im"}) == {"direct_messages_listed"}
	every value in [null, false, {}, [], "", 0, "mpim"] {
		not _allowed("channels_list", {"channel_types": value})
	}
}

test_nothing_is_written_to_or_read_from_a_person if {
	every channel in ["D012", "U012", "W012", "@ann", "#@ann", "#a b", "#", "C", "C0%", "", null, 1, {}] {
		every tool in ["slack_get_channel_history", "slack_post_message", "send"] {
			"direct_message" in _wrong(tool, {"channel_id": channel})
		}
	}
	_codes("slack_get_channel_history", {"channel_id": "D012"}) == {"direct_message"}
	grant := {"id": "d", "groups": ["eng"], "servers": ["slack"], "toolsets": ["post"], "channels": ["D012"]}
	decision := main.decision with input as {
		"server": "slack", "direction": "to_server", "kind": "request", "method": "tools/call",
		"identity": {"subject": "u", "groups": ["eng"]}, "tool": {"name": "slack_post_message"},
		"arguments": {"channel_id": "D012", "text": "x"},
	}
		with data.config as object.union(_config, {"grants": [grant]})
	[reason.code | some reason in decision.reasons] == ["direct_message"]
}

test_nobody_is_called_together if {
	every text in ["<!channel>", "<!here|here>", "<!EVERYONE>", "<!subteam^S1>", "hi @channel", "@here!", "@Everyone"] {
		_wrong("slack_post_message", _post({"text": text})) == {"broadcast_mention"}
		_wrong("slack_post_message", _post({"blocks": [{"text": {"text": text}}]})) == {"broadcast_mention"}
		_wrong("slack_post_message", _post({"attachments": [{"pretext": text}]})) == {"broadcast_mention"}
		_wrong("slack_post_message", _post({"blocks": json.marshal([{"text": text}])})) == {"broadcast_mention"}
	}
	rich := [{"type": "rich_text", "elements": [{"type": "broadcast", "range": "here"}]}]
	_wrong("slack_post_message", _post({"blocks": rich})) == {"broadcast_mention"}
	_wrong("slack_post_message", _post({"blocks": json.marshal(rich)})) == {"broadcast_mention"}
	_wrong("slack_post_message", _post({"blocks": `[{"text": "<\u0021here>"}]`})) == {"broadcast_mention"}
	_wrong("slack_post_message", _post({"blocks": [{"text": {"text": "here, everyone is fine"}}]})) == set()
}

test_a_call_is_judged_on_all_of_its_arguments if {
	_codes("slack_post_message", _post({"as_user": true})) == {"slack_argument_unknown"}
	_codes("slack_post_message", _post({"reply_broadcast": true})) == {"broadcast_mention", "slack_argument_unknown"}
}

test_a_tool_that_is_in_no_set_is_held_to_the_same if {
	_codes("send", _post({})) == {"out_of_scope"}
	_allowed("usergroups_create", {"name": "x"})
}

test_every_tool_is_in_a_known_set if {
	every tool in slack.tools {
		slack.toolsets[tool.toolset].effect
	}
}
