"""The runner's own connection to the warehouse, separate from those of dbt: it holds the lock, runs the checks and publishes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from typing import Final, LiteralString

import psycopg
from psycopg import sql

from refresh_api.status import Reason
from refresh_runner.core.backoff import STEP_RETRY
from refresh_runner.core.clock import Clock
from refresh_runner.core.errors import CONNECTION_LOST, INTERNAL_ERROR, TRANSIENT_HINT, Failure, RunFailedError, is_retryable, reason_of
from refresh_runner.postgres import sessions
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.conninfo import ConnectionInfo
from refresh_runner.postgres.own_tables import DDL_LOCK, Table, ddl_statements

_CONNECT_TIMEOUT: Final = 10
_CONNECT_TRIES: Final = 3
_UNACKNOWLEDGED: Final = 25
"""Seconds without a TCP acknowledgement after which the server is considered unreachable."""
_CANCEL_WAIT: Final = 3.0
"""Seconds to wait for terminated sessions to end."""
_PARTS: Final = """
    select name, attname::text from unnest(%(names)s::text[]) name join pg_attribute on attrelid = to_regclass(name)
    where attnum > 0 and not attisdropped
    union all
    select name, relname::text from unnest(%(names)s::text[]) name join pg_index on indrelid = to_regclass(name)
    join pg_class on pg_class.oid = indexrelid"""
"""The existing columns and indexes of tables."""
_RELATIONS: Final = """
    select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where (n.nspname::text, c.relname::text) in (select * from unnest(%s::text[], %s::text[]))"""
_FUNCTIONS: Final = """
    select n.nspname, p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where (n.nspname::text, p.proname::text) in (select * from unnest(%s::text[], %s::text[]))"""
"""The existing functions among given schemas and names."""
_QUICK: Final = timedelta(seconds=10)
"""Timeout of a statement on the runner's own small tables."""


class RefusedError(Exception):
    """PostgreSQL rejected a statement, or the connection was lost. The message is one line."""

    def __init__(self, error: psycopg.Error) -> None:
        super().__init__(first_line(error))
        self.sqlstate = sqlstate_of(error)


