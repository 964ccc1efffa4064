package mcp.profiles.github_test

import data.mcp.profiles.github

# Values that no condition on a string may accept.
_others := [null, false, true, {}, [], "", 0, 1]

_settings := {
	"profile": "github",
	"working_branches": ["agent/", "feature/", "", 7],
	"protected_branches": ["main", "agent/release", "feature/locked/*"],
	"repositories": {"acme/app": {"protected_branches": ["agent/app-only"]}},
}

_input(tool, arguments) := {
	"server": "github",
	"tool": {"name": tool},
	"arguments": object.union({"owner": "acme", "repo": "app"}, arguments),
}

_holds(tool, arguments) if _holds_with(tool, arguments, _settings)

_holds_with(tool, arguments, settings) if {
	github.holds with input as _input(tool, arguments) with data.config.servers as {"github": settings}
}

_unmet(tool, arguments) := codes if {
	codes := {reason.code | some reason in github.unmet} with input as _input(tool, arguments)
		with data.config.servers as {"github": _settings}
}

_extra(tool, arguments) := sets if {
	sets := {toolset | some toolset, _ in github.extra} with input as _input(tool, arguments)
		with data.config.servers as {"github": _settings}
}

_file(more) := object.union({"path": "src/a.ts", "content": "x", "message": "m", "branch": "agent/x"}, more)

_without(arguments, name) := object.remove(arguments, [name])

test_every_tool_is_in_a_known_set if {
	every tool in github.tools {
		github.toolsets[tool.toolset]
	}
}

test_every_check_is_known if {
	every tool in github.tools {
		every check in object.get(tool, "checks", []) {
			check in {
				"base", "branch", "event", "files", "labels", "path", "review_method",
				"text", "unseen_base", "workflow_method",
			}
		}
	}
}

test_a_tool_without_checks_holds if {
	_holds("get_commit", {})
	_holds("merge_pull_request", {"pullNumber": 7})
	_holds("a_tool_of_another_version", {})
}

test_files_are_written_on_working_branches if {
	every tool in ["create_or_update_file", "delete_file"] {
		_holds(tool, _without(_file({}), "content"))
		not _holds(tool, _without(_without(_file({}), "content"), "branch"))
	}
	_holds("create_or_update_file", _file({"branch": "feature/a/b-1_2.x"}))
	_unmet("create_or_update_file", _file({"branch": "main"})) == {"protected_branch"}
	_unmet("create_or_update_file", _without(_file({}), "branch")) == {"protected_branch"}
}

_bad_branches := array.concat(_others, [
	"main", "Main", " main", "agent", "agent/", "agent//x", "agent/./x", "agent/../main", "/agent/x", "agent/x/",
	"refs/heads/agent/x", "refs/heads/main", "heads/agent/x", "remotes/origin/agent/x", " agent/x", "agent/x ",
	"agent/x y", "agent/x%2f", "agent/x:y", "agent/x\n", "agent/é", "Agent/x", "AGENT/x", "fix/other",
	"agent/release", "agent/Release", "feature/locked/x", "agent/app-only", "xagent/x", ["agent/x"],
])

test_a_branch_that_is_not_a_plain_working_branch_does_not_hold if {
	every branch in _bad_branches {
		not _holds("create_or_update_file", _file({"branch": branch}))
		not _holds("delete_file", _without(_file({"branch": branch}), "content"))
		not _holds("create_branch", {"branch": branch, "from_branch": "main"})
		not _holds("push_files", {"branch": branch, "message": "m", "files": [{"path": "a", "content": "b"}]})
	}
}

test_branches_are_made_below_working_prefixes if {
	_holds("create_branch", {"branch": "agent/x", "from_branch": "main"})
	_holds("create_branch", {"branch": "agent/x"})
	not _holds("create_branch", {"from_branch": "agent/x"})
	_unmet("create_branch", {"branch": "release"}) == {"protected_branch"}
}

test_a_prefix_in_refs_is_still_no_working_branch if {
	settings := {"profile": "github", "working_branches": ["refs/", "heads/"]}
	not _holds_with("create_branch", {"branch": "refs/heads/main"}, settings)
	not _holds_with("create_branch", {"branch": "heads/main"}, settings)
}

test_a_branch_protected_in_one_repository_is_free_in_another if {
	_holds("create_branch", {"repo": "other", "branch": "agent/app-only"})
	not _holds("create_branch", {"repo": "APP", "branch": "agent/app-only"})
}

