package mcp.profiles.filesystem_test

import data.mcp.main
import data.mcp.profiles.filesystem

_config := {
	"servers": {"files": {"profile": "filesystem", "hidden_names": ["Private"]}},
	"grants": [
		{
			"id": "g", "groups": ["eng"], "servers": ["files"],
			"toolsets": ["about", "read", "write"], "paths": ["/srv/docs/", "/srv/in"],
		},
		{"id": "a", "groups": ["eng"], "servers": ["files"], "toolsets": ["about", "read"], "tools": ["chmod"]},
	],
}

_decision(tool, arguments) := decision if {
	decision := main.decision with input as {
		"server": "files", "direction": "to_server", "kind": "request", "method": "tools/call",
		"identity": {"subject": "u", "groups": ["eng"]}, "tool": {"name": tool}, "arguments": arguments,
	}
		with data.config as _config
}

_allowed(tool, arguments) if _decision(tool, arguments).allow

_codes(tool, arguments) := {reason.code | some reason in _decision(tool, arguments).reasons}

_wrong(tool, arguments) := codes if {
	codes := {reason.code | some reason in filesystem.unmet} with input as {"tool": {"name": tool}, "arguments": arguments}
}

_unreached(tool, arguments) if {
	not filesystem.targets with input as {"tool": {"name": tool}, "arguments": arguments}
	not filesystem.holds with input as {"tool": {"name": tool}, "arguments": arguments}
}

test_paths_are_at_or_below_those_of_the_grant if {
	every path in ["/srv/docs", "/srv/docs/", "/srv/docs/a/b.md", "/srv/in/x"] {
		_allowed("read_text_file", {"path": path})
	}
	every path in ["/", "/srv", "/srv/", "/srv/docs2/a", "/etc/passwd", "/srv/doc", "/proc/self/root/srv/docs"] {
		not _allowed("read_text_file", {"path": path})
	}
	_codes("read_text_file", {"path": "/etc/passwd"}) == {"out_of_scope"}
}

test_each_path_of_the_call_counts if {
	_allowed("read_multiple_files", {"paths": ["/srv/docs/a", "/srv/in/b"]})
	not _allowed("read_multiple_files", {"paths": ["/srv/docs/a", "/etc/passwd"]})
	not _allowed("read_multiple_files", {"paths": []})
	not _allowed("read_multiple_files", {})
	_allowed("move_file", {"source": "/srv/in/a", "destination": "/srv/docs/a"})
	not _allowed("move_file", {"source": "/srv/in/a", "destination": "/srv/a"})
	not _allowed("move_file", {"source": "/srv/in/a"})
	_codes("move_file", {"source": "/srv/in/a"}) == {"out_of_scope"}
}

test_a_path_is_absolute_and_plain if {
	deep := concat("/", array.concat(["/srv/docs"], [x | some _ in numbers.range(1, 70); x := "d"]))
	every path in array.concat(
		[
			"docs/a", "./a", "~/a", "/srv/docs/../../etc/passwd", "/srv/docs/./a", "/srv//docs/a", "/srv/docs//a",
			"//srv/docs/a", "/srv/docs/a\\..\\b", "/srv/docs/%2e%2e/b", "/srv/docs/a\u0000.md", "C:\\srv\\docs\\a", "",
			null, false, {}, [], 0, [null], [["/srv/docs/a"]],
		],
		[deep],
	) {
		"path_not_plain" in _wrong("read_text_file", {"path": path})
		_unreached("write_file", {"path": path, "content": "x"})
	}
}

test_hidden_names_are_in_no_path if {
	every path in ["/srv/docs/.env", "/srv/docs/.ssh/x", "/srv/docs/.GIT/config", "/srv/docs/private/x"] {
		_codes("read_text_file", {"path": path}) == {"path_hidden"}
	}
	_allowed("read_text_file", {"path": "/srv/docs/.environment"})
}

test_a_call_is_judged_on_all_of_its_arguments if {
	_codes("write_file", {"path": "/srv/docs/a", "content": "x", "follow": true}) == {"file_argument_unknown"}
}

test_what_names_no_path_needs_none if {
	_allowed("list_allowed_directories", {})
	not _allowed("list_allowed_directories", {"path": "/etc"})
}

test_a_tool_that_is_in_no_set_is_granted_by_no_name if not _allowed("chmod", {"path": "/srv/docs/a"})

test_what_is_wrong_with_a_path_is_said if {
	codes := {reason.code | some reason in filesystem.unmet} with input as {
		"server": "files", "tool": {"name": "read_file"},
		"arguments": {"path": "../x"},
	}
		with data.config as _config
	codes == {"path_not_plain"}
}

test_every_tool_is_in_a_known_set if {
	every tool in filesystem.tools {
		filesystem.toolsets[tool.toolset].effect
	}
}
