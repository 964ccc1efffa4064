package conventions_test

import data.conventions

_ref(names) := {"type": "ref", "value": [{"type": "string", "value": name} | some name in names]}

_rule(name, refs) := {
	"location": {"row": 9},
	"head": {"ref": [{"type": "var", "value": name}]},
	"body": [{"terms": _ref(names)} | some names in refs],
}

_input(rule, annotations) := {
	"modules": [{"name": "mcp.rules.x", "file": "x.rego", "rules": [rule]}],
	"annotations": array.concat(
		[{
			"path": _path(["mcp", "rules", "x"]), "location": {"file": "x.rego", "row": 1},
			"annotations": {
				"scope": "package", "title": "t", "description": "d",
				"related_resources": [{"ref": "https://example.com/"}],
			},
		}],
		[{
			"path": _path(["mcp", "rules", "x", "deny"]), "location": {"file": "x.rego", "row": 9},
			"annotations": found,
		} |
			some found in annotations
		],
	),
	"codes": [{"code": "in_data", "place": "data"}],
	"examples": ["mcp.rules.x"],
}

_path(names) := array.concat([{"type": "var", "value": "data"}], [{"type": "string", "value": name} | some name in names])

_whole := {"scope": "rule", "title": "t", "description": "d", "custom": {"code": "a_code"}}

_reason := ["rego", "metadata", "rule"]

_problems(rule, annotations) := found if {
	found := conventions.problems with input as _input(rule, annotations)
}

test_a_whole_rule_has_no_problem if _problems(_rule("deny", [_reason]), [_whole]) == set()

test_metadata_must_be_whole if {
	every name in ["title", "description", "custom"] {
		count(_problems(_rule("deny", [_reason]), [object.remove(_whole, [name])])) > 0
	}
	count(_problems(_rule("deny", []), [])) == 1
	_problems(_rule("_inner", []), []) == set()
}

test_a_package_must_be_described if {
	count(conventions.problems) == 1 with input as {
		"modules": [{"name": "mcp.y", "file": "y.rego", "rules": []}],
		"annotations": [], "codes": [],
	}
}

test_a_family_has_an_example_and_resources if {
	whole := _input(_rule("_inner", []), [])
	conventions.problems == set() with input as whole
	every without in [
		[{"op": "remove", "path": "/examples/0"}],
		[{"op": "remove", "path": "/annotations/0/annotations/related_resources"}],
		[{"op": "remove", "path": "/annotations/0/annotations/related_resources/0"}],
		[{"op": "replace", "path": "/annotations/0/annotations/related_resources/0/ref", "value": "x"}],
	] {
		count(conventions.problems) == 1 with input as json.patch(whole, without)
	}
}

test_a_profile_has_resources if {
	profile := json.patch(_input(_rule("_inner", []), []), [
		{"op": "replace", "path": "/modules/0/name", "value": "mcp.profiles.x"},
		{"op": "replace", "path": "/annotations/0/path", "value": _path(["mcp", "profiles", "x"])},
		{"op": "remove", "path": "/examples/0"},
	])
	conventions.problems == set() with input as profile
	without := json.patch(profile, [{"op": "remove", "path": "/annotations/0/annotations/related_resources"}])
	count(conventions.problems) == 1 with input as without
}

test_codes_are_unique_and_snake_case if {
	count(_problems(_rule("deny", [_reason]), [_whole, _whole])) == 0
	count(_problems(_rule("deny", [_reason]), [object.union(_whole, {"custom": {"code": "in_data"}})])) == 1
	count(_problems(_rule("deny", [_reason]), [object.union(_whole, {"custom": {"code": "Not-Snake"}})])) == 1
}

test_enforcement_and_severity_are_known_words if {
	count(_problems(_rule("deny", [_reason]), [object.union(_whole, {"custom": {"enforcement": "warn"}})])) == 1
	count(_problems(_rule("deny", [_reason]), [object.union(_whole, {"custom": {"severity": "bad"}})])) == 1
	_problems(_rule("deny", [_reason]), [object.union(_whole, {"custom": {
		"enforcement": "dryrun",
		"severity": "low",
	}})]) == set()
}

test_deny_reads_no_argument_by_its_name if {
	every names in [
		["input", "arguments"],
		["input", "arguments", "x"],
		["request", "arguments", "x"],
		["data", "mcp", "request", "arguments", "x"],
	] {
		count(_problems(_rule("deny", [names]), [_whole])) > 0
	}
	_problems(_rule("deny", [["request", "arguments"], ["input", "tool", "name"]]), [_whole]) == set()
}

test_entrypoints_are_documents_with_a_contract if {
	good := object.union(_whole, {"entrypoint": true, "scope": "document", "custom": {"contract": 1}})
	_problems(_rule("deny", []), [good]) == set()
	count(_problems(_rule("deny", []), [object.union(good, {"scope": "rule"})])) == 1
	count(_problems(_rule("deny", []), [object.union(good, {"custom": {"contract": "1"}})])) == 1
}

test_parts_of_a_rule_describe_it if {
	asked := json.patch(_input(_rule("deny", []), [_whole]), [{
		"op": "add",
		"path": "/annotations/1/path/-",
		"value": {"type": "string", "value": "part"},
	}])
	conventions.problems == set() with input as asked
}
