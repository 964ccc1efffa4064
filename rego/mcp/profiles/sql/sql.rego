# METADATA
# title: A database
# description: |
#   A statement passes as one that reads only where everything in it is known to: one statement, no comments, no word
#   that writes, no function but those in data. Anything else needs the set `write`. This is a sieve before the
#   database's own rights, not in their place: a view or a function may do what its name does not tell.
# related_resources:
#   - ref: https://www.postgresql.org/docs/current/sql-syntax-lexical.html
# schemas:
#   - input: schema.input
package mcp.profiles.sql

import data.mcp.reason
import data.mcp.request

# METADATA
# description: Nothing is needed beyond the grant, and `write` for what does not plainly read.
holds := true

# METADATA
# title: A statement that does not plainly read
# description: |
#   One statement that begins with SELECT, WITH, VALUES, SHOW or EXPLAIN, without comments, quoted names, words that
#   write and functions that are not in data. A tool that is in no set is taken to write.
# custom:
#   code: statement_writes
#   help: ask for one plain SELECT, without comments or quoted names
extra["write"] := reason.of(rego.metadata.rule()) if not _only_reads

_tool := data.mcp.profiles.sql.tools[input.tool.name]

_only_reads if _tool.toolset in {"schema", "write"}

_only_reads if {
	is_string(_statement)
	count(_statement) <= 20000
	every name, _ in request.arguments {
		name in _tool.arguments
	}
	not contains(_statement, "\\")
	count(_pieces) % 2 == 1
	every index, piece in _pieces {
		_plain_piece(index, piece)
	}
	data.mcp.profiles.sql.first_words[_words[0]]
	every word in _words {
		not word in data.mcp.profiles.sql.writing_words
	}
	every word in _before_brackets {
		_may_open(word)
	}
}

# One semicolon at the end is no second statement.
_statement := trim_suffix(trim_space(request.arguments[_tool.statement]), ";")

# Between quotes, in turn: code, literal, code, … As code has no other kind of quote, a reader of SQL splits the same.
_pieces := split(_statement, "'")

_plain_piece(index, _) if index % 2 == 1

_plain_piece(index, piece) if {
	index % 2 == 0
	trim(piece, _code_characters) == ""
	not contains(piece, "--")
	not contains(piece, "/*")
	_literal_may_follow(index, piece)
}

# `E'…'`, `q'…'`: letters before a quote change how the literal ends.
_literal_may_follow(index, _) if index == count(_pieces) - 1

_literal_may_follow(_, piece) if substring(piece, count(piece) - 1, 1) in {" ", "\n", "\t", "(", ",", "=", "<", ">", "|"}

# `''` within a literal.
_literal_may_follow(index, "") if index > 0

# No `;`, `"`, backquote, `[`, `$`, `#`, `@`, `{`: other quotes, comments, variables and second statements.
_code_characters := "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ \n\t\r.,()=<>!+-*/%:|"

_code := lower(concat(" '' ", [piece | some index, piece in _pieces; index % 2 == 0]))

_words := [word |
	some word in split(_spaced(_code), " ")
	word != ""
]

_spaced(text) := strings.replace_n(
	{
		"\n": " ", "\t": " ", "\r": " ", ".": " ", ",": " ", "(": " ", ")": " ", "=": " ", "<": " ", ">": " ",
		"!": " ", "+": " ", "-": " ", "*": " ", "/": " ", "%": " ", ":": " ", "|": " ", "'": " ",
	},
	text,
)

# The last word before each bracket, with its schema; empty where an operator stands there.
_before_brackets := [word |
	parts := split(_code, "(")
	some index, part in parts
	index < count(parts) - 1
	word := _last_word(part)
]

_last_word(part) := words[count(words) - 1] if {
	words := split(trim_space(strings.replace_n({"\n": " ", "\t": " ", "\r": " "}, part)), " ")
}

_may_open(word) if word == ""

_may_open(word) if substring(word, count(word) - 1, 1) in {",", "=", "<", ">", "!", "+", "-", "*", "/", "%", "|", "("}

_may_open(word) if word in data.mcp.profiles.sql.before_brackets

_may_open(word) if word in [lower(name) | some name in request.settings.functions]