class WarehouseConnection:
    """A session in the warehouse. Connection errors are raised as RunFailedError."""

    def __init__(self, info: ConnectionInfo, application_name: str, clock: Clock, longest: timedelta = timedelta(hours=1)) -> None:
        self.info = info
        self.application_name = application_name[:63]
        self.session_settings: Mapping[str, str] = {}
        """Settings for every session of this run. With them the server ends a session once its client has disconnected, and not earlier."""
        self._clock = clock
        self._longest = longest
        self._is_aborted = False
        self._connection: psycopg.Connection | None = None

    def connect(self) -> psycopg.Connection:
        """Return the open connection, or open one with a few tries. Raise RunFailedError with WarehouseUnreachable if that fails."""
        for attempt in range(1, _CONNECT_TRIES + 1):
            if self._is_aborted:
                message = f"the warehouse {self.info.address} did not respond"
                raise RunFailedError(Failure(Reason.WAREHOUSE_UNREACHABLE, message, retryable=True))
            if self._connection is not None and not self._connection.closed:
                return self._connection
            try:
                self._connection = self._open_unshared()
                return self._connection
            except psycopg.OperationalError as error:
                if attempt == _CONNECT_TRIES:
                    raise RunFailedError(self._unreachable(error)) from error
                self._clock.sleep(STEP_RETRY.delay(attempt))
        raise AssertionError("the last try returns or raises")

    def check_writable(self) -> None:
        """Raise a retryable RunFailedError if the server is read-only: a lock on a standby would exclude no other run."""
        with self.session() as connection:
            row = connection.execute("select pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'").fetchone()
        is_standby, is_read_only = row or (False, False)
        if not (is_standby or is_read_only):
            return
        why = "is a standby" if is_standby else "is read-only (default_transaction_read_only is on)"
        hint = "set host in the Secret to the primary; after a failover the next attempt may reach it"
        raise RunFailedError(Failure(Reason.WAREHOUSE_UNREACHABLE, f"the warehouse {self.info.address} {why}", retryable=True, hint=hint))

    @contextmanager
    def session(self) -> Iterator[psycopg.Connection]:
        """Yield the connection. Raise RunFailedError if it is lost inside the block."""
        connection = self.connect()
        try:
            yield connection
        except psycopg.OperationalError as error:
            raise RunFailedError(connection_lost(error)) from error

    def abort(self) -> None:
        """Make every query that still waits for a response fail, on any thread, and open no new connection."""
        connection, self._is_aborted = self._connection, True
        if connection is not None and not connection.closed:
            with suppress(psycopg.Error):
                sessions.shutdown(connection.fileno())

    def close(self) -> None:
        """Close the connection and so release the lock; may be called twice."""
        if self._connection is not None:
            self._connection.close()

    def missing_relations(self, relations: Iterable[Relation]) -> set[Relation]:
        """Return the relations that do not exist."""
        return self._missing(_RELATIONS, relations)

    def missing_functions(self, functions: Iterable[Relation]) -> set[Relation]:
        """Return the functions that do not exist with any arguments."""
        return self._missing(_FUNCTIONS, functions)

    def _missing(self, query: LiteralString, names: Iterable[Relation]) -> set[Relation]:
        wanted = list(names)
        with self.session() as connection:
            found = connection.execute(query, ([each.schema for each in wanted], [each.table for each in wanted])).fetchall()
        return set(wanted) - {Relation(str(schema), str(name)) for schema, name in found}

    @contextmanager
    def short_transaction(self) -> Iterator[psycopg.Connection]:
        """Yield the connection in a transaction of short statements. Raise RefusedError if it fails."""
        connection = self.connect()
        try:
            with short_transaction(connection):
                yield connection
        except psycopg.Error as error:
            raise RefusedError(error) from error

    def new_connection(self, purpose: str) -> psycopg.Connection:
        """Open a second connection, for another thread; `terminate_own_sessions` does not end it."""
        suffix = f" ({purpose})"
        connection = self._open(self.application_name[: 63 - len(suffix)] + suffix)
        self._configure(connection)
        return connection

    def terminate_own_sessions(self) -> None:
        """Terminate the other sessions of this run, and wait a few seconds for them to end.

        They belong to dbt, or to an earlier attempt whose pod has died.
        """
        deadline = self._clock.elapsed() + _CANCEL_WAIT
        while self._terminate_others() and self._clock.elapsed() < deadline:
            self._clock.sleep(0.05)

    def _terminate_others(self) -> int:
        with self.session() as connection, connection.transaction():
            # Only the login role owns its sessions, even if it switches to another role at login (`alter role … set role`).
            connection.execute("set local role none")
            rows = connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = %s and datname = current_database() and usename = session_user and pid <> pg_backend_pid()",
                [self.application_name],
            )
            return len(rows.fetchall())

    def _open_unshared(self) -> psycopg.Connection:
        """Open a session that no other client shares.

        Raise RunFailedError with WarehouseUnreachable behind a pooler that shares sessions.
        """
        connection = self._open(self.application_name)
        try:
            if sessions.is_pooled(connection) and sessions.is_shared(connection, lambda: self._open(self.application_name)):
                raise RunFailedError(self._shared())
            self.session_settings = {**sessions.no_idle_timeouts(connection), **sessions.enable_client_checks(connection)}
            self._configure(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _configure(self, connection: psycopg.Connection) -> None:
        """Change the settings of a session. Call it only once it is known that no other client shares the session."""
        timeout = {"statement_timeout": f"{int(self._longest.total_seconds())}s"}
        sessions.set_config(connection, {**sessions.RUNNER_SETTINGS, **self.session_settings, **timeout})

    def _open(self, application_name: str) -> psycopg.Connection:
        info = self.info
        return psycopg.connect(
            host=info.host,
            port=info.port,
            dbname=info.dbname,
            user=info.user,
            password=info.password,
            sslmode=info.sslmode,
            sslrootcert=str(info.sslrootcert) if info.sslrootcert else None,
            application_name=application_name,
            client_encoding="UTF8",
            connect_timeout=_CONNECT_TIMEOUT,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=_UNACKNOWLEDGED * 1000,
            autocommit=True,
        )

    def _unreachable(self, error: psycopg.Error) -> Failure:
        return Failure(
            Reason.WAREHOUSE_UNREACHABLE,
            f"cannot connect to the warehouse {self.info.address}: {first_line(error)}",
            retryable=True,
            hint="check that PostgreSQL is up, and host, user and password in the Secret",
        )

    def _shared(self) -> Failure:
        return Failure(
            Reason.WAREHOUSE_UNREACHABLE,
            f"{self.info.address} is a connection pooler that shares sessions between clients: a run cannot hold the warehouse lock there",
            hint="set host and port in the Secret to PostgreSQL itself, or to a pool in session mode",
        )


def connection_lost(error: psycopg.Error) -> Failure:
    """Return the failure of a run that lost its connection."""
    retryable = error.sqlstate is None or is_retryable(error.sqlstate)
    return Failure(Reason.WAREHOUSE_UNREACHABLE, f"lost the connection to the warehouse: {first_line(error)}", retryable)


def sqlstate_of(error: psycopg.Error) -> str | None:
    """Return the SQLSTATE of an error; CONNECTION_LOST for a broken connection, for which the driver has none."""
    is_lost = error.sqlstate is None and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return CONNECTION_LOST if is_lost else error.sqlstate


def failure_of(error: psycopg.Error) -> Failure:
    """Return the failure of one of the runner's own statements."""
    sqlstate = sqlstate_of(error)
    retryable = is_retryable(sqlstate)
    reason = reason_of(sqlstate or INTERNAL_ERROR, Reason.RUNNER_ERROR)
    hint = TRANSIENT_HINT if retryable else "PostgreSQL rejected a statement of the runner; see the server's log"
    return Failure(reason, f"{first_line(error)} ({error.sqlstate or type(error).__name__})", retryable, hint)


@contextmanager
def transaction_with_timeout(connection: psycopg.Connection, limit: timedelta) -> Iterator[None]:
    """Open a transaction with a statement_timeout."""
    with connection.transaction():
        connection.execute(sql.SQL("set local statement_timeout = {}").format(max(int(limit.total_seconds() * 1000), 1)))
        yield


def short_transaction(connection: psycopg.Connection) -> AbstractContextManager[None]:
    """Open a transaction on the runner's own tables, with a short statement_timeout in case another session has locked them."""
    return transaction_with_timeout(connection, _QUICK)


def ensure_tables(connection: psycopg.Connection, tables: Sequence[Table]) -> None:
    """Create the tables, columns and indexes that do not exist; needs no privilege if all do."""
    found = {(str(table), str(part)) for table, part in connection.execute(_PARTS, {"names": [table.name for table in tables]})}
    if all(table.required_parts <= found for table in tables):
        return
    connection.execute("select pg_advisory_xact_lock(%s)", [DDL_LOCK])
    for statement in (each for table in tables for each in ddl_statements(table, found)):
        connection.execute(statement.encode())


def first_line(error: psycopg.Error) -> str:
    """Return the first line of the error's message, without query text and hints."""
    lines: Sequence[str] = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
