# METADATA
# title: Conventions of the policy library
# description: |
#   Checks the library itself. The input is made by tools/rego.ts: `annotations` as `opa inspect -a` gives them,
#   `modules` as `opa parse` gives them (tests left out), `codes`, the reason codes that are in data, and `examples`,
#   the packages that have an example.
package conventions

# METADATA
# description: What is wrong, in words.
problems contains sprintf("%s: the package has no title and description", [module.name]) if {
	some module in input.modules
	not _package_annotated(module.name)
}

problems contains sprintf("%s: the package has no related_resources, each with its ref", [module.name]) if {
	some module in input.modules
	_is_family_or_profile(module.name)
	not _related(module.name)
}

problems contains sprintf("%s: no example.yaml beside it, with data and canaries", [module.name]) if {
	some module in input.modules
	startswith(module.name, "mcp.rules.")
	not module.name in input.examples
}

problems contains sprintf("%s: `%s` has no description in metadata", [_place(rule), rule.name]) if {
	some rule in _rules
	not startswith(rule.name, "_")
	not _described(rule)
}

problems contains sprintf("%s: `%s` needs title, description and custom.code in its own metadata", [_place(rule), rule.name]) if {
	some rule in _rules
	_makes_reason(rule)
	not _reason_annotated(rule)
}

problems contains sprintf("%s: custom.code `%s` is not snake_case", [where, code]) if {
	some code, places in _places_of_code
	not regex.match(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`, code)
	some where in places
}

problems contains sprintf("custom.code `%s` is used %d times: %s", [code, count(places), concat(", ", places)]) if {
	some code, places in _places_of_code
	count(places) > 1
}

problems contains sprintf("%s: custom.enforcement is neither deny nor dryrun", [_spot(found.location)]) if {
	some found in input.annotations
	enforcement := found.annotations.custom.enforcement
	not enforcement in {"deny", "dryrun"}
}

problems contains sprintf("%s: custom.severity is none of low, medium, high, critical", [_spot(found.location)]) if {
	some found in input.annotations
	severity := found.annotations.custom.severity
	not severity in {"low", "medium", "high", "critical"}
}

problems contains sprintf("%s: a family reads input.arguments; use the words of mcp.request", [_place(rule)]) if {
	some rule in _rules
	startswith(rule.package, "mcp.rules.")
	some ref in _refs(rule.ast)
	_begins(ref, ["input", "arguments"])
}

# A ban over a missing key is undefined and bars nothing: what bars reads no argument by its name.
problems contains sprintf("%s: `deny` reads an argument by its name; write a condition in a grant", [_place(rule)]) if {
	some rule in _rules
	rule.name == "deny"
	some ref in _refs(rule.ast)
	_reads_argument(ref)
}

problems contains sprintf("%s: the entrypoint has no title, or not the scope document", [_spot(found.location)]) if {
	some found in input.annotations
	found.annotations.entrypoint
	not _good_entrypoint(found.annotations)
}

problems contains sprintf("%s: the entrypoint has no custom.contract", [_spot(found.location)]) if {
	some found in input.annotations
	found.annotations.entrypoint
	startswith(_path(found), "mcp.")
	not is_number(found.annotations.custom.contract)
}

_rules := [rule |
	some module in input.modules
	some ast in module.rules
	name := ast.head.ref[0].value
	rule := {
		"package": module.name,
		"file": module.file,
		"row": ast.location.row,
		"name": name,
		"ast": ast,
	}
]

_place(rule) := sprintf("%s:%d", [rule.file, rule.row])

_spot(location) := sprintf("%s:%d", [location.file, location.row])

_path(found) := concat(".", [part.value | some i, part in found.path; i > 0])

_package_annotated(name) if {
	some found in input.annotations
	_path(found) == name
	found.annotations.scope == "package"
	found.annotations.title
	found.annotations.description
}

_is_family_or_profile(name) if {
	some prefix in ["mcp.profiles.", "mcp.rules."]
	startswith(name, prefix)
}

_related(name) if {
	some found in input.annotations
	_path(found) == name
	count(found.annotations.related_resources) > 0
	every resource in found.annotations.related_resources {
		startswith(resource.ref, "https://")
	}
}

# One description serves all the bodies of a rule.
_described(rule) if {
	some found in input.annotations
	_is_or_is_below(_path(found), concat(".", [rule.package, rule.name]))
	found.annotations.description
}

_is_or_is_below(path, name) if path == name

_is_or_is_below(path, name) if startswith(path, concat("", [name, "."]))

_makes_reason(rule) if {
	some ref in _refs(rule.ast)
	_begins(ref, ["rego", "metadata", "rule"])
}

_reason_annotated(rule) if {
	some found in input.annotations
	found.location.file == rule.file
	found.location.row == rule.row
	is_string(found.annotations.title)
	is_string(found.annotations.description)
	is_string(found.annotations.custom.code)
}

_places_of_code[code] contains _spot(found.location) if {
	some found in input.annotations
	code := found.annotations.custom.code
}

_places_of_code[entry.code] contains entry.place if some entry in input.codes

_refs(ast) := [value.value |
	walk(ast, [_, value])
	value.type == "ref"
]

_begins(ref, names) if [part.value | some i, part in ref; i < count(names)] == names

_reads_argument(ref) if {
	_begins(ref, ["request", "arguments"])
	count(ref) > 2
}

_reads_argument(ref) if {
	_begins(ref, ["data", "mcp", "request", "arguments"])
	count(ref) > 4
}

_good_entrypoint(annotations) if {
	annotations.scope == "document"
	annotations.title
}
