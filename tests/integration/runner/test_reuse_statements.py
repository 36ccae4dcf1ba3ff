"""What PostgreSQL itself says about a statement: what it reads, and whether its result may be another one each time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from refresh_examples.embedded import EmbeddedPostgres
from refresh_runner.postgres.catalog import Relation
from refresh_runner.reuse.statements import Examined, examine
from support.postgres import create_database, drop_database

_OBJECTS = """
create table t (id int, g int, v numeric(10,2), d date, s timestamp, z timestamptz, x text, j jsonb, a int[], f float8, b boolean);
create view of_t as select id, g from t;
create view of_now as select id, now() as seen from t;
create view of_both as select o.id from of_t o join of_now n on n.id = o.id;
create materialized view kept as select id from t;
create table split (id int) partition by range (id);
create table hidden (id int); alter table hidden enable row level security;
create sequence numbers;
create type mood as enum ('ok', 'sad');
create domain positive as int check (value > 0);
create table moods (m mood);
create function mine(int) returns int immutable language sql as 'select $1';
create function late(int) returns int stable language sql as 'select $1';
create operator === (leftarg = int, rightarg = int, function = pg_catalog.int4eq);
create table "quoted name" ("from" int);
create function pg_temp.gone() returns int language sql as 'select 1'
"""


@pytest.fixture(scope="module")
def connection(postgres: EmbeddedPostgres) -> Iterator[psycopg.Connection]:
    """A database with tables, views, and functions of its own."""
    database = create_database(postgres, "statements")
    with database.connect() as connection:
        for statement in _OBJECTS.split(";\n"):
            connection.execute(statement.encode())
        yield connection
    drop_database(database)


def examined(connection: psycopg.Connection, statement: str) -> Examined:
    return examine(connection, statement, timedelta(seconds=20))


SAFE = (
    "select id, g + 1 as g, v * 2 as v, d + 30 as d, d - d as n from t",
    "select g, count(*) as n, sum(v) as v, max(d) as d, min(x) as x, array_agg(id order by id) as a from t group by g having sum(v) > 0",
    "select id, row_number() over (partition by g order by id) as n, sum(v) filter (where id > 1) over (order by id) as v from t",
    "select a.id, b.x from t a left join t b on a.id = b.id where exists (select from t c where c.id = a.id) and a.id not in (1, 2)",
    "with recursive r (n) as (select 1 union all select n + 1 from r where n < 5) select n from r",
    "select distinct on (g) g, id from t order by g, v desc nulls last limit 5",
    "select id, case when g = 1 then 'un' when g is null then 'nul' else coalesce(x, '?') end as c, nullif(g, 0) as h from t",
    "select id, greatest(g, id) as m, least(d, d + 1) as l, (id, g) < (g, id) as r, b is not true as nb from t",
    "select extract(year from d)::int as y, date_trunc('month', s) as m, to_char(d, 'YYYY') as t, d::text as u from t",
    "select date_trunc('month', z) as m, z::date as d, z + interval '1 day' as e, extract(hour from z) as h from t",
    "select d < z as before, s >= z as after, d::timestamptz = z as same from t",
    "select md5(coalesce(id::text, '~') || '|' || x) as k, lower(trim(x)) as l, x ~ '^a' as m, x || id as c from t",
    "select j ->> 'a' as a, (j -> 'b')::text as b, a[1] as f, array_length(a, 1) as n, to_jsonb(id) as q from t",
    "select id from t union all select g from t except select 1 intersect select 2",
    "select n from generate_series(1, 10) n cross join lateral (select n * 2 as m) as k",
    "select g, grouping(g) as k, count(*) as n from t group by rollup (g)",
    "select percentile_cont(0.5) within group (order by v::float8) as p, string_agg(x, ',' order by x) as s, bool_or(b) as o from t",
    'select "from" from "quoted name"',
    "select id from of_t",
    "select * from (values (1, 'a'), (2, 'b')) as v (id, name)",
    "select id from kept",
    "select id === g as m from t",
    "select v::int::text::numeric as n, f::numeric as m, x::int as i, 'a' collate \"C\" as c from t",
)


@pytest.mark.parametrize("statement", SAFE)
def test_usual_sql_is_safe(connection: psycopg.Connection, statement: str) -> None:
    """Otherwise nothing would ever be reused."""
    assert examined(connection, statement).unsafe == ""


UNSAFE = {
    "select now() as n from t": "calls now()",
    "select id from t where z > now() - interval '1 day'": "calls now()",
    "select current_date as d": "the current date",
    "select id from t where d = current_date": "the current date",
    "select localtimestamp as l": "the current date",
    "select current_user as u": "the current date, time, user or schema",
    "select session_user::text as u, current_schema as s": "the current date, time, user or schema",
    "select random() as r": "calls random()",
    "select id from t order by random()": "calls random()",
    "select gen_random_uuid() as u": "calls gen_random_uuid()",
    "select clock_timestamp() as c": "calls clock_timestamp()",
    "select nextval('numbers') as n": "names of objects as values",
    "select age(s) as a from t": "calls age(timestamp without time zone)",
    "select txid_current() as x": "calls txid_current()",
    "select pg_backend_pid() as p": "calls pg_backend_pid()",
    "select current_setting('search_path') as s": "calls current_setting(text)",
    "select inet_server_addr() as i": "calls inet_server_addr()",
    "select version() as v": "calls version()",
    "select mine(id) as m from t": "calls mine(integer), which does not come with PostgreSQL",
    "select late(id) as m from t": "does not come with PostgreSQL",
    "select m from moods": "a type that does not come with PostgreSQL",
    "select id::positive as p from t": "an expression that is not examined",
    "select t from t": "a type that does not come with PostgreSQL",
    "select 't'::regclass as r": "names of objects as values",
    "select id::regclass as r from t": "names of objects as values",
    "select x::date as d from t": "reads dates from text",
    "select x::timestamptz as d from t": "reads dates from text",
    "select id from t where d < 'today'": "the word today",
    "select 'now'::timestamptz as n": "the word now",
    "select date 'yesterday' as n": "the word yesterday",
    "select xmin::text as x from t": "a system column",
    "select ctid as c from t": "a system column",
    "select tableoid as o from t": "a system column",
    "select id from t tablesample bernoulli (50)": "a sample",
    "select id from t for update": "locks rows",
    "select seen from of_now": "calls now()",
    "select id from of_both": "calls now()",
    "select relname from pg_class": "the catalog",
    "select table_name from information_schema.tables": "",
    "with gone as (delete from t returning id) select id from gone": "cannot be examined",
    "select 1 as a; drop table t": "cannot be examined",
    "select 1 as a) ; drop table t; --": "cannot be examined",
    "insert into t (id) values (1)": "cannot be examined",
    "select no_such_column from t": "cannot be examined",
    "select pg_temp.gone() as g": "does not come with PostgreSQL",
    "select query_to_xml('select 1', true, true, '') as x": "",
    "select x::xml as x from t": "",
    "select time with time zone '10:00' = s::time::timetz as t from t": "calls",
}


@pytest.mark.parametrize("statement", UNSAFE)
def test_sql_whose_result_may_differ_is_recognized(connection: psycopg.Connection, statement: str) -> None:
    """A stale result would otherwise stay for ever. Nothing is executed, and no object stays."""
    found = examined(connection, statement).unsafe
    assert found
    assert UNSAFE[statement] in found
    assert connection.execute("select count(*) from t").fetchone() == (0,)
    assert connection.execute("select to_regclass('pg_temp.dbt_refresh_examined')").fetchone() == (None,)


def test_what_is_read(connection: psycopg.Connection) -> None:
    """Tables behind views count; only what the statement itself names is direct."""
    found = examined(connection, "select o.id from of_t o join kept k on k.id = o.id")
    assert found.direct == {Relation("public", "of_t"), Relation("public", "kept")}
    assert found.tables == {Relation("public", "t"), Relation("public", "kept")}
    assert found.views == {Relation("public", "of_t")}


def test_a_definition_is_unsafe_only_if_it_is_parsed_to_another_one(connection: psycopg.Connection) -> None:
    """A view with now() has the same definition each time; one with `today` has that day's."""
    assert examined(connection, "select now() as n").unsafe_definition == ""
    assert "today" in examined(connection, "select date 'today' as n").unsafe_definition
    assert "cannot be examined" in examined(connection, "select no_such_column from t").unsafe_definition
