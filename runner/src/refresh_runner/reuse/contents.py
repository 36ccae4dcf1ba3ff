"""What the relations of the warehouse contain during one run: a text for each, which is another one once its rows may be others.

The text of a small table is a digest of its rows. It stays the same if the table is rebuilt with the same rows, so that what reads the
table need not be built. The text of a large table is a random one, kept as long as the table's state shows that no row has changed.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Final, LiteralString
from uuid import uuid4

import psycopg

from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.data_version import TableState
from refresh_runner.postgres.digests import digest, row_digest, view_digest
from refresh_runner.postgres.table_state import (
    PLAIN_TABLE,
    VIEW,
    Identity,
    Moment,
    UnknownError,
    identify,
    snapshot,
    table_state,
    write_count,
    written_when_created,
)
from refresh_runner.reuse.results import Result

_DIGESTED_ROWS: Final = 250_000
"""Tables with more rows get no digest: it takes a second for a million rows."""
_DIGESTED_STAGED_ROWS: Final = 1_000_000
"""The same for marts in staging relations: with fewer rows, their rows are merged into the live table, which takes much longer."""


class Connections:
    """Connections to the warehouse for several threads."""

    def __init__(self, connect: Callable[[], psycopg.Connection]) -> None:
        self._connect = connect
        self._idle: queue.SimpleQueue[psycopg.Connection] = queue.SimpleQueue()

    @contextmanager
    def one(self) -> Iterator[psycopg.Connection]:
        """Yield a connection that no other thread uses."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            yield connection
        finally:
            if not connection.closed:
                self._idle.put(connection)

    def close(self) -> None:
        """Close all idle connections."""
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()


