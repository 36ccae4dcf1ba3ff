"""Names of staging schemas in texts: data get the live name, names for PostgreSQL are kept, and ambiguous texts are refused."""

from __future__ import annotations

import pytest

from refresh_runner.dbt.names_as_text import AmbiguousNameError, check_texts, stores_texts, with_live_names

SCHEMAS = {"dwh__next": "dwh", "à part__next": "à part"}


@pytest.mark.parametrize(
    "sql",
    [
        """select '"base"."{0}"."mart"' as relation from "base"."{1}"."mart\"""",
        "select cast('{0}.mart' as text), concat('{0}', '_', 'mart'), '{0}_rows', $${0}.mart$$, E'{0} \\' {0}' from {1}.mart",
        "select a from {1}.mart where relation in ('x', '{0}.mart') -- of '{1}'",
        "insert into journal (a, b) values ('{0}', '{0}.mart')",
        "with q (a) as (select '{0}') insert into journal select a from q",
        "select coalesce(max(x), '{0}') over (partition by '{0}') from {1}.mart",
        "select (select count(*) from {1}.mart), '{0}'",
        "select count(f(x)) || '{0}' from {1}.mart",
        "comment on table {1}.mart is 'of {0}.mart'",
        "alter table {1}.mart alter source set default '{0}.mart', add check (source like '{0}%')",
        "create index on {1}.mart (id) where source = '{0}'",
        "grant usage on schema {1} to lecteur",
    ],
)
def test_data_get_the_live_name(sql: str) -> None:
    """Where a text is only a value. Names in code are kept."""
    assert with_live_names(sql.format("dwh__next", "dwh__next"), SCHEMAS) == sql.format("dwh", "dwh__next")


def test_a_block_is_code() -> None:
    """Texts in the block are treated as those of a statement."""
    block = "do $$ begin if x = '{1}' then insert into j values ('{1}', 'it''s'); delete from {0}.mart; end if; end $$"
    assert with_live_names(block.format("dwh__next", "dwh__next"), SCHEMAS) == block.format("dwh__next", "dwh")


def test_a_name_that_must_be_quoted() -> None:
    """It is replaced like any other."""
    assert with_live_names("""select '"à part__next"."x"' from "à part__next"."x\"""", SCHEMAS) == (
        """select '"à part"."x"' from "à part__next"."x\""""
    )


@pytest.mark.parametrize(
    "sql",
    [
        "select 1 from dwh__next.mart",
        "select to_regclass('dwh__next.mart'), 'dwh__next.mart'::regclass, regclass 'dwh__next.mart', pg_relation_size('dwh__next.mart')",
        "select count(*) from information_schema.columns where table_schema = 'dwh__next' and table_name = 'mart'",
        "select 1 from pg_class c join pg_namespace n on n.oid = relnamespace where lower(n.nspname) in ('x', 'dwh__next')",
        "do $x$ begin execute 'alter table dwh__next.mart add primary key (id)'; execute format('drop table dwh__next.%I', 'x'); end $x$",
        "select nextval('dwh__next.numero'), setval ('dwh__next.numero', 1)",
        "select 1 /* 'dwh__next' */ from dwh__next.mart -- 'dwh__next'",
    ],
)
def test_names_stay(sql: str) -> None:
    """PostgreSQL must find the new table."""
    assert with_live_names(sql, SCHEMAS) == sql


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("select compte('dwh__next.mart')", "to compte()"),
        ("select outils.compte(concat('select ', 'dwh__next.mart'))", "to compte()"),
        ("select query_to_xml('select 1 from dwh__next.mart', true, false, '')", "to query_to_xml()"),
        ("with q as (select 'select 1 from dwh__next.mart' as s) select query_to_xml(s, true, false, '') from q", "with query_to_xml"),
        ("select 'dwh__next' as s, count(*) from information_schema.tables", "with information_schema"),
        ("select ('dwh__next' || '.mart')::regclass", "with regclass"),
        ("call suivi.note('dwh__next.mart')", "to note()"),
        ("do $$ declare t text := 'dwh__next.mart'; begin execute 'select 1 from ' || t; end $$", "with execute"),
        ("do 'begin delete from dwh__next.mart; end'", "not dollar-quoted"),
        ("create or replace function f() returns int language sql as $$ select 1 from dwh__next.mart $$", "body of a routine"),
        ("select count(*) as dwh__next_rows from dwh__next.mart", "forms a name from dwh__next"),
        ('select 1 as "dwh__next" from dwh__next.mart', "forms a name from dwh__next"),
    ],
)
def test_what_could_be_either_is_refused(sql: str, reason: str) -> None:
    """An unknown function, a statement as text, a catalog query, and a name that is derived from the schema's."""
    with pytest.raises(AmbiguousNameError) as refused:
        with_live_names(sql, SCHEMAS)
    assert reason in str(refused.value)


def test_a_project_is_checked_with_names_of_its_own() -> None:
    """Before the project is compiled, each `ref` is represented by a unique name."""
    name = '{{ ref("mart") }}'
    check_texts(f"select '{name}' as relation from {name}", [name])
    for sql in (f"select compte('{name}')", f"select 1 as {name}_rows from {name}", f"select 1 as x{name}"):
        with pytest.raises(AmbiguousNameError):
            check_texts(sql, [name])


@pytest.mark.parametrize(
    ("sql", "is_storing"),
    [
        ("insert into x select 1", True),
        ("/* dbt */ update x set a = 1", True),
        ("with q as (select 1) delete from x", True),
        ("merge into x using y on true when matched then do nothing", True),
        ("with q as (select 'insert') select * from q", False),
        ("select 1", False),
        ("create table x as select 1", True),
        ("create schema x", False),
        ("grant select on x to y", False),
    ],
)
def test_statements_that_store_texts(sql: str, is_storing: bool) -> None:
    """Recognised in code, not in string literals."""
    assert stores_texts(sql) == is_storing
