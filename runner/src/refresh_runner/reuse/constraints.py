"""Answers dbt's tests `not_null` and `unique` from the catalog, if PostgreSQL itself enforces the rule on that very table."""

from __future__ import annotations

from typing import Final, LiteralString

import psycopg

from refresh_runner.dbt.engine import ColumnRule


def enforced_by(connection: psycopg.Connection, rule: ColumnRule) -> str:
    """Return the constraint that enforces a rule; empty if there is none.

    Others have no such certainty: a foreign key may have been loaded past its triggers.
    """
    query = _NOT_NULL if rule.name == "not_null" else _UNIQUE
    row = connection.execute(query, [rule.place.schema, rule.place.table, rule.column]).fetchone()
    return f"{row[0]} on {rule.place}.{rule.column}" if row else ""


# A constraint that is NOT VALID, since PostgreSQL 18, says nothing of earlier rows.
_NOT_NULL: Final[LiteralString] = """
    select 'NOT NULL' from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on attrelid = c.oid and attnum > 0
    where nspname = %s and relname = %s and attname = %s and relkind = 'r' and not relhassubclass and not relrowsecurity and attnotnull
    and not exists (
        select from pg_constraint where conrelid = c.oid and contype = 'n' and conkey = array[attnum] and not convalidated)"""
# Of the whole column, checked at once, and by the equality by which dbt groups.
_UNIQUE: Final[LiteralString] = """
    select 'UNIQUE' from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on attrelid = c.oid and attnum > 0
    join pg_index i on indrelid = c.oid and indkey[0] = attnum join pg_opclass o on o.oid = indclass[0]
    where nspname = %s and relname = %s and attname = %s and relkind = 'r' and not relhassubclass and not relrowsecurity
    and indisunique and indisvalid and indisready and indimmediate and indnkeyatts = 1 and indpred is null and indexprs is null
    and opcdefault and indcollation[0] = attcollation limit 1"""
