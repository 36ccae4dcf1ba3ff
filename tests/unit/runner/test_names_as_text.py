"""Staging schemas' names as text: data gets the live name, PostgreSQL's names stay, what could be either is refused."""

from __future__ import annotations

import pytest

from refresh_runner.dbt.names_as_text import AmbiguousNameError, check_texts, with_live_names, writes

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
    ],
)
def test_data_get_the_live_name(sql: str) -> None:
    """Wherever a text is a value and nothing else; names in code stay."""
    assert with_live_names(sql.format("dwh__next", "dwh__next"), SCHEMAS) == sql.format("dwh", "dwh__next")


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
        "select 1 /* 'dwh__next' */ from dwh__next.mart -- 'dwh__next'",
    ],
)
def test_names_stay(sql: str) -> None:
    """What PostgreSQL looks up is the new table."""
    assert with_live_names(sql, SCHEMAS) == sql


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("select compte('dwh__next.mart')", "to compte()"),
        ("select outils.compte(concat('select ', 'dwh__next.mart'))", "to compte()"),
        ("select query_to_xml('select 1 from dwh__next.mart', true, false, '')", "to query_to_xml()"),
        ("with q as (select 'select 1 from dwh__next.mart' as s) select query_to_xml(s, true, false, '') from q", "beside query_to_xml"),
        ("select 'dwh__next' as s, count(*) from information_schema.tables", "beside information_schema"),
        ("select ('dwh__next' || '.mart')::regclass", "beside regclass"),
        ("select count(*) as dwh__next_rows from dwh__next.mart", "makes a name of dwh__next"),
        ('select 1 as "dwh__next" from dwh__next.mart', "makes a name of dwh__next"),
    ],
)
def test_what_could_be_either_is_refused(sql: str, reason: str) -> None:
    """A function that nobody here knows, a statement as text, a list of the catalog, a name made of the schema's."""
    with pytest.raises(AmbiguousNameError) as refused:
        with_live_names(sql, SCHEMAS)
    assert reason in str(refused.value)


def test_a_project_is_checked_with_names_of_its_own() -> None:
    """Before anything is compiled, each `ref` stands for itself."""
    name = '{{ ref("mart") }}'
    check_texts(f"select '{name}' as relation from {name}", [name])
    for sql in (f"select compte('{name}')", f"select 1 as {name}_rows from {name}", f"select 1 as x{name}"):
        with pytest.raises(AmbiguousNameError):
            check_texts(sql, [name])


@pytest.mark.parametrize(
    ("sql", "is_writing"),
    [
        ("insert into x select 1", True),
        ("/* dbt */ update x set a = 1", True),
        ("with q as (select 1) delete from x", True),
        ("merge into x using y on true when matched then do nothing", True),
        ("with q as (select 'insert') select * from q", False),
        ("select 1", False),
        ("create table x as select 1", False),
    ],
)
def test_statements_that_write(sql: str, is_writing: bool) -> None:
    """In their code, not in their texts."""
    assert writes(sql) == is_writing
