"""Detects whether a run's inputs or outputs have changed since the previous run.

No date or number in the rows is trusted. For a table, the number of rows and the transactions that wrote them are recorded. A row is new if
another transaction wrote it. If there is no such row and the number is the same, no row was added, changed or deleted. For sources,
PostgreSQL's statistics are recorded too: they count a row that was inserted and deleted in between. Other refreshes often rebuild their
models with the same rows, so a digest of all rows is recorded for these.
"""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import Final, LiteralString

import psycopg
from psycopg import sql

from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.connection import transaction_with_timeout
from refresh_runner.postgres.data_version import Snapshot, TableState, TrackedRelations

_MAX_XIDS: Final = 10_000
"""Maximum number of transaction IDs that are recorded. With more, a writer was never idle."""
_LOCK_TIMEOUT: Final = "5s"
"""Maximum wait for a table lock."""


class UnknownError(Exception):
    """It is unknown whether anything has changed. The message says why."""


def observe_inputs(
    connection: psycopg.Connection, tracked: TrackedRelations, limit: timedelta, before: Snapshot | None = None
) -> tuple[Snapshot, str]:
    """Return a snapshot of what a run reads, and what has changed since `before`; empty if nothing.

    Raise UnknownError if that is unknown. All relations are read in one transaction. Later writes count as a change in the next run,
    whether or not this run sees them.
    """
    if tracked.unknown_reason:
        raise UnknownError(tracked.unknown_reason)
    return _observe(connection, tracked.inputs, tracked.models, limit, before, is_read=True)


def observe_outputs(
    connection: psycopg.Connection, tracked: TrackedRelations, limit: timedelta, before: Snapshot | None = None
) -> tuple[Snapshot, str]:
    """Return a snapshot of what a run has built, and what has changed since `before`, like `observe_inputs` but without the counters."""
    return _observe(connection, tracked.outputs, frozenset(), limit, before, is_read=False)


def _observe(
    connection: psycopg.Connection,
    relations: frozenset[Relation],
    models: frozenset[Relation],
    limit: timedelta,
    before: Snapshot | None,
    *,
    is_read: bool,
) -> tuple[Snapshot, str]:
    try:
        with transaction_with_timeout(connection, limit):
            connection.execute("set transaction isolation level repeatable read, read only")
            connection.execute(sql.SQL("set local lock_timeout = {}").format(_LOCK_TIMEOUT))
            observer = _Observer(connection, models, before, is_read=is_read)
            for relation in sorted(relations):
                observer.observe(relation)
    except psycopg.Error as error:
        raise UnknownError(f"PostgreSQL rejected the query: {type(error).__name__}") from error
    return observer.snapshot, observer.change


