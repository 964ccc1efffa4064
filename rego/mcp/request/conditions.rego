package mcp.request

# METADATA
# description: |
#   Each condition of the grant holds. A condition that is malformed, or whose argument is absent or of another
#   type, does not hold.
conditions_hold(grant) if not grant.where

conditions_hold(grant) if {
	every name, condition in grant.where {
		_condition_holds(name, condition)
	}
}

_condition_holds(name, condition) if {
	is_object(condition)
	_value_holds(_argument(name), condition)
}

# A list of conditions: one of them must hold.
_condition_holds(name, condition) if {
	is_array(condition)
	some alternative in condition
	_value_holds(_argument(name), alternative)
}

_condition_holds(name, condition) if {
	is_array(condition)
	{"absent": true} in condition
	not _is_given(name)
}

_argument(name) := arguments[name] if not startswith(name, "/")

# No document holds a set: what comes back as one is absent.
_argument(name) := value if {
	startswith(name, "/")
	value := object.get(arguments, split(trim_prefix(name, "/"), "/"), set())
	value != set()
}

_is_given(name) if _argument(name) == _argument(name)

_value_holds(value, condition) if {
	is_object(condition)
	condition != {}
	every operator, operand in condition {
		_operator_holds(operator, value, operand)
	}
}

_operator_holds(operator, value, operand) if {
	operator != "each"
	_holds(operator, value, operand)
}

_operator_holds("each", value, operand) if {
	is_array(value)
	is_object(operand)
	operand != {}
	every item in value {
		every operator, inner in operand {
			_holds(operator, item, inner)
		}
	}
}

_holds("equals", value, operand) if value == operand

_holds("in", value, operand) if {
	is_array(operand)
	value in operand
}

_holds("type", value, operand) if type_name(value) == operand

_holds("prefix", value, operand) if {
	is_string(operand)
	operand != ""
	is_string(value)
	startswith(value, operand)
	not ".." in split(value, "/")
}

_holds("like", value, operand) if {
	is_array(operand)
	is_string(value)
	some pattern in operand
	_like(value, pattern)
}

_holds("under", value, operand) if {
	is_array(operand)
	is_plain_path(value)
	some root in operand
	_at_or_below(value, root)
}

_holds("min_size", value, operand) if {
	is_number(operand)
	_size(value) >= operand
}

_holds("max_size", value, operand) if {
	is_number(operand)
	_size(value) <= operand
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

# METADATA
# description: A path without empty, `.` or `..` segments, backslash, `%` or NUL. It may be absolute and may end in a slash.
is_plain_path(path) if {
	is_string(path)
	not path in {"", "/"}
	every part in ["\\", "%", "\u0000"] {
		not contains(path, part)
	}
	bare := trim_suffix(trim_prefix(path, "/"), "/")
	every segment in split(bare, "/") {
		not segment in {"", ".", ".."}
	}
}

_like(value, pattern) if value == pattern

_like(value, pattern) if {
	endswith(pattern, "*")
	stem := trim_suffix(pattern, "*")
	stem != ""
	startswith(value, stem)
	not ".." in split(value, "/")
}

_at_or_below(path, root) if {
	bare := trim_suffix(root, "/")
	bare != ""
	trim_suffix(path, "/") == bare
}

_at_or_below(path, root) if {
	bare := trim_suffix(root, "/")
	bare != ""
	startswith(path, concat("", [bare, "/"]))
}

_size(value) := count(value) if type_name(value) in {"array", "object", "string"}
