"""Makes dbt ask, for each node that it has compiled, whether an earlier result is reused. dbt then reports the node as successful."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from refresh_runner.dbt.engine import Candidate, NodeReuse, Verdict
from refresh_runner.dbt.patches.patch import Patch, Symbol, patched

if TYPE_CHECKING:
    from dbt.artifacts.schemas.run import RunResult
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.graph.nodes import GenericTestNode, ManifestNode, SingularTestNode
    from dbt.task.run import ModelRunner
    from dbt.task.test import TestResultData, TestRunner

    TestNode = SingularTestNode | GenericTestNode

PATCH: Final = Patch(
    name="node_reuse",
    purpose="Nodes whose earlier results are still right are not built or tested again.",
    symbols=(
        Symbol("dbt.task.run", "ModelRunner.execute", "self, model, manifest"),
        Symbol("dbt.task.test", "TestRunner.execute_data_test", "self, data_test, manifest"),
        Symbol("dbt.task.test", "TestResultData", "failures, should_warn, should_error, adapter_response"),
        Symbol("dbt.task.run", "RunTask.create_schemas", "self, adapter, required_schemas"),
    ),
)
REUSED: Final = "REUSED"
"""Message of the result of a model that was not built."""


@contextmanager
def asking(reuse: NodeReuse | None, describe: Callable[[ManifestNode], Candidate]) -> Iterator[None]:
    """Make commands inside the block ask for each node; None, or the patch switched off, to build all."""
    if reuse is None or not PATCH.is_on:
        yield
        return
    from dbt.artifacts.schemas.results import RunStatus
    from dbt.artifacts.schemas.run import RunResult
    from dbt.task.run import ModelRunner
    from dbt.task.test import TestResultData, TestRunner

    execute: Callable[..., RunResult] = ModelRunner.execute
    execute_test: Callable[..., TestResultData] = TestRunner.execute_data_test

    def execute_unless_reused(runner: ModelRunner, model: ManifestNode, manifest: Manifest) -> RunResult:
        candidate = describe(model)
        if reuse.is_reused(candidate):
            thread = threading.current_thread().name
            return RunResult(RunStatus.Success, [], thread, 0.0, {}, REUSED, None, model)
        result = execute(runner, model, manifest)
        rows = result.adapter_response.get("rows_affected")
        reuse.built(candidate, rows if isinstance(rows, int) else None)
        return result

    def test_unless_reused(runner: TestRunner, test: TestNode, manifest: Manifest) -> TestResultData:
        candidate = describe(test)
        if known := reuse.verdict(candidate):
            return TestResultData(known.failures, known.should_warn, known.should_error, {})
        result = execute_test(runner, test, manifest)
        reuse.tested(candidate, Verdict(result.failures, result.should_warn, result.should_error))
        return result

    with patched(ModelRunner, execute=execute_unless_reused), patched(TestRunner, execute_data_test=test_unless_reused):
        yield


@contextmanager
def without_schemas() -> Iterator[None]:
    """Make commands inside the block create no schemas: they only ask about nodes."""
    from dbt.task.run import RunTask

    with patched(RunTask, create_schemas=lambda _task, _adapter, _schemas: None):
        yield
