# METADATA
# title: GitHub
# description: |
#   What a call must satisfy beyond its grant, so that who may propose a change cannot merge it by a side road.
#   Which tool does what is in data.yaml beside this file.
# related_resources:
#   - ref: https://github.com/github/github-mcp-server#tools
#   - ref: https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-protected-branches/about-protected-branches
#     description: What a policy on calls cannot see.
# schemas:
#   - input: schema.input
package mcp.profiles.github

import data.mcp.reason
import data.mcp.request

# METADATA
# description: Everything that the tool asks of its arguments holds.
holds if {
	count(_failed) == 0
	_arguments_known
	_addresses_plain
}

# METADATA
# description: |
#   How grants may name the repository of the call: `owner/repo` and `owner/*`, in lower case as GitHub folds
#   them. Without a plain owner and repository there is no target, and no grant that lists repositories holds.
targets := [{
	concat("/", [_owner, _repo]),
	concat("/", [_owner, "*"]),
}]

# METADATA
# description: |
#   By each pattern of the caller's grants, the arguments that it says in full, for a schema that is narrowed.
within[pattern] := object.filter({"owner": owner, "repo": repo}, names) if {
	some grant in request.grants
	some pattern in grant.repositories
	[owner, repo] := split(pattern, "/")
	names := [name | some name, value in {"owner": owner, "repo": repo}; value != "*"]
}

# METADATA
# description: |
#   Addresses, in lower case, below which an answer to this call may embed resources and link to them: the
#   repository that it was allowed to read.
answers contains concat("", ["repo://", _owner, "/", _repo, "/"])

# METADATA
# title: Approving a pull request
# description: A review that approves needs the set `approve` besides the tool.
# custom:
#   code: approval_not_granted
#   help: leave a comment instead and ask a person to approve
_approval_not_granted := reason.of(rego.metadata.rule())

# METADATA
# description: What the call needs besides its tool, by the set that gives it.
extra[toolset] := found if {
	some check in _checks
	[toolset, found] := _needed(check)
}

_needed("event") := ["approve", _approval_not_granted] if request.arguments.event == "APPROVE"

# METADATA
# title: Changing the base of a pull request
# description: An approved pull request with another base merges elsewhere than its reviewers saw.
# custom:
#   code: base_change_not_granted
#   help: leave the base out, or open a new pull request
_base_change_not_granted := reason.of(rego.metadata.rule())

_needed("base") := ["merge", _base_change_not_granted] if "base" in request.given

# METADATA
# title: Merging where branches are protected
# description: |
#   The call has a number and does not say into which branch it merges. Where data names protected branches, it is
#   taken to be one of them.
# custom:
#   code: protected_merge_not_granted
#   help: ask a maintainer to merge; a call does not say into which branch it merges
_protected_merge_not_granted := reason.of(rego.metadata.rule())

_needed("unseen_base") := ["merge_protected", _protected_merge_not_granted] if not _nothing_protected

# METADATA
# title: Deleting the logs of a workflow run
# description: The one method of `actions_run_trigger` that destroys a record.
# custom:
#   code: log_deletion_not_granted
_log_deletion_not_granted := reason.of(rego.metadata.rule())

_needed("workflow_method") := ["admin", _log_deletion_not_granted] if {
	request.arguments.method == "delete_workflow_run_logs"
}

# METADATA
# title: The branch is not a working branch
# description: |
#   Files and branches are written on working branches only: a plain name that begins with a working prefix of
#   this server and is not protected. A missing branch would be the default branch.
# custom:
#   code: protected_branch
#   help: write to a working branch of your own and open a pull request
_protected_branch := reason.with_details(rego.metadata.rule(), {"working_branches": _working_prefixes})

# METADATA
# description: What is wrong with a call that is granted, by code.
# scope: document
unmet[code] := found if {
	some check in _failed
	found := _wrong(check)
	code := found.code
}

_wrong("branch") := _protected_branch

# METADATA
# title: The path is below .github, or is not a plain relative path
# description: What is below .github runs with write tokens.
# custom:
#   code: workflow_file
#   help: ask a maintainer to change workflow files
_workflow_file := reason.of(rego.metadata.rule())

_wrong("files") := _workflow_file

_wrong("path") := _workflow_file

# METADATA
# title: The review's event is missing or not known
# description: Events are COMMENT, REQUEST_CHANGES and, where granted, APPROVE.
# custom:
#   code: review_event
_review_event := reason.of(rego.metadata.rule())

_wrong("event") := _review_event

# METADATA
# title: The method is missing or not known
# description: A tool with methods is judged method by method.
# custom:
#   code: method_unknown
_method_unknown := reason.of(rego.metadata.rule())

_wrong("review_method") := _method_unknown

_wrong("workflow_method") := _method_unknown

# METADATA
# title: A label asks a bot to merge
# description: Labels must be a list of names, none of them one that merge bots act on.
# custom:
#   code: merge_label
#   help: leave the label out and ask a maintainer to merge
_merge_label := reason.of(rego.metadata.rule())

_wrong("labels") := _merge_label

# METADATA
# title: A text asks a bot to merge
# description: No line of a comment begins with a command that merge bots act on.
# custom:
#   code: merge_command
#   help: leave the command out and ask a maintainer to merge
_merge_command := reason.of(rego.metadata.rule())

_wrong("text") := _merge_command

# METADATA
# title: The call has an argument that the policy does not know
# description: A tool that writes is judged on all of its arguments, or not allowed.
# custom:
#   code: argument_unknown
_argument_unknown := reason.of(rego.metadata.rule())

unmet["argument_unknown"] := _argument_unknown if not _arguments_known