class Contents:
    """What relations contain, observed at most once in a run before it builds them. Used by several threads."""

    def __init__(
        self,
        connections: Connections,
        stored: Mapping[str, Result],
        models: frozenset[Relation],
        limit: Callable[[], timedelta],
        unpublished: Collection[str] = (),
    ) -> None:
        """`stored` are the results of earlier runs, `models` the tables that the project builds, in this run or not.

        `unpublished` are marts that an earlier attempt of the run has built: what is live is not what the run reads.
        """
        self._connections = connections
        self._stored = stored
        self._models = {str(model) for model in models}
        self._limit = limit
        self._locks: dict[str, threading.Lock] = {}
        self._lock_of_locks = threading.Lock()
        self.now: dict[str, Result] = {}
        """The results that this run has observed or built, by live name."""
        self.unknown = {name: f"an earlier attempt has built {name}, and has not published it" for name in unpublished}
        """Why it is unknown what a relation contains."""

    def of(self, name: str) -> str:
        """Return what a relation contains, by live name; empty if that is unknown."""
        with self._lock(name):
            if name not in self.now and name not in self.unknown:
                try:
                    self.now[name] = self._observe(name)
                except UnknownError as error:
                    self.unknown[name] = str(error)
            return self.now[name].content if name in self.now else ""

    def columns_of(self, name: str) -> str:
        """Return the columns of a relation; empty if it does not exist."""
        try:
            with self._connections.one() as connection, snapshot(connection, self._limit()):
                return digest(identify(connection, _relation(name)).columns)
        except UnknownError:
            return ""

    def shape_of(self, names: Collection[str]) -> str:
        """Return a digest of the columns of tables and the definitions of views; empty if one of them is unknown."""
        parts = []
        for name in sorted(names):
            if not self.of(name):
                return ""
            known = self.now[name]
            parts.append((name, known.state.columns if known.state else known.content))
        return digest(repr(parts))

    def change_since(self, stored: Result, name: str) -> str:
        """Return how a relation that the project builds differs from its stored result; empty if it does not."""
        relation = _relation(name)
        try:
            with self._connections.one() as connection, snapshot(connection, self._limit()) as moment:
                found = identify(connection, relation)
                if attributes(connection, found) != stored.attributes:
                    return f"indexes, constraints, privileges or comments of {relation} have changed"
                if found.kind == VIEW:
                    return "" if view_digest(connection, found) == stored.content else f"the definition of {relation} has changed"
                if found.kind != PLAIN_TABLE or stored.state is None:
                    return f"{relation} is not the table that was built"
                _, change = table_state(connection, relation, found, moment, stored.state, with_counter=False)
        except UnknownError as error:
            return str(error)
        return change

    def measure(self, place: Relation, rows: int | None, *, is_staged: bool) -> Result | None:
        """Return content and state of a relation that dbt has just built; None if others have written to it since.

        dbt writes a table in one transaction, and knows the number of its rows.
        """
        with self._connections.one() as connection, snapshot(connection, self._limit()) as moment:
            found = identify(connection, place)
            if found.kind == VIEW:
                return Result(content=view_digest(connection, found), attributes=attributes(connection, found))
            if found.kind != PLAIN_TABLE:
                return None
            state = _written_whole(connection, place, found, moment, rows)
            if state is None:
                return None
            result = _new_result(connection, place, found, state, _DIGESTED_STAGED_ROWS if is_staged else _DIGESTED_ROWS)
            return result.model_copy(update={"attributes": attributes(connection, found)})

    def measure_updated(self, place: Relation, name: str, before: Result | None, rows: int | None) -> Result | None:
        """Return content and state of a table that dbt may have changed in part; None if others may have changed it, too.

        It is proven that they have not if the table has the rows that it had `before`, or if dbt has created or truncated it, and filled
        it. Otherwise nothing shows whose changes they are.
        """
        with self._connections.one() as connection, snapshot(connection, self._limit()) as moment:
            found = identify(connection, place)
            if found.kind != PLAIN_TABLE:
                return None
            if whole := _written_whole(connection, place, found, moment, rows):
                result = _new_result(connection, place, found, whole)
            else:
                result = self._observe_table(connection, place, found, moment, before or self._stored.get(name), with_counter=False)
                if before is None or before.content != result.content:
                    return None
            return result.model_copy(update={"attributes": attributes(connection, found)})

    def before_update(self, place: Relation, name: str) -> Result | None:
        """Return what a table contains that dbt is about to change in part; None if it does not exist."""
        with suppress(UnknownError), self._connections.one() as connection, snapshot(connection, self._limit()) as moment:
            found = identify(connection, place)
            if found.kind == PLAIN_TABLE:
                return self._observe_table(connection, place, found, moment, self._stored.get(name), with_counter=False)
        return None

    def observe_built(self, name: str) -> None:
        """Observe a relation after dbt has built it in a way that may have left its rows as they were."""
        with self._lock(name):
            self.now.pop(name, None)
            self.unknown.pop(name, None)
        self.of(name)

    def published(self, built: Result, name: str) -> Result | None:
        """Return the result of a mart that was built elsewhere and is now live; None if the live table has other rows."""
        relation = _relation(name)
        with self._connections.one() as connection, snapshot(connection, self._limit()) as moment:
            found = identify(connection, relation)
            if found.kind != PLAIN_TABLE or built.state is None:
                return None
            is_moved = found.storage_id == built.state.storage_id
            state, change = table_state(connection, relation, found, moment, built.state if is_moved else None, with_counter=False)
            if change or (not is_moved and row_digest(connection, relation, found) != built.content):
                return None
            return built.model_copy(update={"state": state, "attributes": attributes(connection, found)})

    def changed_since_observed(self, name: str) -> bool:
        """Return whether others have written to a table, or replaced a view, since this run has observed or built it.

        Of a source, even rows that came and went count, by PostgreSQL's counters: the run may have read them.
        """
        before = self.now[name].state
        try:
            with self._connections.one() as connection, snapshot(connection, self._limit()) as moment:
                found = identify(connection, _relation(name))
                if found.kind == VIEW or before is None:
                    return found.kind != VIEW or view_digest(connection, found) != self.now[name].content
                if name not in self._models:
                    return (found.storage_id, write_count(connection, found)) != (before.storage_id, before.rows_written)
                return bool(table_state(connection, _relation(name), found, moment, before, with_counter=False)[1])
        except UnknownError:
            return True

    def _lock(self, name: str) -> threading.Lock:
        with self._lock_of_locks:
            return self._locks.setdefault(name, threading.Lock())

    def _observe(self, name: str) -> Result:
        relation, stored = _relation(name), self._stored.get(name)
        with self._connections.one() as connection, snapshot(connection, self._limit()) as moment:
            found = identify(connection, relation)
            if found.kind == VIEW:
                return Result(content=view_digest(connection, found))
            if found.kind != PLAIN_TABLE:
                raise UnknownError(f"{relation} is not a plain table with all rows visible")
            # Of a model, only the current rows matter. The rows that a source had in between may have been read.
            return self._observe_table(connection, relation, found, moment, stored, with_counter=name not in self._models)

    def _observe_table(
        self,
        connection: psycopg.Connection,
        relation: Relation,
        found: Identity,
        moment: Moment,
        stored: Result | None,
        *,
        with_counter: bool,
    ) -> Result:
        before = stored.state if stored else None
        state, change = table_state(connection, relation, found, moment, before, with_counter=with_counter)
        if stored and before and not change:
            return stored.model_copy(update={"state": state})
        return _new_result(connection, relation, found, state)


