"""The door to the warehouse, beside dbt: one direct connection for the lock, the checks and the log."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from typing import Final

import psycopg
from psycopg import sql

from refresh_api.status import Reason
from refresh_runner.core.backoff import pause
from refresh_runner.core.clock import Clock
from refresh_runner.core.errors import CONNECTION_LOST, TRANSIENT_HINT, Failure, RunFailedError, is_retryable, reason_of
from refresh_runner.postgres import sessions
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.conninfo import ConnectionInfo
from refresh_runner.postgres.own_tables import DDL_LOCK, Table, ddl_statements

_CONNECT_TIMEOUT: Final = 10
_CONNECT_TRIES: Final = 3
_GIVEN_UP: Final = 25
"""Seconds after which a server that does not even acknowledge what it was sent is taken to be gone."""
_CANCEL_WAIT: Final = 3.0
"""Seconds that cancelled queries are waited for."""
_PARTS: Final = """
    select name, attname::text from unnest(%(names)s::text[]) name join pg_attribute on attrelid = to_regclass(name)
    where attnum > 0 and not attisdropped
    union all
    select name, relname::text from unnest(%(names)s::text[]) name join pg_index on indrelid = to_regclass(name)
    join pg_class on pg_class.oid = indexrelid"""
"""Columns and indexes of tables, as far as they are there."""
_QUICK: Final = timedelta(seconds=10)
"""Longest statement on the runner's own small tables."""


class RefusedError(Exception):
    """PostgreSQL refused a statement, or is gone; says why in one line."""

    def __init__(self, error: psycopg.Error) -> None:
        super().__init__(first_line(error))
        self.sqlstate = sqlstate_of(error)


class WarehouseConnection:
    """A session in the warehouse; errors of its connection are RunFailedErrors."""

    def __init__(self, access: ConnectionInfo, application_name: str, clock: Clock, longest: timedelta = timedelta(hours=1)) -> None:
        self.info = access
        self.application_name = application_name[:63]
        self.session_settings: Mapping[str, str] = {}
        """What all sessions that work for this run are told at their start."""
        self._clock = clock
        self._longest = longest
        self._is_given_up = False
        self._connection: psycopg.Connection | None = None

    def connect(self) -> psycopg.Connection:
        """Return the open connection, made by a few tries if there is none; WarehouseUnreachable says why there is none."""
        for attempt in range(1, _CONNECT_TRIES + 1):
            if self._is_given_up:
                message = f"the warehouse {self.info.address} did not answer"
                raise RunFailedError(Failure(Reason.WAREHOUSE_UNREACHABLE, message, retryable=True))
            if self._connection is not None and not self._connection.closed:
                return self._connection
            try:
                self._connection = self._direct()
                return self._connection
            except psycopg.OperationalError as error:
                if attempt == _CONNECT_TRIES:
                    raise RunFailedError(self._unreachable(error)) from error
                self._clock.sleep(pause(attempt, random.uniform(0.5, 1.5)))  # noqa: S311 - spreads tries, guards nothing
        raise AssertionError("the last try returns or raises")

    def check_writable(self) -> None:
        """RunFailedError, which may pass, if the server takes no writes: a lock that is held on a standby keeps nobody else away."""
        with self.session() as connection:
            row = connection.execute("select pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'").fetchone()
        is_standby, is_read_only = row or (False, False)
        if not (is_standby or is_read_only):
            return
        why = "is a standby" if is_standby else "takes no writes (default_transaction_read_only is on)"
        hint = "point host in the Secret at the primary; after a failover the next attempt may find it"
        raise RunFailedError(Failure(Reason.WAREHOUSE_UNREACHABLE, f"the warehouse {self.info.address} {why}", retryable=True, hint=hint))

    @contextmanager
    def session(self) -> Iterator[psycopg.Connection]:
        """Give the connection; what breaks it inside is a RunFailedError."""
        connection = self.connect()
        try:
            yield connection
        except psycopg.OperationalError as error:
            raise RunFailedError(connection_lost(error)) from error

    def abort(self) -> None:
        """Wait for no answer any more: what does, on any thread, fails, and no further connection is made."""
        connection, self._is_given_up = self._connection, True
        if connection is not None and not connection.closed:
            with suppress(psycopg.Error):
                sessions.shutdown(connection.fileno())

    def close(self) -> None:
        """Close the connection, and so free the lock; may be called twice."""
        if self._connection is not None:
            self._connection.close()

    def missing_relations(self, relations: Iterable[Relation]) -> set[Relation]:
        """Return which of the relations are not there."""
        wanted = list(relations)
        with self.session() as connection:
            found = connection.execute(
                "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
                " where (n.nspname::text, c.relname::text) in (select * from unnest(%s::text[], %s::text[]))",
                ([each.schema for each in wanted], [each.table for each in wanted]),
            ).fetchall()
        return set(wanted) - {Relation(str(schema), str(name)) for schema, name in found}

    def missing_functions(self, functions: Iterable[Relation]) -> set[Relation]:
        """Return which of the functions are not there, whatever their arguments."""
        wanted = list(functions)
        with self.session() as connection:
            found = connection.execute(
                "select n.nspname, p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
                " where (n.nspname::text, p.proname::text) in (select * from unnest(%s::text[], %s::text[]))",
                ([each.schema for each in wanted], [each.table for each in wanted]),
            ).fetchall()
        return set(wanted) - {Relation(str(schema), str(name)) for schema, name in found}

    @contextmanager
    def short_transaction(self) -> Iterator[psycopg.Connection]:
        """Give the connection in a transaction of short statements; RefusedError says what went wrong in it."""
        connection = self.connect()
        try:
            with short_transaction(connection):
                yield connection
        except psycopg.Error as error:
            raise RefusedError(error) from error

    def new_connection(self, purpose: str) -> psycopg.Connection:
        """Return a new connection beside this one, for a thread of its own; `end_own_sessions` leaves it alone."""
        suffix = f" ({purpose})"
        connection = self._open(self.application_name[: 63 - len(suffix)] + suffix)
        sessions.set_config(connection, self.session_settings)
        return connection

    def terminate_own_sessions(self) -> None:
        """No other session of this run does anything afterwards, as far as PostgreSQL obeys within seconds.

        They are what dbt left, or an earlier attempt whose pod died.
        """
        deadline = self._clock.elapsed() + _CANCEL_WAIT
        while self._terminate_others() and self._clock.elapsed() < deadline:
            self._clock.sleep(0.05)

    def _terminate_others(self) -> int:
        with self.session() as connection, connection.transaction():
            # Sessions belong to who has logged in, also where that role works as another one from then on (`alter role … set role`).
            connection.execute("set local role none")
            rows = connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = %s and datname = current_database() and usename = session_user and pid <> pg_backend_pid()",
                [self.application_name],
            )
            return len(rows.fetchall())

    def _direct(self) -> psycopg.Connection:
        """Return a session that is ours alone; WarehouseUnreachable if what answers shares sessions among its clients."""
        connection = self._open(self.application_name)
        try:
            if sessions.is_pooled(connection) and sessions.is_shared(connection, lambda: self._open(self.application_name)):
                raise RunFailedError(self._shared())
            self.session_settings = sessions.enable_client_checks(connection)
            sessions.set_config(connection, {"statement_timeout": f"{int(self._longest.total_seconds())}s"})
        except BaseException:
            connection.close()
            raise
        return connection

    def _open(self, application_name: str) -> psycopg.Connection:
        access = self.info
        return psycopg.connect(
            host=access.host,
            port=access.port,
            dbname=access.dbname,
            user=access.user,
            password=access.password,
            sslmode=access.sslmode,
            sslrootcert=str(access.sslrootcert) if access.sslrootcert else None,
            application_name=application_name,
            connect_timeout=_CONNECT_TIMEOUT,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=_GIVEN_UP * 1000,
            autocommit=True,
        )

    def _unreachable(self, error: psycopg.Error) -> Failure:
        return Failure(
            Reason.WAREHOUSE_UNREACHABLE,
            f"the warehouse {self.info.address} can't be reached: {first_line(error)}",
            retryable=True,
            hint="is PostgreSQL up, and are host, user and password in the Secret right?",
        )

    def _shared(self) -> Failure:
        return Failure(
            Reason.WAREHOUSE_UNREACHABLE,
            f"{self.info.address} is a connection pooler whose clients share sessions: no run can hold the warehouse there",
            hint="point host and port in the Secret at PostgreSQL itself, or at a pool in session mode",
        )


