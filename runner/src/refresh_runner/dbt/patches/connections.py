"""dbt's connections to the warehouse: what PostgreSQL is told on each, what went wrong on it, and its end from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from refresh_runner.core.errors import CONNECTION_LOST, may_pass
from refresh_runner.dbt.patches.patch import changed
from refresh_runner.postgres.sessions import hang_up, telling

if TYPE_CHECKING:
    from dbt.adapters.contracts.connection import Connection


class Cursor(Protocol):
    """The driver's cursor, as far as it matters here."""

    def execute(self, statement: str) -> object:
        """Send a statement."""


class Handle(Protocol):
    """The driver's connection, as far as it matters here."""

    def fileno(self) -> int:
        """Return its file descriptor; InterfaceError once it is closed."""

    def cursor(self) -> Cursor:
        """Return a new cursor."""

    def commit(self) -> None:
        """End the transaction."""


class Connections:
    """Those that dbt opens while it works for us."""

    def __init__(self) -> None:
        self.settings: Mapping[str, str] = {}
        """What PostgreSQL is told at the start of each session."""
        self._found: dict[str, str] = {}
        """The SQLSTATE of each one's last error; dbt keeps only the text, in the server's language."""
        self._handles: list[Handle] = []
        self._is_given_up = False
        self._is_cancelled = False

    def clear(self) -> None:
        """Forget all; another command begins."""
        self._found.clear()
        self._handles.clear()
        self._is_cancelled = False

    def hang_up(self) -> None:
        """End those that were opened since, whatever they wait for, and open no more, ever."""
        self._is_given_up = True
        self._end_all()

    def cancel(self) -> None:
        """The same until the next command."""
        self._is_cancelled = True
        self._end_all()

    @property
    def _refusal(self) -> str:
        """Why none is opened any more; empty if they are."""
        if self._is_given_up:
            return "PostgreSQL did not answer"
        return "the run was stopped" if self._is_cancelled else ""

    def _end_all(self) -> None:
        for handle in list(self._handles):
            _end(handle)

    def sqlstate(self, connection: str) -> str | None:
        """Return what went wrong on one; dbt names it by the node that uses it."""
        return self._found.get(connection)

    @property
    def worst(self) -> str | None:
        """The SQLSTATE of one that failed, of one that won't pass if there is any: for errors that belong to no node."""
        return min(self._found.values(), key=may_pass, default=None)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Stand while inside where dbt translates the driver's errors, where it connects, and where it cancels."""
        import psycopg2
        from dbt.adapters.contracts.connection import ConnectionState
        from dbt.adapters.exceptions.connection import FailedToConnectError
        from dbt.adapters.postgres.connections import PostgresConnectionManager as Manager

        handle, open_once = Manager.exception_handler, vars(Manager)["open"].__func__

        @contextmanager
        def exception_handler(manager: Manager, sql: str) -> Iterator[None]:
            try:
                with handle(manager, sql):
                    yield
            except Exception as error:
                if isinstance(error.__cause__, psycopg2.Error):
                    self._found[str(manager.get_thread_connection().name)] = _sqlstate(error.__cause__)
                raise

        def open_(manager: type[Manager], connection: Connection) -> Connection:
            if self._refusal:
                raise FailedToConnectError(self._refusal)
            if connection.state is ConnectionState.OPEN:
                return connection
            try:
                opened: Connection = open_once(manager, connection)
            except Exception:
                self._found[str(connection.name)] = CONNECTION_LOST
                raise
            self._handles.append(opened.handle)
            if self._refusal:
                # Too late for those who end all that there are.
                _end(opened.handle)
            try:
                self._tell(opened.handle)
            except psycopg2.Error as error:
                self._found[str(connection.name)] = _sqlstate(error)
                # As dbt leaves one that it could not open.
                connection.handle, connection.state = None, ConnectionState.FAIL
                raise FailedToConnectError(str(error)) from error
            return opened

        def cancel_open(_manager: Manager) -> list[str]:
            # dbt would ask PostgreSQL, on one more connection, to end sessions by their numbers: behind a pooler those are not ours.
            self.cancel()
            return []

        with changed(Manager, exception_handler=exception_handler, open=classmethod(open_), cancel_open=cancel_open):
            yield

    def _tell(self, handle: Handle) -> None:
        if self.settings:
            handle.cursor().execute(telling(self.settings))
            handle.commit()


def _end(handle: Handle) -> None:
    """Hang up; what was asked on it ends on the server too, since sessions are told to look whether somebody is still there."""
    from psycopg2 import InterfaceError

    # Its own thread may close it at any moment.
    with suppress(InterfaceError):
        hang_up(handle.fileno())


def _sqlstate(error: object) -> str:
    import psycopg2

    code = getattr(error, "pgcode", None)
    if code:
        return str(code)
    # Of the base class itself are those without a code that libpq has when the connection breaks in the midst of an answer.
    lost = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) or type(error) is psycopg2.DatabaseError
    return CONNECTION_LOST if lost else "XX000"
