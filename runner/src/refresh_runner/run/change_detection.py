"""Detects whether a run's inputs or outputs have changed since the previous run.

No date or number in the rows is trusted. For a table, the number of rows and the transactions that wrote them are recorded. A row is new if
another transaction wrote it. If there is no such row and the number is the same, no row was added, changed or deleted. For sources,
PostgreSQL's statistics are recorded too: they count a row that was inserted and deleted in between. Other refreshes often rebuild their
models with the same rows, so a digest of all rows is recorded for these.
"""

from __future__ import annotations

from datetime import timedelta

import psycopg

from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.data_version import Snapshot, TrackedRelations
from refresh_runner.postgres.digests import row_digest, view_digest
from refresh_runner.postgres.table_state import (
    PLAIN_TABLE,
    VIEW,
    Moment,
    UnknownError,
    identify,
    read_by_view,
    snapshot,
    table_state,
)


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
    with snapshot(connection, limit) as moment:
        observer = _Observer(connection, moment, models, before, is_read=is_read)
        for relation in sorted(relations):
            observer.observe(relation)
    return observer.snapshot, observer.change


class _Observer:
    """Observes relations, and those that their views read, in one snapshot."""

    def __init__(
        self, connection: psycopg.Connection, moment: Moment, models: frozenset[Relation], before: Snapshot | None, *, is_read: bool
    ) -> None:
        self.snapshot = Snapshot()
        self._change = "" if before else "nothing is recorded of the previous run"
        self._connection = connection
        self._moment = moment
        self._models = models
        self._before = before
        self._is_read = is_read

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
        found = identify(self._connection, relation)
        if found.kind == VIEW:
            self._record_digest(name, view_digest(self._connection, found))
            for read in read_by_view(self._connection, found) if self._is_read else ():
                self.observe(read)
        elif found.kind != PLAIN_TABLE:
            raise UnknownError(f"{relation} is not a plain table with all rows visible")
        elif relation in self._models:
            digest = row_digest(self._connection, relation, found)
            if not digest:
                raise UnknownError(f"{relation} has a column of a type that does not come with PostgreSQL")
            self._record_digest(name, digest)
        else:
            previous = self._before.tables.get(name) if self._before else None
            state, change = table_state(self._connection, relation, found, self._moment, previous, with_counter=self._is_read)
            self.snapshot.tables[name] = state
            self._change = self._change or change

    def _record_digest(self, name: str, digest: str) -> None:
        self.snapshot.digests[name] = digest
        if self._before and not self._change and self._before.digests.get(name, digest) != digest:
            self._change = f"{name} has changed"
