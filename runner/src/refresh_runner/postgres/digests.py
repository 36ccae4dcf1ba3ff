"""Digests of what relations contain: the same for two tables with the same columns and rows, whoever wrote them and when."""

from __future__ import annotations

from hashlib import sha256
from typing import Final, LiteralString

import psycopg
from psycopg import sql

from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.table_state import Identity, view_definition

_SETTINGS: Final = {
    # Different values of a type must have different texts, which are the same in all sessions.
    "extra_float_digits": "1",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "timezone": "UTC",
}
_HAS_OWN_TYPES: Final[LiteralString] = """
    select bool_or(t.oid >= 16384 and t.typtype <> 'e' and not (t.typtype = 'd' and t.typbasetype < 16384))
    from pg_attribute join pg_type t on t.oid = atttypid
    where attrelid = %s and attnum > 0 and not attisdropped"""
"""Two values of a type that does not come with PostgreSQL may have the same text. Those of an enum or of a domain have not."""
_ROWS: Final = sql.SQL("""
    select count(*), sum(hashtextextended(row, 0)), sum(hashtextextended(row, 1))
    from (select r::text as row from {} as r offset 0) as rows""")
"""`offset 0` keeps the planner from making each row's text twice."""


def digest(text: str) -> str:
    """Return a digest of a text."""
    return sha256(text.encode()).hexdigest()


def view_digest(connection: psycopg.Connection, view: Identity) -> str:
    """Return a digest of a view's definition."""
    return digest(repr(view_definition(connection, view)))


def row_digest(connection: psycopg.Connection, relation: Relation, found: Identity) -> str:
    """Return a digest of a table's rows, in any order, and columns; empty if it has types that do not come with PostgreSQL.

    Sets the output formats of the transaction in which it is called.
    """
    row = connection.execute(_HAS_OWN_TYPES, [found.oid]).fetchone()
    if row is None or row[0]:
        return ""
    for setting, value in _SETTINGS.items():
        connection.execute("select set_config(%s, %s, true)", [setting, value])
    rows = connection.execute(_ROWS.format(relation.sql)).fetchone()
    return digest(repr((found.columns, rows)))
