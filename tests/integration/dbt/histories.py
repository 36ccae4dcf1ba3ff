"""Random changes of sources between two runs: new, corrected, late, duplicate, moved, withdrawn and restored records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import NamedTuple, Protocol, cast

import psycopg
from psycopg import sql

from refresh_examples.records import TABLES
from refresh_examples.truth import truth
from support.postgres import Database

from .comparing import MARTS, differences, found

FACTS = ("fait_implantations", "fait_indemnisations", "fait_emplois_crees", "fait_factures")
_KEPT = ("numero_ligne", "updated_at", "deleted_at")


class _Line(Protocol):
    """The fields that every source's lines have."""

    numero_ligne: int
    updated_at: datetime


def lines(database: Database, table: str) -> list[NamedTuple]:
    """Return a source's lines in the database."""
    kind = TABLES[table]
    columns = ", ".join(kind._fields)
    return [kind._make(row) for row in database.rows(f"select {columns} from sigeti.{table} order by numero_ligne")]


def drawn(draw: Random, before: Sequence[NamedTuple], count: int) -> Iterator[NamedTuple]:
    """Draw further lines for a source: each copies an existing line and changes its content, its time, or nothing."""
    number = max(cast(_Line, line).numero_ligne for line in before)
    next_id = max(cast(int, line[0]) for line in before)
    for _ in range(count):
        line = draw.choice(before)
        if draw.random() < 0.1:
            yield line  # delivered twice
            continue
        said = {name: getattr(draw.choice(before), name) for name in line._fields[1:] if name not in _KEPT and draw.random() < 0.4}
        if draw.random() < 0.2:
            next_id += 1
            said[line._fields[0]] = next_id
        number += 1
        moment = cast(_Line, line).updated_at + timedelta(hours=draw.choice([-200, -1, 0, 1, 30, 2_000]))
        withdrawn = moment if draw.random() < 0.2 else None
        yield line._replace(**said, numero_ligne=number, updated_at=moment.astimezone(UTC), deleted_at=withdrawn)


def append(connection: psycopg.Connection, table: str, further: Iterator[NamedTuple]) -> None:
    """Insert lines into a source."""
    columns = sql.SQL(", ").join(map(sql.Identifier, TABLES[table]._fields))
    with connection.cursor().copy(sql.SQL("copy {} ({}) from stdin").format(sql.Identifier("sigeti", table), columns)) as copy:
        for line in further:
            copy.write_row(line)


def wrong(database: Database, as_of: datetime) -> dict[str, list[str]]:
    """Return by mart how the phase 2 marts differ from the truth of the current lines."""
    read: dict[str, Callable[[], list[NamedTuple]]] = {table: partial(lines, database, table) for table in TABLES}
    expected = truth(read, as_of.date())
    # the other two marts read no fact
    said = {
        mart: differences(expected[mart], found(database, mart))
        for mart in MARTS
        if not mart.endswith("_mensuels") and "mensuelle" not in mart
    }
    return {mart: each[:3] for mart, each in said.items() if each}


def files(database: Database) -> dict[str, int]:
    """Return each fact's file on disk; a full build creates another one."""
    names = ", ".join(f"pg_relation_filenode('dwh_facts.{fact}')" for fact in FACTS)
    (row,) = database.rows(f"select {names}")
    return dict(zip(FACTS, cast(tuple[int, ...], row), strict=True))
