"""on-run-start and on-run-end: once a run, at its begin and end, though a run takes several commands of dbt, each of which would run them.

The commands that build and test run none. Those of the project are run by a command of their own, in which dbt does what it does before
and after a `dbt build`, and nothing in between: it makes the schemas, fills its cache, and gives the hooks the run's results.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from refresh_runner.dbt.patches.node_selection import node_of
from refresh_runner.dbt.patches.patch import changed
from refresh_runner.model.step_results import Node

if TYPE_CHECKING:
    from dbt.artifacts.schemas.results import RunStatus
    from dbt.artifacts.schemas.run import RunExecutionResult, RunResult
    from dbt.contracts.graph.manifest import Manifest
    from dbt.task.run import RunTask

_APART: Final = "main"
"""dbt's name for the thread of hooks: what ran there counts for `schemas`, and is not among the `results`."""


class HookKind(StrEnum):
    """When hooks of a project run."""

    START = "on-run-start"
    END = "on-run-end"


def hooks_of(manifest: Manifest, kind: HookKind) -> tuple[Node, ...]:
    """Return the project's hooks of this kind, and those of its packages."""
    found = [node for node in manifest.nodes.values() if str(node.resource_type) == "operation" and kind.value in node.tags]
    return tuple(Node(node.unique_id, node.name) for node in found)


@contextmanager
def without_hooks() -> Iterator[None]:
    """Have dbt's commands run no on-run-start and on-run-end while inside."""
    from dbt.artifacts.schemas.results import RunStatus
    from dbt.task.run import RunTask

    def safe_run_hooks(*_asked: object, **_named: object) -> RunStatus:
        return RunStatus.Success

    with changed(RunTask, safe_run_hooks=safe_run_hooks):
        yield


@contextmanager
def only_hooks(kind: HookKind, results: Sequence[RunResult] = ()) -> Iterator[None]:
    """Have dbt's commands run these hooks and nothing else while inside; on-run-end is given the results."""
    from dbt.task.run import RunTask

    def run(task: RunTask) -> RunExecutionResult:
        return _run(task, kind, results)

    with changed(RunTask, run=run):
        yield


def results_for_hooks(
    manifest: Manifest, nodes: Sequence[Node], kept: Sequence[Node], found: Mapping[str, RunResult], unpublished: Mapping[str, str]
) -> list[RunResult]:
    """Return what on-run-end is to be told of the run's nodes, as one `dbt build` would have told it.

    `unpublished` are nodes that were built and are not live, with the reason: they are as good as skipped, to whoever reads the
    results. Those `kept` from an earlier attempt count for `schemas`, as they are what this run publishes, and have no results.
    """
    from dbt.artifacts.schemas.results import RunStatus
    from dbt.artifacts.schemas.run import RunResult

    def result(status: RunStatus, node: Node) -> RunResult:
        made: RunResult = RunResult.from_node(node_of(manifest, node.id), status, None)  # type: ignore[arg-type]  # unit tests, too
        return made

    ours = {node.id for node in nodes}
    told = [each for id_, each in found.items() if id_ in ours or str(each.node.resource_type) == "operation"]
    told = [
        replace(each, status=RunStatus.Skipped, message=unpublished[each.node.unique_id])
        if each.node.unique_id in unpublished and each.status == RunStatus.Success
        else each
        for each in told
    ]
    earlier = {node.id for node in kept} - found.keys()
    told += [replace(result(RunStatus.Success, node), thread_id=_APART) for node in nodes if node.id in earlier - unpublished.keys()]
    return told + [result(RunStatus.Skipped, node) for node in nodes if node.id not in found.keys() | earlier]


def _run(task: RunTask, kind: HookKind, results: Sequence[RunResult]) -> RunExecutionResult:
    """What dbt's own `run` of a task does but for the nodes."""
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
            _aside(task, begin if kind is HookKind.START else end)
        finally:
            adapter.cleanup_connections()
        now = datetime.now(UTC).replace(tzinfo=None)
        took = time.time() - task.started_at
        result: RunExecutionResult = task.get_result(results=task.node_results, elapsed_time=took, generated_at=now)  # type: ignore[no-untyped-call]
        return result


def _aside(task: RunTask, act: Callable[[], None]) -> None:
    """Do something on a thread of its own, as dbt works on nodes, so that a stop is heard: the driver hears nothing while it waits."""
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
