package mcp.rules.grants_narrowed_test

import data.mcp.main
import data.mcp.rules.grants

_schema := {
	"type": "object",
	"required": ["owner"],
	"properties": {
		"owner": {"type": "string", "description": "Repository owner"},
		"repo": {"type": "string"},
		"ref": {"type": "string"},
		"method": {"enum": ["get", "list", "put"]},
		"/ref": {"type": "string"},
		"odd": true,
	},
}

_server := {"profile": "github", "narrow": true}

_grant(more) := object.union({"id": "g", "groups": ["eng"], "servers": ["s"], "tools": ["get_commit"]}, more)

_narrowed(given, server, schema) := found if {
	found := grants.narrowed with input as {
		"server": "s",
		"identity": {"subject": "u", "groups": ["eng"]},
		"items": [{"kind": "tool", "key": "get_commit", "inputSchema": schema}],
	}
		with data.config as {"servers": {"s": server}, "grants": given}
}

# The arguments that have a list of values, with the values.
_lists(given) := {name: property.enum |
	some name, property in _narrowed(given, _server, _schema)[0].properties
	property != _schema.properties[name]
}

test_the_repository_is_one_of_the_grants if {
	_lists([_grant({"repositories": ["acme/app", "acme/lib"]})]) == {"owner": ["acme"], "repo": ["app", "lib"]}
	_lists([_grant({"repositories": ["acme/*"]})]) == {"owner": ["acme"]}
}

test_what_is_not_narrowed_stays if {
	schema := _narrowed([_grant({"repositories": ["acme/app"]})], _server, _schema)[0]
	schema.properties.owner == {"type": "string", "description": "Repository owner", "enum": ["acme"]}
	object.remove(schema, ["properties"]) == object.remove(_schema, ["properties"])
	object.remove(schema.properties, ["owner", "repo"]) == object.remove(_schema.properties, ["owner", "repo"])
}

test_conditions_that_list_values if {
	every condition in [{"equals": "main"}, {"in": ["main"]}, {"in": ["main"], "type": "string"}, [{"equals": "main"}], [{"absent": true}, {"in": ["main"]}]] {
		_lists([_grant({"where": {"ref": condition}})]) == {"ref": ["main"]}
	}
}

test_conditions_that_list_none if {
	every condition in [{"prefix": "agent/"}, {"like": ["main", "agent/*"]}, {}, null, "main", [], [{"in": ["main"]}, {"prefix": "a"}], [{"absent": true}], {"in": "main"}, {"in": []}] {
		_lists([_grant({"where": {"ref": condition}})]) == {}
	}
	_lists([_grant({"where": {"/ref": {"equals": "main"}}})]) == {}
	_lists([_grant({"where": {"odd": {"equals": 1}}})]) == {}
}

test_a_person_sees_the_union_of_the_grants if {
	app := _grant({"repositories": ["acme/app"]})
	_lists([app, _grant({"repositories": ["other/lib"]})]) == {"owner": ["acme", "other"], "repo": ["app", "lib"]}
	_lists([app, _grant({"repositories": ["acme/*"]})]) == {"owner": ["acme"]}
	_lists([app, _grant({})]) == {}
	_lists([app, _grant({"tools": [], "toolsets": ["read"]})]) == {}
	_lists([app, _grant({"where": {"repo": {"in": ["lib"]}}})]) == {"repo": ["app", "lib"]}
	_lists([app, _grant({"hours": {"days": ["mon"], "from": "00:00", "to": "01:00"}})]) == {}
}

test_grants_of_others_and_of_other_tools_do_not_count if {
	app := _grant({"repositories": ["acme/app"]})
	every other in [_grant({"groups": ["ops"]}), _grant({"tools": ["merge_pull_request"]}), _grant({"repos": []})] {
		_lists([app, other]) == {"owner": ["acme"], "repo": ["app"]}
	}
}

test_it_stays_within_what_the_server_takes if {
	_lists([_grant({"where": {"method": {"in": ["list", "get", "drop"]}}})]) == {"method": ["get", "list"]}
	_lists([_grant({"where": {"method": {"in": ["drop"]}}})]) == {}
}

test_a_pattern_that_is_none_narrows_nothing if {
	every pattern in ["acme", "a/b/c", 1, null] {
		_lists([_grant({"repositories": ["acme/app", pattern]})]) == {}
	}
}

test_only_where_data_asks_for_it if {
	given := [_grant({"repositories": ["acme/app"]})]
	every value in [false, null, "true", 1, {}] {
		_narrowed(given, {"profile": "github", "narrow": value}, _schema) == {}
	}
	_narrowed(given, {"profile": "github"}, _schema) == {}
}

test_a_schema_that_has_no_properties_stays if {
	given := [_grant({"repositories": ["acme/app"]})]
	every schema in [{}, null, true, {"properties": null}, {"properties": ["owner"]}, {"properties": {}}, {"properties": {"path": {}}}] {
		_narrowed(given, _server, schema) == {}
	}
}

test_other_scopes if {
	asked := {
		"server": "s",
		"identity": {"subject": "u", "groups": ["eng"]},
		"items": [{"kind": "tool", "key": "slack_post_message", "inputSchema": {"properties": {"channel_id": {}, "text": {}}}}],
	}
	grant := {"id": "g", "groups": ["eng"], "servers": ["s"], "toolsets": ["post"], "channels": ["C2", "C1"]}
	narrowed := main.visible with input as asked
		with data.config as {"servers": {"s": {"profile": "slack", "narrow": true}}, "grants": [grant]}
	narrowed == {"0": {"inputSchema": {"properties": {"channel_id": {"enum": ["C1", "C2"]}, "text": {}}}}}
	files := object.union(object.remove(grant, ["channels"]), {"paths": ["/srv"], "tools": ["read_file"], "toolsets": []})
	plain := main.visible with input as json.patch(asked, [{"op": "replace", "path": "/items/0/key", "value": "read_file"}])
		with data.config as {"servers": {"s": {"profile": "filesystem", "narrow": true}}, "grants": [files]}
	plain == {"0": true}
}
