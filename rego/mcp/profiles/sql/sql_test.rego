package mcp.profiles.sql_test

import data.mcp.main
import data.mcp.profiles.sql

_config := {
	"servers": {"db": {"profile": "sql", "functions": ["Acme.Margin", 7]}},
	"grants": [
		{"id": "analysts", "groups": ["analysts"], "servers": ["db"], "toolsets": ["schema", "query"], "tools": ["run"]},
		{"id": "dba", "groups": ["dba"], "servers": ["db"], "toolsets": ["query", "write"]},
	],
}

_decision(group, tool, arguments) := decision if {
	decision := main.decision with input as {
		"server": "db", "direction": "to_server", "kind": "request", "method": "tools/call",
		"identity": {"subject": "u", "groups": [group]}, "tool": {"name": tool}, "arguments": arguments,
	}
		with data.config as _config
}

_reads(statement) if {
	sql.extra == {} with input as {"server": "db", "tool": {"name": "execute_sql"}, "arguments": {"sql": statement}}
		with data.config as _config
}

test_plain_reading_passes if {
	every statement in [
		"SELECT 1",
		"select * from orders where id = 7;",
		"select o.id, count(*) from orders o join customers c on (c.id = o.customer) group by o.id",
		"SELECT name FROM t WHERE name = 'Müller; drop table x --' and note like '%it''s%'",
		"with a as (select 1 as x), b as (select x from a) select * from b",
		"values (1), (2)",
		"explain select 1",
		"show search_path",
		"select a+(b*2), (select max(x) from u) from t where x in (1,2) and y::date > now()\n\torder by 1",
		"select acme.margin(1)",
		"select (((1)))",
		"select ''",
	] {
		_reads(statement)
	}
	_decision("analysts", "read_query", {"query": "select 1"}).allow
	_decision("analysts", "list_tables", {}).allow
}

test_nothing_else_passes_as_reading if {
	every statement in [
		"delete from orders", "update orders set x = 1", "DROP TABLE orders", "insert into t values (1)",
		"select 1; drop table t", "select 1;;", "select 1 -- x", "select 1 /* x */", "select /*! sleep(9) */ 1",
		"with d as (delete from t returning *) select * from d", "select * into x from t", "select * from t for update",
		"explain analyze delete from t", "select pg_sleep(9)", "select pg_sleep (9)", "select pg_catalog.pg_sleep(9)",
		"select * from pg_read_file('/etc/passwd')", `select "pg_sleep"(9)`, "select `sleep`(9)", "select [x] from t",
		"select E'\\'' , pg_sleep(9) , '\\''", `select "'", pg_sleep(9), "'"`, "select $$'$$, pg_sleep(9), $$'$$",
		"select q'!it's!' , evil('x')", "select N'x'", "select 'unbalanced", "select nextval('s')", "select setval('s', 1)",
		"select * from dblink('x','y')", "select lo_import('/etc/passwd')", "select * from t where @x := 1",
		"select 1 # x", "select 1 into outfile '/tmp/x'", "call p()", "do 'x'", "set role admin", "begin", "copy t to stdout",
		"pragma writable_schema", "attach 'x' as y", "table t", "selectx", "", " ", ";",
		"select other.margin(1)", "select '", "é", "select é from t", "select load_extension('x')",
	] {
		not _reads(statement)
	}
	every value in [null, false, {}, [], 0, ["select 1"]] {
		not _reads(value)
	}
	not _decision("analysts", "execute_sql", {}).allow
	not _decision("analysts", "execute_sql", {"sql": "select 1", "read_only": false}).allow
	not _reads(concat("", ["select '", concat("", [x | some _ in numbers.range(1, 20001); x := "a"]), "'"]))
}

test_what_writes_needs_write if {
	decision := _decision("analysts", "execute_sql", {"sql": "delete from t"})
	[reason.code | some reason in decision.reasons] == ["statement_writes"]
	decision.reasons[0].title == "A statement that does not plainly read needs the dba group"
	_decision("dba", "execute_sql", {"sql": "delete from t"}).allow
	_decision("dba", "write_query", {"query": "delete from t"}).allow
	not _decision("analysts", "write_query", {"query": "select 1"}).allow
}

test_a_tool_that_is_in_no_set_is_taken_to_write if not _decision("analysts", "run", {"sql": "select 1"}).allow

test_every_tool_is_in_a_known_set if {
	every tool in sql.tools {
		sql.toolsets[tool.toolset].effect
	}
}
