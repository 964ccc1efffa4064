package mcp.request

# METADATA
# description: The grants of this caller on this server, in the order of the data.
grants := [grant |
	identified
	is_string(profile)
	some grant in data.config.grants
	_names_caller(grant)
	on_server(grant)
]

# METADATA
# description: The grant is well formed and is for this server.
on_server(grant) if {
	input.server in grant.servers
	_well_formed(grant)
}

# METADATA
# description: |
#   Each condition of the grant holds. A condition that is malformed, or whose argument is absent or of another
#   type, does not hold.
conditions_hold(grant) if not grant.where

conditions_hold(grant) if {
	every name, condition in grant.where {
		_condition_holds(arguments[name], condition)
	}
}

_names_caller(grant) if {
	some group in grant.groups
	group in groups
}

_names_caller(grant) if input.identity.subject in grant.subjects

_names_caller(grant) if {
	some email in grant.emails
	lower(email) == lower(input.identity.email)
}

# An unknown key makes a grant malformed: `repositorys` must not read as "every repository".
_well_formed(grant) if {
	is_string(grant.id)
	object.remove(grant, _keys) == {}
	every key in _lists {
		is_array(object.get(grant, key, []))
	}
	is_object(object.get(grant, "where", {}))
}

_lists := [
	"capabilities", "emails", "groups", "hosts", "methods", "prompts", "repositories",
	"resources", "servers", "subjects", "templates", "tools", "toolsets",
]

_keys := array.concat(["id", "description", "where"], _lists)

_condition_holds(value, condition) if {
	is_object(condition)
	condition != {}
	every operator, operand in condition {
		_holds(operator, value, operand)
	}
}

_holds("equals", value, operand) if value == operand

_holds("in", value, operand) if {
	is_array(operand)
	value in operand
}

_holds("prefix", value, operand) if {
	is_string(value)
	is_string(operand)
	operand != ""
	startswith(value, operand)
	not ".." in split(value, "/")
}

# Rego orders null < booleans < numbers < strings: without the type a range holds for the wrong things.
_holds("above", value, operand) if {
	is_number(value)
	is_number(operand)
	value > operand
}

_holds("below", value, operand) if {
	is_number(value)
	is_number(operand)
	value < operand
}

_holds("min", value, operand) if {
	is_number(value)
	is_number(operand)
	value >= operand
}

_holds("max", value, operand) if {
	is_number(value)
	is_number(operand)
	value <= operand
}
