"""The state of a table's rows: which transactions wrote them, and how many there are. No value is read.

A row is new if another transaction wrote it. If there is no such row and the number is the same, no row was added, changed or deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, LiteralString

import psycopg
from psycopg import sql

from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.connection import transaction_with_timeout
from refresh_runner.postgres.data_version import TableState

VIEW: Final = "v"
PLAIN_TABLE: Final = "r"
"""Kind of a heap, or of a materialized view, with all rows visible and no tables that inherit from it."""
_XIDS: Final = 1 << 32
"""Number of the transaction IDs that a row can have: it has only the last 32 bits."""
_AUTHOR: Final = sql.SQL("({next} - ({next} - xmin::text::bigint) % 4294967296)")
"""The 64-bit ID of the transaction that wrote a row."""
_MAX_XIDS: Final = 10_000
"""Maximum number of transaction IDs that are recorded. With more, a writer was never idle."""
_MAX_COMPARED: Final = 8
"""Maximum number of transaction IDs with which each row's is compared: PostgreSQL compares with one after the other."""
_LOCK_TIMEOUT: Final = "5s"
"""Maximum wait for a table lock."""


class UnknownError(Exception):
    """It is unknown whether anything has changed. The message says why."""


@dataclass(frozen=True)
class Moment:
    """The transactions of one snapshot."""

    next_xid: int
    """No transaction with this ID or a larger one had begun."""
    xmin: int
    """All transactions with a smaller ID had ended."""


@dataclass(frozen=True)
class Identity:
    """A relation as the catalog identifies it."""

    oid: int
    kind: str
    """PLAIN_TABLE, VIEW, or anything else."""
    file: str
    """Changes if the table is replaced, truncated or rewritten."""
    columns: str
    """Names and types of its columns, in order."""

    @property
    def storage_id(self) -> str:
        """The file and the columns."""
        return f"{self.file} {self.columns}"


@contextmanager
def snapshot(connection: psycopg.Connection, limit: timedelta) -> Iterator[Moment]:
    """Open a read-only transaction with one snapshot. Raise UnknownError for an error inside the block, or if PostgreSQL counts nothing."""
    try:
        with transaction_with_timeout(connection, limit):
            connection.execute("set transaction isolation level repeatable read, read only")
            connection.execute(sql.SQL("set local lock_timeout = {}").format(_LOCK_TIMEOUT))
            yield _moment(connection)
    except psycopg.Error as error:
        raise UnknownError(f"PostgreSQL rejected the query: {type(error).__name__}") from error


def _moment(connection: psycopg.Connection) -> Moment:
    row = connection.execute(
        "select pg_snapshot_xmax(s)::text::bigint, pg_snapshot_xmin(s)::text::bigint, current_setting('track_counts') = 'on'"
        " from pg_current_snapshot() as s"
    ).fetchone()
    next_xid, xmin, counts = row or (0, 0, False)
    if not counts:
        raise UnknownError("PostgreSQL counts no changes (track_counts is off)")
    return Moment(next_xid, xmin)


def identify(connection: psycopg.Connection, relation: Relation) -> Identity:
    """Return a relation's identity. Raise UnknownError if it does not exist."""
    row = connection.execute(_IDENTIFY, [relation.schema, relation.table]).fetchone()
    if row is None:
        raise UnknownError(f"{relation} does not exist")
    return Identity(int(row[0]), str(row[1]), str(row[2]), str(row[3]))


def view_definition(connection: psycopg.Connection, view: Identity) -> tuple[object, ...]:
    """Return columns, query and options of a view."""
    # From the catalog, not from the project: the view may have been built with another image or other variables.
    row = connection.execute("select pg_get_viewdef(%s::oid), reloptions from pg_class where oid = %s", [view.oid, view.oid]).fetchone()
    return view.columns, row


def read_by_view(connection: psycopg.Connection, view: Identity) -> list[Relation]:
    """Return the relations that a view reads."""
    return [Relation(str(schema), str(table)) for schema, table in connection.execute(_READ_BY_VIEW, [view.oid])]


def table_state(
    connection: psycopg.Connection, relation: Relation, found: Identity, moment: Moment, before: TableState | None, *, with_counter: bool
) -> tuple[TableState, str]:
    """Return the state of a plain table, and how its rows differ from the state `before`; empty if they do not, or without `before`.

    `with_counter` also compares how many rows were ever written, which shows rows that came and went.
    """
    since = min(before.xmin, moment.xmin) if before else moment.xmin
    foreign = _not_by(before.xids, moment) if before else sql.SQL("true")
    recent = sql.SQL("({} and {})").format(foreign, _written_since(since, moment))
    counts = sql.SQL("select count(*), count(*) filter (where {}) from {}")
    row_count, found_recent = connection.execute(counts.format(recent, relation.sql)).fetchone() or (0, 0)
    young, new = _recent_rows(connection, relation, moment, before) if found_recent else (0, 0)
    # Those that were known had ended, so that they write nothing more.
    authors = [xid for xid in before.xids if xid >= moment.xmin] if before else []
    if young:
        # A separate query, which is rarely needed: parallel workers cannot compute a distinct list.
        distinct = sql.SQL("select distinct {} from {} where {} limit {}").format(
            _author(moment), relation.sql, _written_since(moment.xmin, moment), _MAX_XIDS + 1
        )
        authors = [int(number) for (number,) in connection.execute(distinct)]
    if len(authors) > _MAX_XIDS:
        raise UnknownError(f"{relation} was written by too many transactions while one of them was open")
    written = write_count(connection, found) if with_counter else None
    state = TableState(storage_id=found.storage_id, row_count=row_count, xmin=moment.xmin, xids=authors, rows_written=written)
    return state, _change(relation, before, state, new) if before else ""