test_without_working_branches_or_with_malformed_protection_nothing_is_written if {
	not _holds_with("create_branch", {"branch": "agent/x"}, {"profile": "github"})
	_holds_with("create_branch", {"branch": "agent/x"}, {"profile": "github", "working_branches": ["agent/"]})
	every value in _others {
		not _holds_with("create_branch", {"branch": "agent/x"}, {"working_branches": value})
		_malformed_protection_bars(value)
	}
}

_malformed_protection_bars([])

_malformed_protection_bars(value) if {
	value != []
	settings := {"working_branches": ["agent/"], "protected_branches": value}
	not _holds_with("create_branch", {"branch": "agent/x"}, settings)
}

_bad_paths := array.concat(_others, [
	".github/workflows/ci.yml", ".GitHub/workflows/ci.yml", ".github", "/.github/x", "./.github/x", "a/../.github/x",
	"%2egithub/workflows/x.yml", ".github%2fx", "a\\..\\.github\\x", "/a", "a/", "a//b", "../a", "a/..", ".", " a",
	"a ", "a?x", "a#x", "a\nb", "a/.git/config", ".git/hooks", "src/é.ts", ["src/a.ts"],
])

test_a_path_that_is_not_plain_or_is_below_github_does_not_hold if {
	every path in _bad_paths {
		not _holds("create_or_update_file", _file({"path": path}))
		not _holds("delete_file", _without(_file({"path": path}), "content"))
		not _holds("push_files", {"branch": "agent/x", "message": "m", "files": [{"path": path, "content": "b"}]})
	}
	not _holds("create_or_update_file", _without(_file({}), "path"))
	_unmet("create_or_update_file", _file({"path": ".github/x"})) == {"workflow_file"}
}

test_plain_paths_hold if {
	every path in ["a", "src/a.ts", "docs/.github/x", "app/[id]/(group)/@modal/page.tsx", ".gitignore", "a b.txt"] {
		_holds("create_or_update_file", _file({"path": path}))
	}
}

test_each_pushed_file_must_hold if {
	push := {"branch": "agent/x", "message": "m"}
	good := {"path": "src/a.ts", "content": "x"}
	bad := {"path": ".github/workflows/x.yml", "content": "x"}
	_holds("push_files", object.union(push, {"files": [good, good]}))
	_unmet("push_files", object.union(push, {"files": [good, bad]})) == {"workflow_file"}
	not _holds("push_files", push)
	every value in [null, false, {}, "x", 0, {"a": good}, [null], [false], [{}], ["src/a.ts"], [0], [good, {}]] {
		not _holds("push_files", object.union(push, {"files": value}))
	}
}

test_an_argument_that_the_policy_does_not_know_does_not_hold if {
	_unmet("create_or_update_file", _file({"allow_symlink_write": true})) == {"argument_unknown"}
	_unmet("create_or_update_file", _file({"Branch": "main"})) == {"argument_unknown"}
	not _holds("create_pull_request", {"title": "t", "head": "agent/x", "base": "main", "auto_merge": true})
}

test_an_address_stays_within_the_repository if {
	every name in ["path", "ref", "sha", "tag", "workflow_id"] {
		_holds("get_tag", {name: "a/b...c/[...slug].tsx"})
		_holds("get_tag", {name: ""})
		_holds("get_tag", {name: 7})
		every value in [
			null, false, {}, [], "..", "a/../b", "../../../other/private", "%2e%2e/x",
			"a?b", "a#b", "a\\..\\b", ".",
		] {
			not _holds("get_tag", {name: value})
		}
	}
	_unmet("get_tag", {"tag": "../x"}) == {"address_not_plain"}
	_holds("merge_pull_request", {"pullNumber": 7})
	every value in [7.5, -7, null, false, {}, "../7"] {
		not _holds("merge_pull_request", {"pullNumber": value})
	}
	_holds("get_tag", {"body": "../x"})
}

test_the_base_is_changed_only_by_those_who_merge if {
	_extra("update_pull_request", {"pullNumber": 7}) == set()
	_holds("update_pull_request", {"pullNumber": 7, "title": "t", "state": "closed"})
	_extra("update_pull_request", {"pullNumber": 7, "base": "x"}) == {"merge"}
	_holds("update_pull_request", {"pullNumber": 7, "base": "x"})
	every value in [null, false, {}, "", "main", 0] {
		_extra("update_pull_request", {"pullNumber": 7, "base": value}) == {"merge"}
	}
	every value in [null, false, {}, 0] {
		not _holds("update_pull_request", {"pullNumber": 7, "base": value})
	}
	_extra("create_pull_request", {"base": "main"}) == set()
}

_reviews := ["create_and_submit_pull_request_review", "create_pull_request_review", "submit_pending_pull_request_review"]

