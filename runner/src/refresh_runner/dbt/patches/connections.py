"""Controls dbt's connections to the warehouse: configures each session, records SQLSTATEs, and closes connections from another thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol

from refresh_runner.core.errors import CONNECTION_LOST, INTERNAL_ERROR, is_retryable
from refresh_runner.dbt.patches.patch import Patch, Symbol, patched
from refresh_runner.postgres.sessions import set_config_statement, shutdown

if TYPE_CHECKING:
    from dbt.adapters.contracts.connection import Connection


_MODULE: Final = "dbt.adapters.postgres.connections"
PATCH: Final = Patch(
    name="connections",
    purpose="Sessions have timeouts, errors have a SQLSTATE, and a stop closes connections.",
    symbols=(
        Symbol(_MODULE, "PostgresConnectionManager.open", "cls, connection", "classmethod"),
        Symbol(_MODULE, "PostgresConnectionManager.exception_handler", "self, sql"),
        Symbol(_MODULE, "PostgresConnectionManager.cancel_open", "self"),
    ),
    required_for="a timeout of statements",
)


class Cursor(Protocol):
    """The methods of the driver's cursor that are used here."""

    def execute(self, statement: str) -> object:
        """Send a statement."""


class Handle(Protocol):
    """The methods of the driver's connection that are used here."""

    def fileno(self) -> int:
        """Return the file descriptor. Raise InterfaceError if the connection is closed."""

    def cursor(self) -> Cursor:
        """Return a new cursor."""

    def commit(self) -> None:
        """End the transaction."""


class Connections:
    """The connections that dbt opens during one command."""

    def __init__(self) -> None:
        self.settings: Mapping[str, str] = {}
        """Parameters to set at the start of each session."""
        self._found: dict[str, str] = {}
        """The SQLSTATE of each connection's last error. dbt keeps only the message, in the server's language."""
        self._handles: list[Handle] = []
        self._is_given_up = False
        self._is_cancelled = False

    def clear(self) -> None:
        """Forget all connections before the next command."""
        self._found.clear()
        self._handles.clear()
        self._is_cancelled = False

    def hang_up(self) -> None:
        """Close all connections, whatever they wait for, and never open new ones again."""
        self._is_given_up = True
        self._end_all()

    def cancel(self) -> None:
        """Close all connections, and open no new ones until the next command."""
        self._is_cancelled = True
        self._end_all()

    @property
    def _refusal(self) -> str:
        """Return why no more connections are opened; empty if they are."""
        if self._is_given_up:
            return "PostgreSQL did not answer"
        return "the run was stopped" if self._is_cancelled else ""

    def _end_all(self) -> None:
        for handle in list(self._handles):
            _end(handle)

    def sqlstate(self, connection: str) -> str | None:
        """Return the SQLSTATE of a connection's last error; None if it had none. dbt names a connection after the node that uses it."""
        return self._found.get(connection)

    @property
    def worst(self) -> str | None:
        """Return the SQLSTATE for errors that belong to no node: that of a permanent error if there was one, else of a transient error."""
        return min(self._found.values(), key=is_retryable, default=None)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Replace the methods by which dbt translates the driver's errors, connects and cancels, for commands inside the block."""
        PATCH.require()
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
                # A stop during the connection attempt did not see this connection.
                _end(opened.handle)
            try:
                self._tell(opened.handle)
            except psycopg2.Error as error:
                self._found[str(connection.name)] = _sqlstate(error)
                # The state in which dbt leaves a connection that it could not open.
                connection.handle, connection.state = None, ConnectionState.FAIL
                raise FailedToConnectError(str(error)) from error
            return opened

        def cancel_open(_manager: Manager) -> list[str]:
            # dbt would open another connection to terminate sessions by process ID, which behind a pooler may belong to others.
            self.cancel()
            return []

        with patched(Manager, exception_handler=exception_handler, open=classmethod(open_), cancel_open=cancel_open):
            yield

    def _tell(self, handle: Handle) -> None:
        if self.settings:
            handle.cursor().execute(set_config_statement(self.settings))
            handle.commit()


def _end(handle: Handle) -> None:
    """Close a connection. Its statement ends on the server too, which checks for disconnected clients."""
    from psycopg2 import InterfaceError

    # The thread that uses the connection may close it at any moment.
    with suppress(InterfaceError):
        shutdown(handle.fileno())


def _sqlstate(error: object) -> str:
    import psycopg2

    code = getattr(error, "pgcode", None)
    if code:
        return str(code)
    # If a connection breaks in the middle of a response, libpq raises the base class without a code.
    lost = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) or type(error) is psycopg2.DatabaseError
    return CONNECTION_LOST if lost else INTERNAL_ERROR