# METADATA
# title: An argument that becomes part of an address is not plain
# description: |
#   A server that puts a tag or a path into a URL unescaped would follow `..` into another repository, past the
#   repositories of the grant.
# custom:
#   code: address_not_plain
_address_not_plain := reason.of(rego.metadata.rule())

unmet["address_not_plain"] := _address_not_plain if not _addresses_plain

_tool := data.mcp.profiles.github.tools[input.tool.name]

_checks := object.get(_tool, "checks", [])

_failed := {check | some check in _checks; not _passed(check)}

_arguments_known if not _tool.arguments

_arguments_known if {
	known := _tool.arguments
	every name, _ in request.arguments {
		name in known
	}
}

# Chosen first: all bodies of a function are evaluated, and a text may be long.
_addresses_plain if {
	names := data.mcp.profiles.github.address_arguments
	every value in [value | some name, value in request.arguments; names[name]] {
		_plain_address(value)
	}
}

# A server that drops the fraction would act on another number than the one on record.
_plain_address(value) if {
	is_number(value)
	value >= 0
	floor(value) == value
} else if {
	is_string(value)
	not contains(value, "%")
	not contains(value, "?")
	not contains(value, "#")
	not contains(value, "\\")
	_no_dot_segment(value)
}

_no_dot_segment(value) if not contains(value, ".")

else if {
	segments := split(value, "/")
	not "." in segments
	not ".." in segments
}

_passed("base") if not "base" in request.given

_passed("base") if is_string(request.arguments.base)

_passed("branch") if _working_branch(request.arguments.branch)

_passed("path") if _plain_path(request.arguments.path)

_passed("files") if {
	is_array(request.arguments.files)
	every file in request.arguments.files {
		_plain_path(file.path)
	}
}

_passed("event") if request.arguments.event in _events

# A review may be begun without an event: it stays pending.
_passed("event") if {
	not "event" in request.given
	not _submits
}

_submits if input.tool.name in data.mcp.profiles.github.submitting_tools

_submits if request.arguments.method == "submit_pending"

_passed("review_method") if request.arguments.method in data.mcp.profiles.github.review_methods

_passed("workflow_method") if request.arguments.method in data.mcp.profiles.github.workflow_methods

_passed("labels") if not "labels" in request.given

_passed("labels") if {
	is_array(request.arguments.labels)
	every label in request.arguments.labels {
		is_string(label)
		not lower(label) in data.mcp.profiles.github.merge_labels
	}
}

_passed("text") if {
	_harmless_text("body")
	_harmless_text("title")
}

_harmless_text(name) if not name in request.given

_harmless_text(name) if {
	is_string(request.arguments[name])
	not _asks_to_merge(lower(request.arguments[name]))
}

# Lines are looked at only where a command is in the text at all.
_asks_to_merge(text) if {
	some command in data.mcp.profiles.github.merge_commands
	contains(text, command)
	some line in split(replace(text, "\r", "\n"), "\n")
	startswith(trim_space(line), command)
}

_events := {"APPROVE", "COMMENT", "REQUEST_CHANGES"}

_owner := _plain_name(input.arguments.owner)

_repo := _plain_name(input.arguments.repo)

# `trim` leaves nothing exactly where every character is in the set: a test of characters without a regex. The set is
# searched from its beginning for each one, so that frequent letters come first.
_plain_name(name) := lower(name) if {
	is_string(name)
	name != ""
	name != "."
	name != ".."
	trim(name, "etaoinsrhldcumfpgwybvkxjqz0123456789ETAOINSRHLDCUMFPGWYBVKXJQZ-_.") == ""
}

_working_branch(name) if {
	is_string(name)
	trim(name, "etaoinsr/l.dhc-um_fpgwybvkxjqz0123456789ETAOINSRHLDCUMFPGWYBVKXJQZ") == ""
	segments := split(lower(name), "/")
	every segment in segments {
		segment != ""
		segment != "."
		segment != ".."
	}
	segments[0] != "heads"
	segments[0] != "refs"
	segments[0] != "remotes"
	_begins_working(name)
	_unprotected(lower(name))
}

_begins_working(name) if {
	some prefix in request.settings.working_branches
	prefix != ""
	startswith(name, prefix)
}

_working_prefixes := [prefix | some prefix in request.settings.working_branches; is_string(prefix)]

_unprotected(name) if {
	every list in _protected_lists {
		is_array(list)
		every pattern in list {
			is_string(pattern)
			not _matches(name, lower(pattern))
		}
	}
}

_passed("unseen_base")

# Only where data says of both lists, in so many words, that there is nothing in them.
_nothing_protected if {
	every list in _protected_lists {
		list == []
	}
}

# Those of the server, and those of the repository.
_protected_lists := [
	object.get(request.settings, "protected_branches", []),
	object.get(request.settings, ["repositories", concat("/", [_owner, _repo]), "protected_branches"], []),
]

_matches(name, pattern) if name == pattern

_matches(name, pattern) if {
	endswith(pattern, "/*")
	startswith(name, trim_suffix(pattern, "*"))
}

_plain_path(path) if {
	is_string(path)

	# No `%`, `?`, `#` or backslash: a server that puts the path into a URL unescaped would read another path.
	trim(path, "etaoinsr/l.dhc-um_fpgwybvkxjqz0123456789ETAOINSRHLDCUMFPGWYBVKXJQZ @+()[],=~!$&") == ""
	path == trim_space(path)
	segments := split(lower(path), "/")
	every segment in segments {
		segment != ""
		segment != "."
		segment != ".."
		segment != ".git"
	}
	segments[0] != ".github"
}