class _Observer:
    """Observes relations, and those that their views read, in one snapshot."""

    def __init__(self, connection: psycopg.Connection, models: frozenset[Relation], before: Snapshot | None, *, is_read: bool) -> None:
        self.snapshot = Snapshot()
        self._change = "" if before else "nothing is recorded of the previous run"
        self._connection = connection
        self._models = models
        self._before = before
        self._is_read = is_read
        row = connection.execute(
            "select pg_snapshot_xmax(s)::text::bigint, pg_snapshot_xmin(s)::text::bigint, current_setting('track_counts') = 'on'"
            " from pg_current_snapshot() as s"
        ).fetchone()
        self._next_xid, self._xmin, counts = row or (0, 0, False)
        if not counts:
            raise UnknownError("PostgreSQL counts no changes (track_counts is off)")

    @property
    def change(self) -> str:
        """The change, for a log line; empty if nothing has changed."""
        if self._change or self._before is None:
            return self._change
        names = (self.snapshot.tables.keys() ^ self._before.tables.keys()) | (self.snapshot.digests.keys() ^ self._before.digests.keys())
        return f"{min(names)} did not exist in both runs" if names else ""

    def observe(self, relation: Relation) -> None:
        """Observe a relation, unless it has already been observed."""
        name = str(relation)
        if name in self.snapshot.tables or name in self.snapshot.digests:
            return
        oid, kind, file = self._describe(relation)
        if kind == "v":
            # From the catalog, not from the project: the view may have been built with another image or other variables.
            definition = self._connection.execute("select pg_get_viewdef(%s::oid), reloptions from pg_class where oid = %s", [oid, oid])
            self._record_digest(name, repr((file.partition(" ")[2], definition.fetchone())))
            for schema, table in self._connection.execute(_READ_BY_VIEW, [oid]).fetchall() if self._is_read else ():
                self.observe(Relation(str(schema), str(table)))
        elif kind != "r":
            raise UnknownError(f"{relation} is not a plain table with all rows visible")
        elif relation in self._models:
            self._record_digest(name, repr((file.partition(" ")[2], self._rows(relation))))
        else:
            self._record_table(relation, oid, file)

    def _describe(self, relation: Relation) -> tuple[int, str, str]:
        """Return a relation's oid, its kind (r: a plain table with all rows visible), and a text that identifies its file and columns."""
        row = self._connection.execute(_DESCRIBE, [relation.schema, relation.table]).fetchone()
        if row is None:
            raise UnknownError(f"{relation} does not exist")
        return int(row[0]), str(row[1]), str(row[2])

    def _rows(self, relation: Relation) -> tuple[object, ...]:
        query = sql.SQL("select count(*), sum(hashtextextended(r::text, 0)), sum(hashtextextended(r::text, 1)) from {} as r")
        return self._connection.execute(query.format(relation.sql)).fetchone() or ()

    def _record_digest(self, name: str, of: str) -> None:
        digest = self.snapshot.digests[name] = sha256(of.encode()).hexdigest()
        if self._before and not self._change and self._before.digests.get(name, digest) != digest:
            self._change = f"{name} has changed"

    def _record_table(self, relation: Relation, oid: int, file: str) -> None:
        previous = self._before.tables.get(str(relation)) if self._before else None
        author = sql.SQL("({next} - ({next} - xmin::text::bigint) % 4294967296)").format(next=sql.Literal(self._next_xid))
        late = sql.SQL("{} >= {}").format(author, sql.Literal(self._xmin))
        further: sql.Composable = sql.SQL("false")
        if previous:
            since, previous_xids = sql.Literal(previous.xmin), sql.Literal(previous.xids)
            further = sql.SQL("{} >= {} and {} <> all ({}::bigint[])").format(author, since, author, previous_xids)
        counts = sql.SQL("select count(*), count(*) filter (where {}), count(*) filter (where {}) from {}")
        row_count, young, new = self._connection.execute(counts.format(late, further, relation.sql)).fetchone() or (0, 0, 0)
        authors: list[int] = []
        if young:
            # A separate query, which is rarely needed: parallel workers cannot compute a distinct list.
            distinct = sql.SQL("select distinct {} from {} where {} limit {}").format(author, relation.sql, late, _MAX_XIDS + 1)
            authors = [int(number) for (number,) in self._connection.execute(distinct)]
        if len(authors) > _MAX_XIDS:
            raise UnknownError(f"{relation} was written by too many transactions while one of them was open")
        written = self._write_count(oid) if self._is_read else None
        self.snapshot.tables[str(relation)] = TableState(
            storage_id=file, row_count=row_count, xmin=self._xmin, xids=authors, rows_written=written
        )
        if previous is None or self._change:
            return
        if file != previous.storage_id:
            self._change = f"{relation} was replaced, truncated, rewritten or given other columns"
        elif new or row_count != previous.row_count:
            self._change = f"{relation} has {new} new rows, and {previous.row_count - row_count + new} fewer of the earlier rows"
        elif written != previous.rows_written:
            self._change = f"{relation} was written to, and may have had other rows in between"

    def _write_count(self, oid: int) -> int:
        row = self._connection.execute(
            "select pg_stat_get_tuples_inserted(%(oid)s) + pg_stat_get_tuples_updated(%(oid)s) + pg_stat_get_tuples_deleted(%(oid)s)",
            {"oid": oid},
        ).fetchone()
        return int(row[0]) if row else 0


_DESCRIBE: Final[LiteralString] = """
    select c.oid,
        case when relkind in ('r', 'm') and am.amname = 'heap' and not relrowsecurity and not relhassubclass then 'r'
            when relkind in ('r', 'm') then 'other' else relkind::text end,
        c.oid || '/' || coalesce(pg_relation_filenode(c.oid), 0) || ' ' || coalesce((
            select string_agg(attnum || ' ' || attname || ' ' || format_type(atttypid, atttypmod), ', ' order by attnum)
            from pg_attribute where attrelid = c.oid and attnum > 0 and not attisdropped), '')
    from pg_class c join pg_namespace n on n.oid = relnamespace left join pg_am am on am.oid = relam
    where nspname = %s and relname = %s"""
_READ_BY_VIEW: Final[LiteralString] = """
    select distinct n.nspname, t.relname
    from pg_rewrite r join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
    join pg_class t on t.oid = d.refobjid join pg_namespace n on n.oid = t.relnamespace
    where r.ev_class = %s and t.oid <> r.ev_class"""