def connection_lost(error: psycopg.Error) -> Failure:
    """Return the failure of a run whose connection broke."""
    retryable = error.sqlstate is None or is_retryable(error.sqlstate)
    return Failure(Reason.WAREHOUSE_UNREACHABLE, f"the warehouse was lost: {first_line(error)}", retryable)


def sqlstate_of(error: psycopg.Error) -> str | None:
    """Return what went wrong; the driver has no code of its own for a connection that broke."""
    is_lost = error.sqlstate is None and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return CONNECTION_LOST if is_lost else error.sqlstate


def failure_of(error: psycopg.Error) -> Failure:
    """Return the failure of a statement of the runner's own that PostgreSQL refused, or that broke with its connection."""
    sqlstate = sqlstate_of(error)
    retryable = is_retryable(sqlstate)
    reason = reason_of(sqlstate or "XX000", Reason.RUNNER_ERROR)
    hint = TRANSIENT_HINT if retryable else "PostgreSQL refused a statement of the runner: its log says which"
    return Failure(reason, f"{first_line(error)} ({error.sqlstate or type(error).__name__})", retryable, hint)


@contextmanager
def transaction_with_timeout(connection: psycopg.Connection, limit: timedelta) -> Iterator[None]:
    """Open a transaction whose statements take at most `limit` each."""
    with connection.transaction():
        connection.execute(sql.SQL("set local statement_timeout = {}").format(max(int(limit.total_seconds() * 1000), 1)))
        yield


def short_transaction(connection: psycopg.Connection) -> AbstractContextManager[None]:
    """Bound every statement of the transaction that is inside: the runner's own tables are small, and somebody may hold them."""
    return transaction_with_timeout(connection, _QUICK)


def ensure_tables(connection: psycopg.Connection, tables: Sequence[Table]) -> None:
    """The tables are there afterwards, with all their columns; nothing is executed where they are, so that no right is needed."""
    found = {(str(table), str(part)) for table, part in connection.execute(_PARTS, {"names": [table.name for table in tables]})}
    if all(table.required_parts <= found for table in tables):
        return
    connection.execute("select pg_advisory_xact_lock(%s)", [DDL_LOCK])
    for statement in (each for table in tables for each in ddl_statements(table, found)):
        connection.execute(statement.encode())


def first_line(error: psycopg.Error) -> str:
    """Return the error without what follows it (query text, hints), on one line."""
    lines: Sequence[str] = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
