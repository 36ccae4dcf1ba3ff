"""Which tables a text of SQL names: in code, not in comments and string literals."""

from __future__ import annotations

import pytest

from refresh_runner.dbt.sql_names import named, names_in, other_schema
from refresh_runner.postgres.catalog import Relation

MART = Relation("dwh", "mart_a")


@pytest.mark.parametrize(
    "text",
    [
        "select * from dwh.mart_a",
        'select * from "base"."dwh"."mart_a" as x',
        "select * from DWH . Mart_A",
        "grant select on dwh.mart_a to lecteur",
        "select 'dwh.mart_a'::regclass",
        "select pg_total_relation_size('dwh.mart_a')",
        "do $$ begin delete from dwh.mart_a; end $$",
        "select '--', id from dwh.mart_a -- a comment",
        "{{ log('it''s') }} select id from dwh.mart_a",
    ],
)
def test_a_table_is_named(text: str):
    """With any quoting."""
    assert named(text, [MART]) == [MART]


@pytest.mark.parametrize(
    "text",
    [
        "select * from dwh.mart_ab",
        "select * from autre_dwh.mart_a",
        "select * from dwh__next.mart_a",
        'drop table "dwh"."mart_a__dbt_backup"',
        "select 1 -- from dwh.mart_a",
        "/* dwh.mart_a */ select 1",
        "{# dwh.mart_a #} select 1",
        "select 'dwh.mart_a' as place",
        "comment on table x is $dbt_comment_literal_block$see dwh.mart_a$dbt_comment_literal_block$",
        "select mart_a from dwh",
    ],
)
def test_a_table_is_not_named(text: str):
    """By other names, comments and string literals."""
    assert named(text, [MART]) == []


def test_what_is_looked_for_in_a_schema():
    """By their names in lower case."""
    assert names_in('insert into dwh__next.Audit select 1 from "dwh__next"."mon mart", dwh.autre', "dwh__next") == {"audit", "mon mart"}


def test_a_statement_about_a_schema_is_told_for_another_one():
    """Except for statements about an object in the schema."""
    assert other_schema('grant usage on schema "dwh__next" to x', "dwh__next", "dwh") == 'grant usage on schema "dwh" to x'
    assert other_schema("grant select on all tables in schema dwh__next to x", "dwh__next", "dwh") == (
        'grant select on all tables in schema "dwh" to x'
    )
    assert other_schema("grant select on dwh__next.mart_a to x", "dwh__next", "dwh") is None
    assert other_schema("grant usage on schema dwh__next2 to x", "dwh__next", "dwh") is None
    assert other_schema("select 'in schema dwh__next'", "dwh__next", "dwh") is None
