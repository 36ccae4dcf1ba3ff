"""What dbt sends for each data test, found out when a project is read ahead, so that no run has to put it together again.

A data test is one statement, which is the same in every run but for the names of the database and of the schemas that marts are built
in, and for the date. Which tests are so their templates say (dbt_templates.py), and two rehearsals: dbt runs them on connections that
lead nowhere, for two databases, two dates and two places of the tables, and what it would have sent is noted. A test that passes both
and whose two statements differ in nothing else is kept; dbt puts all others together in every run, as ever. Either way it is dbt that
runs a test, by the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from refresh_runner.dbt.patches.patch import changed

if TYPE_CHECKING:
    from dbt.adapters.contracts.connection import Connection
    from dbt.adapters.postgres.connections import PostgresConnectionManager
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.graph.nodes import GenericTestNode, SingularTestNode
    from dbt.task.test import TestResultData, TestRunner

    TestNode = SingularTestNode | GenericTestNode

_DATABASE: Final = "\ue000"
_DATE: Final = "\ue001"
"""Stand in a kept statement for what each run has its own of; no text that people write holds them."""
_CONTROL: Final = re.compile(r"\s*(begin|commit|rollback|select set_config)\b", re.IGNORECASE)
"""What goes before and after, and is no node's own."""
_PLAIN_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_COLUMNS: Final = ("failures", "should_warn", "should_error")
"""What the statement of a data test returns, in one row."""

Statements = Mapping[str, str]
"""By a test's id."""


@dataclass(frozen=True)
class Scene:
    """What differs between two runs of the same tests."""

    database: str
    as_of: str
    """The run's date, as YYYY-MM-DD."""
    moved: Mapping[str, str]
    """How tables are named that have another name by the project, by that one."""

    def kept(self, statement: str) -> str:
        """Return a statement that was sent here without what is this scene's own."""
        for name, moved in self.moved.items():
            statement = _renamed(statement, moved, name)
        statement = statement.replace(f'"{self.database}".', f'"{_DATABASE}".')
        return _renamed(statement, self.database, _DATABASE, before=r"(?=\.)").replace(self.as_of, _DATE)

    def filled(self, statement: str) -> str:
        """Return a statement that was kept as it is to be sent here."""
        statement = statement.replace(_DATABASE, self.database).replace(_DATE, self.as_of)
        for name, moved in self.moved.items():
            statement = _renamed(statement, name, moved)
        return statement

    @property
    def is_plain(self) -> bool:
        """Kept statements can be filled: the date is one, since a variable may be anything."""
        return bool(_PLAIN_DATE.fullmatch(self.as_of))


def agreed(one: Scene, ones: Statements, other: Scene, others: Statements) -> dict[str, str]:
    """Return the statements of tests, as they are kept, that two rehearsals agree on."""
    found = {id_: other.kept(statement) for id_, statement in others.items()}
    return {id_: kept for id_, statement in ones.items() if (kept := one.kept(statement)) == found.get(id_)}


class Rehearsal:
    """What dbt would have sent while it was rehearsing, by the connection, which bears the name of a node."""

    def __init__(self) -> None:
        self._sent: dict[str, list[str]] = {}

    def note(self, connection: str, statement: str) -> None:
        """Take what is sent; called on dbt's threads."""
        if not _CONTROL.match(statement):
            self._sent.setdefault(connection, []).append(statement)

    @property
    def statements(self) -> dict[str, str]:
        """Those of the connections that sent one statement and no other."""
        return {name: sent[0] for name, sent in self._sent.items() if len(sent) == 1}

    @classmethod
    @contextmanager
    def held(cls) -> Iterator[Self]:
        """Have dbt's connections lead nowhere while inside; every test passes."""
        from dbt.adapters.contracts.connection import ConnectionState
        from dbt.adapters.postgres.connections import PostgresConnectionManager as Manager

        rehearsal = cls()

        def open_(_manager: type[PostgresConnectionManager], connection: Connection) -> Connection:
            connection.handle, connection.state = _Nowhere(connection, rehearsal), ConnectionState.OPEN
            return connection

        # The comment goes before a statement when it is sent: it speaks of the run.
        with changed(Manager, open=classmethod(open_), _add_query_comment=lambda _manager, statement: statement):
            yield rehearsal


