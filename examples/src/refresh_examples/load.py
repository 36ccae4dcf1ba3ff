"""Filling the schema `sigeti` of a PostgreSQL with generated source data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.resources import files
from itertools import islice
from typing import NamedTuple

import psycopg
from psycopg import sql

from refresh_examples.records import TABLES
from refresh_examples.sources import Sources

_LINES_A_WRITE = 2_000


def create_tables(connection: psycopg.Connection) -> None:
    """The source tables exist afterwards; those that were there keep their lines."""
    connection.execute(files("refresh_examples").joinpath("sigeti.sql").read_bytes())


def load(connection: psycopg.Connection, sources: Sources) -> dict[str, int]:
    """Replace all source data by generated ones, in one transaction; lines written, by table.

    The tables are emptied, not dropped, so that views on them live on.
    """
    counts: dict[str, int] = {}
    with connection.transaction():
        create_tables(connection)
        for name, generate in sources.tables().items():
            table = sql.Identifier("sigeti", name)
            connection.execute(sql.SQL("truncate {}").format(table))
            counts[name] = copy_lines(connection, name, generate())
    for name in counts:
        connection.execute(sql.SQL("analyze {}").format(sql.Identifier("sigeti", name)))
    return counts


def copy_lines(connection: psycopg.Connection, name: str, lines: Iterable[NamedTuple]) -> int:
    """Append lines to a source table; how many there were."""
    columns = sql.SQL(", ").join(map(sql.Identifier, TABLES[name]._fields))
    statement = sql.SQL("copy {} ({}) from stdin").format(sql.Identifier("sigeti", name), columns)
    count = 0
    with connection.cursor().copy(statement) as copy:
        rest = iter(lines)
        while block := list(islice(rest, _LINES_A_WRITE)):
            copy.write("".join(_text(block)))
            count += len(block)
    return count


def _text(lines: Iterable[tuple[object, ...]]) -> Iterator[str]:
    """Lines in COPY's text format."""
    for line in lines:
        fields = [_escaped(value) if isinstance(value, str) else r"\N" if value is None else str(value) for value in line]
        yield "\t".join(fields) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\t", r"\t").replace("\n", r"\n")