test_a_review_that_approves_needs_approve if {
	every tool in _reviews {
		_extra(tool, {"pullNumber": 7, "body": "b", "event": "APPROVE"}) == {"approve"}
		_holds(tool, {"pullNumber": 7, "body": "b", "event": "APPROVE"})
		_extra(tool, {"pullNumber": 7, "body": "b", "event": "COMMENT"}) == set()
		_holds(tool, {"pullNumber": 7, "body": "b", "event": "REQUEST_CHANGES"})
		_unmet(tool, {"pullNumber": 7, "body": "b"}) == {"review_event"}
		every value in array.concat(_others, ["approve", "Approve", "APPROVE "]) {
			not _holds(tool, {"pullNumber": 7, "body": "b", "event": value})
		}
	}
}

test_the_review_tool_with_methods_is_judged_method_by_method if {
	_holds("pull_request_review_write", {"method": "create", "pullNumber": 7})
	_holds("pull_request_review_write", {"method": "delete_pending", "pullNumber": 7})
	_unmet("pull_request_review_write", {"method": "submit_pending", "pullNumber": 7}) == {"review_event"}
	_extra("pull_request_review_write", {"method": "submit_pending", "event": "APPROVE"}) == {"approve"}
	_unmet("pull_request_review_write", {"pullNumber": 7}) == {"method_unknown"}
	every value in array.concat(_others, ["Create", "approve"]) {
		not _holds("pull_request_review_write", {"method": value, "pullNumber": 7})
	}
}

test_the_workflow_tool_with_methods_is_judged_method_by_method if {
	_holds("actions_run_trigger", {"method": "run_workflow", "workflow_id": "x", "ref": "main"})
	_extra("actions_run_trigger", {"method": "run_workflow"}) == set()
	_extra("actions_run_trigger", {"method": "delete_workflow_run_logs", "run_id": 1}) == {"admin"}
	_unmet("actions_run_trigger", {}) == {"method_unknown"}
	every value in array.concat(_others, ["Run_workflow", "enable_workflow"]) {
		not _holds("actions_run_trigger", {"method": value})
	}
}

test_labels_on_which_bots_merge_are_not_set if {
	every tool in ["update_issue", "issue_write", "update_issue_labels"] {
		_holds(tool, {"issue_number": 7, "labels": ["bug", "merged-in-error"]})
		_holds(tool, {"issue_number": 7, "labels": []})
		_holds(tool, {"issue_number": 7})
		_unmet(tool, {"issue_number": 7, "labels": ["bug", "AutoMerge"]}) == {"merge_label"}
		every value in [null, false, {}, "automerge", 0, [null], [{}], [{"name": "automerge"}], [["automerge"]], [1]] {
			not _holds(tool, {"issue_number": 7, "labels": value})
		}
	}
}

test_texts_to_which_bots_merge_are_not_written if {
	every tool in ["add_issue_comment", "update_pull_request", "update_pull_request_body", "create_issue"] {
		_holds(tool, {"body": "Please look at docs/merge and /merge-notes in it.\n> quoted"})
		_holds(tool, {})
		every text in ["/merge", "/Merge squash", "Fine.\n  /lgtm", "ok\r/merge", "ok\r\n@dependabot merge", "bors r+"] {
			_unmet(tool, {"body": text}) == {"merge_command"}
		}
		every value in [null, false, {}, [], 0] {
			not _holds(tool, {"body": value})
		}
	}
	_unmet("create_issue", {"title": "/merge"}) == {"merge_command"}
}

_merge_extra(settings) := sets if {
	sets := {toolset | some toolset, _ in github.extra} with input as _input("merge_pull_request", {"pullNumber": 7})
		with data.config.servers as {"github": settings}
}

test_a_merge_by_number_is_taken_to_be_into_a_protected_branch_where_there_are_any if {
	_extra("merge_pull_request", {"pullNumber": 7}) == {"merge_protected"}
	_extra("update_pull_request_branch", {"pullNumber": 7}) == {"merge_protected"}
	_holds("merge_pull_request", {"pullNumber": 7})
	_merge_extra({}) == set()
	_merge_extra({"protected_branches": []}) == set()
	_merge_extra({"protected_branches": ["main"]}) == {"merge_protected"}
	_merge_extra({"repositories": {"acme/app": {"protected_branches": ["main"]}}}) == {"merge_protected"}
	_merge_extra({"repositories": {"acme/other": {"protected_branches": ["main"]}}}) == set()
	every value in [null, false, {}, "", 0] {
		_merge_extra({"protected_branches": value}) == {"merge_protected"}
	}
}