class _Nowhere:
    """A connection of the driver, and its cursor, as far as dbt needs them for a test."""

    closed = 0
    description: Final = tuple((name, None) for name in _COLUMNS)
    statusmessage = "SELECT 1"
    rowcount = 1

    def __init__(self, connection: Connection, rehearsal: Rehearsal) -> None:
        self._connection = connection
        self._rehearsal = rehearsal

    def cursor(self) -> Self:
        return self

    def execute(self, statement: str, _bindings: object = None) -> None:
        self._rehearsal.note(str(self._connection.name), statement)

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


@contextmanager
def known(statements: Statements) -> Iterator[None]:
    """Have dbt send these for their tests while inside, instead of what it would put together, and connect once a thread for them."""
    from dbt.adapters.postgres.connections import PostgresConnectionManager as Manager
    from dbt.flags import get_flags
    from dbt.task.test import TestRunner as Runner

    compile_, execute, release = Runner.compile, Runner.execute_data_test, Manager.release

    def statement_of(node: TestNode) -> str | None:
        # By a switch of dbt's, a test stores what it finds.
        stores: bool = get_flags().STORE_FAILURES  # type: ignore[no-untyped-call]  # dbt states no types here
        return None if stores else statements.get(node.unique_id)

    def compile_known(runner: TestRunner, manifest: Manifest) -> TestNode:
        node: TestNode = runner.node
        if (statement := statement_of(node)) is None:
            found: TestNode = compile_(runner, manifest)
            return found
        node.compiled, node.compiled_code = True, statement
        return node

    def execute_known(runner: TestRunner, node: TestNode, manifest: Manifest) -> TestResultData:
        if (statement := statement_of(node)) is None:
            return execute(runner, node, manifest)
        connections = runner.adapter.connections
        _, cursor = connections.add_query(connections._add_query_comment(statement))
        response = connections.get_response(cursor).to_dict(omit_none=True)
        return _data(node.unique_id, [column[0] for column in cursor.description or ()], cursor.fetchall(), response)

    def release_known(manager: PostgresConnectionManager) -> None:
        connection = manager.get_if_exists()
        if connection is None or connection.name not in statements or connection.state != "open" or connection.handle.closed:
            release(manager)
        elif connection.transaction_open:
            # Another test may follow on it: one select leaves nothing in a session. At the command's end all are closed.
            manager.rollback_if_open()  # type: ignore[no-untyped-call]  # dbt states no types here

    with changed(Runner, compile=compile_known, execute_data_test=execute_known), changed(Manager, release=release_known):
        yield


def _data(id_: str, columns: Sequence[str], rows: Sequence[Sequence[object]], response: dict[str, object]) -> TestResultData:
    """Return an answer as dbt has it; its own error if it is none."""
    from dbt.task.test import TestResultData
    from dbt.utils.utils import _coerce_decimal
    from dbt_common.clients.agate_helper import table_from_data_flat
    from dbt_common.exceptions import DbtInternalError

    if len(rows) == 1 and tuple(columns) == _COLUMNS:
        failures, should_warn, should_error = rows[0]
        if type(failures) is int and isinstance(should_warn, bool) and isinstance(should_error, bool):
            return TestResultData(failures, should_warn, should_error, response)
    # Whatever else it is, dbt decides what it makes of it.
    table = table_from_data_flat([dict(zip(columns, row, strict=True)) for row in rows], columns)
    for number, expected, what in ((len(table.rows), 1, "row"), (len(table.columns), len(_COLUMNS), "columns")):
        if number != expected:
            returned = f"Returned {number} {what.rstrip('s')}s, but expected {expected} {what}"
            raise DbtInternalError(f"dbt internally failed to execute {id_}: {returned}")
    found: dict[str, object] = dict(zip([name.lower() for name in table.column_names], map(_coerce_decimal, table.rows[0]), strict=True))
    found["adapter_response"] = response
    TestResultData.validate(found)  # type: ignore[no-untyped-call]  # dbt states no types here
    return TestResultData.from_dict(found)


def _renamed(statement: str, name: str, other: str, before: str = "") -> str:
    """Return a statement with another name in the place of one, wherever that is a whole name; it may be one without quotes."""
    if name.startswith('"') and name.endswith('"'):
        return statement.replace(name, other)
    whole = re.escape(name)
    if not name.startswith('"'):
        whole = rf'(?<![\w"$.]){whole}'
    if not name.endswith('"'):
        whole = rf'{whole}(?![\w"$])'
    return re.sub(whole + before, lambda _found: other, statement)