def _new_result(
    connection: psycopg.Connection, place: Relation, found: Identity, state: TableState, digested_rows: int = _DIGESTED_ROWS
) -> Result:
    """Return the result of a table that has other rows than any known one, or may have."""
    content = row_digest(connection, place, found) if state.row_count <= digested_rows else ""
    return Result(state=state, content=content or uuid4().hex)


def _written_whole(connection: psycopg.Connection, place: Relation, found: Identity, moment: Moment, rows: int | None) -> TableState | None:
    """Return the state of a table that one transaction has created or truncated, and filled with the rows that dbt says; None otherwise."""
    state = written_when_created(connection, place, found, moment)
    return state if state is not None and state.row_count == rows else None


def attributes(connection: psycopg.Connection, found: Identity) -> str:
    """Return a digest of what belongs to a relation besides its rows and columns."""
    row = connection.execute(_ATTRIBUTES, {"oid": found.oid}).fetchone()
    return str(row[0]) if row else ""


def _relation(name: str) -> Relation:
    return Relation(*name.split(".", 1))


_ATTRIBUTES: Final[LiteralString] = r"""
    select md5(concat_ws(chr(10),
        (select concat_ws(' ', relowner, relacl::text, reloptions::text, relpersistence, reltablespace, relam)
            from pg_class where oid = %(oid)s),
        (select string_agg(concat_ws(' ', attnum, attnotnull, attacl::text, attidentity, attgenerated, attcollation, attstattarget,
                pg_get_expr(adbin, adrelid)), ',' order by attnum)
            from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
            where attrelid = %(oid)s and attnum > 0 and not attisdropped),
        (select string_agg(concat_ws(' ', definition, indisvalid), ',' order by definition) from pg_index,
                regexp_replace(pg_get_indexdef(indexrelid), 'INDEX .+? ON .+? USING', 'USING') as definition
            where indrelid = %(oid)s),
        (select string_agg(concat_ws(' ', definition, convalidated), ',' order by definition)
            from pg_constraint, pg_get_constraintdef(oid) as definition where conrelid = %(oid)s),
        (select string_agg(concat_ws(' ', objsubid, description), ',' order by objsubid)
            from pg_description where objoid = %(oid)s and classoid = 'pg_class'::regclass),
        (select string_agg(concat_ws(' ', pg_get_triggerdef(oid), tgenabled), ',' order by tgname)
            from pg_trigger where tgrelid = %(oid)s and not tgisinternal),
        (select string_agg(pg_get_ruledef(oid), ',' order by rulename)
            from pg_rewrite where ev_class = %(oid)s and rulename <> '_RETURN')))"""
