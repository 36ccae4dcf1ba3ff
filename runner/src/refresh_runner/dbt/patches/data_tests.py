"""Makes dbt send the statements of data tests that were compiled when the project was parsed in advance, instead of compiling them again.

dbt still applies its own rules to each test: severity, thresholds, and the handling of an unexpected response.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from refresh_runner.dbt.patches.dry_run import COLUMNS
from refresh_runner.dbt.patches.patch import Patch, Symbol, patched
from refresh_runner.dbt.test_templates import Statements

if TYPE_CHECKING:
    from dbt.adapters.postgres.connections import PostgresConnectionManager
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.graph.nodes import GenericTestNode, SingularTestNode
    from dbt.task.test import TestResultData, TestRunner

    TestNode = SingularTestNode | GenericTestNode

_MODULE: Final = "dbt.adapters.postgres.connections"
PATCH: Final = Patch(
    name="data_tests",
    purpose="Data tests are not compiled again, and share one connection per thread.",
    symbols=(
        Symbol("dbt.task.test", "TestRunner.compile", "self, manifest"),
        Symbol("dbt.task.test", "TestRunner.execute_data_test", "self, data_test, manifest"),
        Symbol("dbt.task.test", "TestResultData", "failures, should_warn, should_error, adapter_response"),
        Symbol(_MODULE, "PostgresConnectionManager.release", "self"),
        Symbol(_MODULE, "PostgresConnectionManager._add_query_comment", "self, sql"),
    ),
    saves_ms=0,
)


@contextmanager
def preload(statements: Statements) -> Iterator[None]:
    """Make dbt send these statements for their tests inside the block, over one connection per thread."""
    if not statements:
        yield
        return
    from dbt.adapters.postgres.connections import PostgresConnectionManager as Manager
    from dbt.flags import get_flags
    from dbt.task.test import TestRunner as Runner

    compile_, execute, release = Runner.compile, Runner.execute_data_test, Manager.release

    def statement_of(node: TestNode) -> str | None:
        # With --store-failures, a test first writes a table.
        stores: bool = get_flags().STORE_FAILURES  # type: ignore[no-untyped-call]  # dbt states no types here
        return None if stores else statements.get(node.unique_id)

    def compile_preloaded(runner: TestRunner, manifest: Manifest) -> TestNode:
        node: TestNode = runner.node
        if (statement := statement_of(node)) is None:
            found: TestNode = compile_(runner, manifest)
            return found
        node.compiled, node.compiled_code = True, statement
        return node

    def execute_preloaded(runner: TestRunner, node: TestNode, manifest: Manifest) -> TestResultData:
        if (statement := statement_of(node)) is None:
            return execute(runner, node, manifest)
        connections = runner.adapter.connections
        _, cursor = connections.add_query(connections._add_query_comment(statement))
        response = connections.get_response(cursor).to_dict(omit_none=True)
        return _data(node.unique_id, [column[0] for column in cursor.description or ()], cursor.fetchall(), response)

    def release_preloaded(manager: PostgresConnectionManager) -> None:
        connection = manager.get_if_exists()
        if connection is None or connection.name not in statements or connection.state != "open" or connection.handle.closed:
            release(manager)
        elif connection.transaction_open:
            # The next test can use the connection, because a select leaves no state in a session. dbt closes all connections at the end of
            # the command.
            manager.rollback_if_open()  # type: ignore[no-untyped-call]  # dbt states no types here

    with patched(Runner, compile=compile_preloaded, execute_data_test=execute_preloaded), patched(Manager, release=release_preloaded):
        yield


def _data(id_: str, columns: Sequence[str], rows: Sequence[Sequence[object]], response: dict[str, object]) -> TestResultData:
    """Return a response as dbt's own result. Raise dbt's own error for an unexpected response."""
    from dbt.task.test import TestResultData
    from dbt.utils.utils import _coerce_decimal
    from dbt_common.clients.agate_helper import table_from_data_flat
    from dbt_common.exceptions import DbtInternalError

    if len(rows) == 1 and tuple(columns) == COLUMNS:
        failures, should_warn, should_error = rows[0]
        if type(failures) is int and isinstance(should_warn, bool) and isinstance(should_error, bool):
            return TestResultData(failures, should_warn, should_error, response)
    # dbt handles any other response in the same way.
    table = table_from_data_flat([dict(zip(columns, row, strict=True)) for row in rows], columns)
    for number, expected, what in ((len(table.rows), 1, "row"), (len(table.columns), len(COLUMNS), "columns")):
        if number != expected:
            returned = f"Returned {number} {what.rstrip('s')}s, but expected {expected} {what}"
            raise DbtInternalError(f"dbt internally failed to execute {id_}: {returned}")
    found: dict[str, object] = dict(zip([name.lower() for name in table.column_names], map(_coerce_decimal, table.rows[0]), strict=True))
    found["adapter_response"] = response
    TestResultData.validate(found)  # type: ignore[no-untyped-call]  # dbt states no types here
    return TestResultData.from_dict(found)
