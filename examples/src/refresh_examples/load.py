"""Loads generated source data into the schema `sigeti` of a PostgreSQL."""

from __future__ import annotations

from importlib.resources import files

import psycopg
from psycopg import sql

from refresh_examples.cells import text
from refresh_examples.records import TABLES
from refresh_examples.sources import Sources


def create_tables(connection: psycopg.Connection) -> None:
    """Create missing source tables; existing ones keep their rows."""
    connection.execute(files("refresh_examples").joinpath("sigeti.sql").read_bytes())


def load(connection: psycopg.Connection, sources: Sources) -> dict[str, int]:
    """Replace all source data by generated ones in one transaction; return rows written, by table.

    Tables are truncated, not dropped, so that views on them survive.
    """
    counts: dict[str, int] = {}
    with connection.transaction():
        create_tables(connection)
        for name in TABLES:
            connection.execute(sql.SQL("truncate {}").format(sql.Identifier("sigeti", name)))
            counts[name] = _copy(connection, name, sources)
    for name in counts:
        connection.execute(sql.SQL("analyze {}").format(sql.Identifier("sigeti", name)))
    return counts


def _copy(connection: psycopg.Connection, name: str, sources: Sources) -> int:
    """Append a source table's lines; return their number."""
    columns = sql.SQL(", ").join(map(sql.Identifier, TABLES[name]._fields))
    statement = sql.SQL("copy {} ({}) from stdin").format(sql.Identifier("sigeti", name), columns)
    count = 0
    with connection.cursor().copy(statement) as copy:
        for lines, block in text(TABLES[name], sources.lines(name)):
            copy.write(block)
            count += lines
    return count
