"""Runs on-run-start and on-run-end once per run, although a run executes several dbt commands, each of which would run them.

The commands that build and test run no hooks. The hooks run in a separate command, in which dbt does only what it does before and after a
`dbt build`: it creates the schemas, fills its cache, and passes the run's results to the hooks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from refresh_runner.dbt.engine import HookKind
from refresh_runner.dbt.nodes import node_of
from refresh_runner.dbt.patches.patch import Patch, Symbol, patched
from refresh_runner.model.step_results import Node

if TYPE_CHECKING:
    from dbt.artifacts.schemas.results import RunStatus
    from dbt.artifacts.schemas.run import RunExecutionResult, RunResult
    from dbt.contracts.graph.manifest import Manifest
    from dbt.task.run import RunTask

_TASK: Final = "dbt.task.run"
PATCH: Final = Patch(
    name="hooks",
    purpose="on-run-start and on-run-end run once per run.",
    symbols=(
        Symbol(_TASK, "RunTask.safe_run_hooks", "self, adapter, hook_type, extra_context"),
        Symbol(_TASK, "RunTask.run", "self"),
        Symbol(_TASK, "RunTask.before_run", "self, adapter, selected_uids"),
        Symbol(_TASK, "RunTask.after_run", "self, adapter, results"),
        Symbol(_TASK, "RunTask.populate_adapter_cache", "self, adapter, required_schemas"),
        Symbol(_TASK, "RunTask.get_model_schemas", "self, adapter, selected_uids"),
        Symbol(_TASK, "RunTask.get_result", "self, results, elapsed_time, generated_at"),
        Symbol(_TASK, "RunTask._runtime_initialize", "self"),
        Symbol(_TASK, "RunTask._cancel_connections", "self, pool"),
        Symbol(_TASK, "RunTask._pool_thread_initializer", "invocation_context", "staticmethod"),
    ),
    required_for="running each hook of the project once",
)

_HOOK_THREAD: Final = "main"
"""dbt's name for the thread of hooks. Nodes on this thread count for `schemas`, but are not among the `results`."""


@contextmanager
def without_hooks() -> Iterator[None]:
    """Make commands inside the block run neither on-run-start nor on-run-end."""
    PATCH.require()
    from dbt.artifacts.schemas.results import RunStatus
    from dbt.task.run import RunTask

    def safe_run_hooks(*_args: object, **_named: object) -> RunStatus:
        return RunStatus.Success

    with patched(RunTask, safe_run_hooks=safe_run_hooks):
        yield


@contextmanager
def only_hooks(kind: HookKind, results: Sequence[RunResult] = ()) -> Iterator[None]:
    """Make commands inside the block run only these hooks, and pass the results to on-run-end."""
    PATCH.require()
    from dbt.task.run import RunTask

    def run(task: RunTask) -> RunExecutionResult:
        return _run(task, kind, results)

    with patched(RunTask, run=run):
        yield


def results_for_hooks(
    manifest: Manifest, nodes: Sequence[Node], kept: Sequence[Node], found: Mapping[str, RunResult], unpublished: Mapping[str, str]
) -> list[RunResult]:
    """Return the results for on-run-end, as one `dbt build` of the run's nodes would pass them.

    `unpublished` maps nodes that were built but are not live to the reason; they appear as skipped. Nodes `kept` from an earlier attempt
    have no results, but count for `schemas` because this run publishes them.
    """
    from dbt.artifacts.schemas.results import RunStatus
    from dbt.artifacts.schemas.run import RunResult

    def result(status: RunStatus, node: Node) -> RunResult:
        made: RunResult = RunResult.from_node(node_of(manifest, node.id), status, None)  # type: ignore[arg-type]  # unit tests, too
        return made

    ours = {node.id for node in nodes}
    passed = [each for id_, each in found.items() if id_ in ours or str(each.node.resource_type) == "operation"]
    passed = [
        replace(each, status=RunStatus.Skipped, message=unpublished[each.node.unique_id])
        if each.node.unique_id in unpublished and each.status == RunStatus.Success
        else each
        for each in passed
    ]
    earlier = {node.id for node in kept} - found.keys()
    passed += [
        replace(result(RunStatus.Success, node), thread_id=_HOOK_THREAD) for node in nodes if node.id in earlier - unpublished.keys()
    ]
    return passed + [result(RunStatus.Skipped, node) for node in nodes if node.id not in found.keys() | earlier]


def _run(task: RunTask, kind: HookKind, results: Sequence[RunResult]) -> RunExecutionResult:
    """Do what dbt's `RunTask.run` does, except running the nodes."""
    from dbt.adapters.factory import get_adapter
    from dbt_common.events.contextvars import task_contextvars

    with task_contextvars(project_root=task.config.project_root):
        task._runtime_initialize()  # type: ignore[no-untyped-call]  # dbt states no types here
        adapter, ids = get_adapter(task.config), frozenset(node.unique_id for node in task._flattened_nodes or ())
        task.started_at = time.time()

        def begin() -> None:
            task.before_run(adapter, ids)

        def end() -> None:
            with adapter.connection_named("master"):
                task.populate_adapter_cache(adapter, task.get_model_schemas(adapter, ids))
            task.after_run(adapter, results)

        try:
            _on_worker(task, begin if kind is HookKind.START else end)
        finally:
            adapter.cleanup_connections()
        now = datetime.now(UTC).replace(tzinfo=None)
        took = time.time() - task.started_at
        result: RunExecutionResult = task.get_result(results=task.node_results, elapsed_time=took, generated_at=now)  # type: ignore[no-untyped-call]
        return result


def _on_worker(task: RunTask, act: Callable[[], None]) -> None:
    """Call a function on a worker thread, as dbt does for nodes. In the main thread, the driver would block signals while it waits."""
    from dbt.graph.thread_pool import DbtThreadPool
    from dbt_common.context import get_invocation_context

    pool = DbtThreadPool(1, task._pool_thread_initializer, [get_invocation_context()])  # type: ignore[no-untyped-call]
    try:
        pool.apply_async(act).get()
    except (KeyboardInterrupt, SystemExit):
        task._cancel_connections(pool)  # type: ignore[no-untyped-call]  # dbt states no types here
        raise
    pool.close()  # type: ignore[no-untyped-call]  # dbt states no types here
    pool.join()