def written_when_created(connection: psycopg.Connection, relation: Relation, found: Identity, moment: Moment) -> TableState | None:
    """Return the state of a table whose rows were all written by the transaction that created or truncated it; None if others have written.

    Others can write all rows in one transaction, too, right after dbt has. Comparing the transactions of two rows for equality takes a
    fraction of what comparing their order takes.
    """
    first = connection.execute(sql.SQL("select xmin::text from {} limit 1").format(relation.sql)).fetchone()
    xid = first[0] if first else "0"
    if first and xid not in {author for (author,) in connection.execute(_FILE_AUTHORS, {"oid": found.oid})}:
        return None
    counts = sql.SQL("select count(*), count(*) filter (where xmin <> {}::xid) from {}")
    row_count, others = connection.execute(counts.format(sql.Literal(xid), relation.sql)).fetchone() or (0, 0)
    if others:
        return None
    author = moment.next_xid - (moment.next_xid - int(xid)) % _XIDS
    authors = [author] if row_count and author >= moment.xmin else []
    return TableState(storage_id=found.storage_id, row_count=row_count, xmin=moment.xmin, xids=authors)


def _recent_rows(connection: psycopg.Connection, relation: Relation, moment: Moment, before: TableState | None) -> tuple[int, int]:
    """Return how many rows were written by transactions that may have been open at this moment, and how many are new since `before`."""
    late = _written_since(moment.xmin, moment)
    further: sql.Composable = sql.SQL("false")
    if before:
        known = sql.SQL("{} = any ({}::bigint[])").format(_author(moment), sql.Literal(before.xids))
        further = sql.SQL("({} and not {})").format(_written_since(before.xmin, moment), known)
    counts = sql.SQL("select count(*) filter (where {}), count(*) filter (where {}) from {}")
    young, new = connection.execute(counts.format(late, further, relation.sql)).fetchone() or (0, 0)
    return young, new


def _not_by(xids: Sequence[int], moment: Moment) -> sql.Composable:
    """Return a condition that is false for rows of these transactions, and true for all others; true if there are too many.

    Comparing for equality takes a fraction of what the order takes. Of two transactions with the same last 32 bits, a row is by the later.
    """
    known = [xid % _XIDS for xid in xids if moment.next_xid - xid <= _XIDS]
    if not known or len(known) > _MAX_COMPARED:
        return sql.SQL("true")
    return sql.SQL("xmin <> all ({}::xid[])").format(sql.Literal("{" + ",".join(map(str, known)) + "}"))


def _author(moment: Moment) -> sql.Composed:
    return _AUTHOR.format(next=sql.Literal(moment.next_xid))


def _written_since(xid: int, moment: Moment) -> sql.Composed:
    """Return a condition: whether a transaction with this ID or a larger one wrote the row.

    Comparing the bytes of xmin takes a third of the time of the exact comparison, which few rows then need. It excludes no row unless the
    32 bits of the IDs wrapped around in between.
    """
    exact = sql.SQL("{} >= {}").format(_author(moment), sql.Literal(xid))
    if xid // _XIDS != moment.next_xid // _XIDS:
        return sql.SQL("({})").format(exact)
    return sql.SQL("(xidsend(xmin) >= {}::bytea and {})").format(sql.Literal(f"\\x{xid % _XIDS:08x}"), exact)


def _change(relation: Relation, before: TableState, now: TableState, new: int) -> str:
    if now.storage_id != before.storage_id:
        return f"{relation} was replaced, truncated, rewritten or given other columns"
    if now.xmin < before.xmin:
        return f"{relation} belongs to an earlier state of the server"
    if new or now.row_count != before.row_count:
        return f"{relation} has {new} new rows, and {before.row_count - now.row_count + new} fewer of the earlier rows"
    if now.rows_written != before.rows_written:
        return f"{relation} was written to, and may have had other rows in between"
    return ""


def write_count(connection: psycopg.Connection, found: Identity) -> int:
    """Return how many rows were ever inserted, updated and deleted in a table, as far as PostgreSQL has counted them."""
    row = connection.execute(
        "select pg_stat_get_tuples_inserted(%(oid)s) + pg_stat_get_tuples_updated(%(oid)s) + pg_stat_get_tuples_deleted(%(oid)s)",
        {"oid": found.oid},
    ).fetchone()
    return int(row[0]) if row else 0


# The catalog's entries of system columns stay as the table was created; truncating it changes its own entry.
_FILE_AUTHORS: Final[LiteralString] = """
    select xmin::text from pg_attribute where attrelid = %(oid)s and attnum = -1
    union all select xmin::text from pg_class where oid = %(oid)s"""
_IDENTIFY: Final[LiteralString] = """
    select c.oid,
        case when relkind in ('r', 'm') and am.amname = 'heap' and not relrowsecurity and not relhassubclass then 'r'
            when relkind in ('r', 'm') then 'other' else relkind::text end,
        c.oid || '/' || coalesce(pg_relation_filenode(c.oid), 0), coalesce((
            select string_agg(attnum || ' ' || attname || ' ' || format_type(atttypid, atttypmod), ', ' order by attnum)
            from pg_attribute where attrelid = c.oid and attnum > 0 and not attisdropped), '')
    from pg_class c join pg_namespace n on n.oid = relnamespace left join pg_am am on am.oid = relam
    where nspname = %s and relname = %s"""
_READ_BY_VIEW: Final[LiteralString] = """
    select distinct n.nspname, t.relname
    from pg_rewrite r join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
    join pg_class t on t.oid = d.refobjid join pg_namespace n on n.oid = t.relnamespace
    where r.ev_class = %s and t.oid <> r.ev_class"""
