"""Runs data tests on null connections, to record the statements that dbt would send."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self

from refresh_runner.dbt.patches.patch import Patch, Symbol, patched

if TYPE_CHECKING:
    from dbt.adapters.contracts.connection import Connection
    from dbt.adapters.postgres.connections import PostgresConnectionManager

_MODULE: Final = "dbt.adapters.postgres.connections"
PATCH: Final = Patch(
    name="dry_run",
    purpose="Statements of data tests are recorded when a project is parsed in advance, for the patch data_tests.",
    symbols=(
        Symbol(_MODULE, "PostgresConnectionManager.open", "cls, connection", "classmethod"),
        Symbol(_MODULE, "PostgresConnectionManager._add_query_comment", "self, sql"),
    ),
)

COLUMNS: Final = ("failures", "should_warn", "should_error")
"""The columns of the single row that a data test's statement returns."""
_CONTROL: Final = re.compile(r"\s*(begin|commit|rollback|select set_config)\b", re.IGNORECASE)
"""Statements that dbt sends before and after those of a node."""


class DryRun:
    """The statements that dbt would have sent, by connection, which is named after a node."""

    def __init__(self) -> None:
        self._sent: dict[str, list[str]] = {}

    def record(self, connection: str, statement: str) -> None:
        """Record a statement. Called on dbt's threads."""
        if not _CONTROL.match(statement):
            self._sent.setdefault(connection, []).append(statement)

    @property
    def statements(self) -> dict[str, str]:
        """Return the statements of those connections that sent exactly one."""
        return {name: sent[0] for name, sent in self._sent.items() if len(sent) == 1}

    @classmethod
    @contextmanager
    def recording(cls) -> Iterator[Self]:
        """Give dbt null connections inside the block, on which every test passes. If the patch is off, run nothing inside it."""
        from dbt.adapters.contracts.connection import ConnectionState
        from dbt.adapters.postgres.connections import PostgresConnectionManager as Manager

        dry_run = cls()

        def open_(_manager: type[PostgresConnectionManager], connection: Connection) -> Connection:
            connection.handle, connection.state = _NullConnection(connection, dry_run), ConnectionState.OPEN
            return connection

        # The query comment differs in each run. dbt adds it when it sends a statement.
        with patched(Manager, open=classmethod(open_), _add_query_comment=lambda _manager, statement: statement):
            yield dry_run


class _NullConnection:
    """The methods of the driver's connection, and of its cursor, that dbt uses for a test."""

    closed = 0
    description: Final = tuple((name, None) for name in COLUMNS)
    statusmessage = "SELECT 1"
    rowcount = 1

    def __init__(self, connection: Connection, dry_run: DryRun) -> None:
        self._connection = connection
        self._dry_run = dry_run

    def cursor(self) -> Self:
        return self

    def execute(self, statement: str, _bindings: object = None) -> None:
        self._dry_run.record(str(self._connection.name), statement)

    def fetchall(self) -> list[tuple[int, bool, bool]]:
        return [(0, False, False)]

    def fetchmany(self, _limit: int) -> list[tuple[int, bool, bool]]:
        return self.fetchall()

    def commit(self) -> None:
        pass

    def rollback(self) -> None:
        pass

    def close(self) -> None:
        self.closed = 1
