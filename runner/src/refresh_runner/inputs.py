"""Whether anything that a run's marts are made of has changed since an earlier run looked at it.

No date or number in the rows is trusted. Of a source it is kept which transactions had written its lines and how many there were: a line
is further if another transaction wrote it, and as long as there is none and they are as many as then, no line was added, changed or
taken away. What other refreshes build is made anew time and again, mostly to the same: of that a digest of all rows is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import psycopg
from psycopg import sql
from pydantic import BaseModel

from refresh_runner.catalog import Relation


@dataclass(frozen=True)
class Wanted:
    """What to look at."""

    sources: frozenset[Relation] = frozenset()
    models: frozenset[Relation] = frozenset()
    """Tables that other refreshes build; what their views read is listed instead of them."""
    views: frozenset[Relation] = frozenset()
    """Those views themselves."""


class Lines(BaseModel):
    """What is kept of a source."""

    file: str
    """Tells the table from one that took its place, and from itself once it was emptied or rewritten."""
    lines: int
    horizon: int
    """Every transaction with a smaller number had ended."""
    authors: list[int]
    """Further transactions whose lines were there."""


class Inputs(BaseModel):
    """What a run was made of, by schema.name."""

    sources: dict[str, Lines] = {}
    models: dict[str, str] = {}
    """Digests of rows and columns."""
    views: dict[str, str] = {}
    """Digests of definitions."""

    @property
    def digests(self) -> dict[str, str]:
        """What must be the same."""
        return self.models | self.views


class UnknownError(Exception):
    """It can't be shown whether something has changed; says why."""


def changes(connection: psycopg.Connection, wanted: Wanted, before: Inputs | None) -> tuple[Inputs, str]:
    """Return what is there, and what of it has changed since `before`, empty if nothing has; UnknownError if that can't be said.

    All of one moment: what is written afterwards counts as a change next time, whether or not this run still sees it.
    """
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        found = Inputs(
            sources={str(each): _lines(connection, each) for each in sorted(wanted.sources)},
            models={str(each): _digest(connection, each) for each in sorted(wanted.models)},
            views={str(each): _definition(connection, each) for each in sorted(wanted.views)},
        )
        return found, _changed(connection, wanted, before, found) if before else "nothing is known of the last run"


def _changed(connection: psycopg.Connection, wanted: Wanted, before: Inputs, now: Inputs) -> str:
    for name in sorted(now.digests.keys() ^ before.digests.keys() | now.sources.keys() ^ before.sources.keys()):
        return f"{name} was not read by both runs"
    for name, digest in now.digests.items():
        if before.digests[name] != digest:
            return f"{name} is not what it was"
    for relation in sorted(wanted.sources):
        kept, there = before.sources[str(relation)], now.sources[str(relation)]
        if kept.file != there.file:
            return f"{relation} was replaced, emptied or rewritten"
        further = _count(connection, relation, sql.SQL(_FURTHER).format(kept.horizon, kept.authors))
        if further or kept.lines != there.lines:
            return f"{relation} has {further} further lines, and {kept.lines - there.lines + further} fewer of those that were there"
    return ""


_AUTHOR: Final = "(pg_snapshot_xmax({0})::text::bigint - (pg_snapshot_xmax({0})::text::bigint - xmin::text::bigint) % 4294967296)".format(
    "pg_current_snapshot()"
)
"""The number of the transaction that wrote a line, with the rounds of 32 bits that the line itself does not keep."""
_LATE: Final = _AUTHOR + " >= {}"
_FURTHER: Final = _LATE + f" and {_AUTHOR} <> all ({{}}::bigint[])"


def _lines(connection: psycopg.Connection, relation: Relation) -> Lines:
    row = connection.execute(
        "select relkind::text in ('r', 'm') and not relrowsecurity and not relhassubclass,"
        " oid || '/' || pg_relation_filenode(oid), pg_snapshot_xmin(pg_current_snapshot())::text::bigint from pg_class where oid = %s",
        [_oid(connection, relation)],
    ).fetchone()
    is_plain, file, horizon = row or (False, "", 0)
    if not is_plain:
        raise UnknownError(f"{relation} is no plain table all of whose lines can be seen")
    late = sql.SQL(_LATE).format(horizon)
    authors: list[int] = []
    if _count(connection, relation, late):
        # Apart, and seldom: a list of distinct values can't be made by several workers at once.
        query = sql.SQL("select array_agg(distinct {}) from {} where {}").format(sql.SQL(_AUTHOR), relation.sql, late)
        authors = (connection.execute(query).fetchone() or ([],))[0]
    return Lines(file=str(file), lines=_count(connection, relation, sql.SQL("true")), horizon=int(horizon), authors=authors)


def _digest(connection: psycopg.Connection, relation: Relation) -> str:
    """Return what tells the rows and columns of a table from others."""
    columns = connection.execute(
        "select string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' order by attnum) from pg_attribute"
        " where attrelid = %s and attnum > 0 and not attisdropped",
        [_oid(connection, relation)],
    ).fetchone()
    query = "select count(*), sum(hashtextextended(refresh_row::text, 0)), sum(hashtextextended(refresh_row::text, 1)) from {} refresh_row"
    rows = connection.execute(sql.SQL(query).format(relation.sql)).fetchone()
    return sha256(repr((columns, rows)).encode()).hexdigest()


def _definition(connection: psycopg.Connection, relation: Relation) -> str:
    row = connection.execute("select pg_get_viewdef(%s::oid)", [_oid(connection, relation)]).fetchone()
    return sha256(str(row).encode()).hexdigest()


def _oid(connection: psycopg.Connection, relation: Relation) -> int:
    row = connection.execute(
        "select c.oid from pg_class c join pg_namespace n on n.oid = relnamespace where nspname = %s and relname = %s",
        [relation.schema, relation.table],
    ).fetchone()
    if row is None:
        raise UnknownError(f"{relation} is not there")
    return int(row[0])


def _count(connection: psycopg.Connection, relation: Relation, where: sql.Composable) -> int:
    row = connection.execute(sql.SQL("select count(*) from {} where {}").format(relation.sql, where)).fetchone()
    return int(row[0]) if row else 0
