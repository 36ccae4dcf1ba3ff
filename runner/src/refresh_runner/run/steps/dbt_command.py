"""Executes a dbt command for the nodes of a step: with the step's timeout, and with retries of transient errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from refresh_api.values import duration_text
from refresh_runner.core.backoff import STEP_RETRY
from refresh_runner.core.errors import LOCK_NOT_AVAILABLE, QUERY_CANCELED
from refresh_runner.model.step_results import CommandError, CommandResult, Node, NodeResult, NodeState, nodes_to_retry
from refresh_runner.model.steps import LayerStep, SourcesStep, TestsStep
from refresh_runner.run.cancellation import CancelledError, Cause
from refresh_runner.run.services import GRACE, AttemptContext

log = logging.getLogger(__name__)

_UNCHANGED: Final = "built with the same rows as before"


Command = Callable[[Sequence[Node], timedelta], CommandResult]
"""Executes a dbt command for these nodes. No statement runs longer than the limit."""


def with_retries(context: AttemptContext, step: LayerStep | TestsStep, command: Command) -> CommandResult:
    """Execute the command for the step's nodes, and again for nodes with transient errors. Return the last result of each node.

    An error of the command itself is dropped once a retry has none. It prevents a retry unless it is transient.
    """
    services, nodes = context.services, context.resolved.nodes[step.name]
    results = {node.id: NodeResult(node, NodeState.OK, kept=True) for node in nodes if node.id in context.resolved.reusable}
    pending = tuple(node for node in nodes if node.id not in results)
    error: CommandError | None = None
    for attempt in range(1, step.retries + 2):
        context.progress.step_started(step.name, attempt)
        if not pending:
            break
        result = _with_reused(context, execute(context, step, pending, command))
        error = result.error
        services.run_log.record_nodes(step.name, result.nodes)
        results |= {node.node.id: node for node in result.nodes}
        pending = nodes_to_retry(results.values())
        if not pending or attempt > step.retries or (error and not error.retryable):
            break
        log.warning("retrying %s: %s", ", ".join(node.name for node in pending), results[pending[0].id].message)
        services.clock.sleep(STEP_RETRY.delay(attempt, services.jitter()))
    return CommandResult(tuple(results.values()), error)


def execute(context: AttemptContext, step: SourcesStep | LayerStep | TestsStep, nodes: Sequence[Node], command: Command) -> CommandResult:
    """Execute the command once. Nodes that do not finish within the step's timeout count as broken."""
    services, limit = context.services, min(step.timeout, context.time_left())
    try:
        with services.cancellation.timeout(limit + GRACE, Cause.STEP_TIMEOUT):
            result = command(nodes, limit)
            # If dbt cannot cancel its queries, it raises its own error instead of the cancellation.
            services.cancellation.raise_if_cancelled()
            return replace(result, nodes=tuple(_with_blocker(context, node) for node in result.nodes))
    except CancelledError as cancelled:
        if cancelled.cause is not Cause.STEP_TIMEOUT:
            raise
        services.end_sessions()
        return CommandResult(tuple(_timed_out(context, node, limit) for node in nodes))


def _with_reused(context: AttemptContext, result: CommandResult) -> CommandResult:
    """Mark the nodes that were reused, or built with the same rows, which dbt reports as successful."""
    if context.reuser is None:
        return result
    reasons, unchanged = context.reuser.reused, context.reuser.unchanged
    return replace(result, nodes=tuple(_marked(node, reasons, unchanged) for node in result.nodes))


def _marked(result: NodeResult, reasons: Mapping[str, str], unchanged: Collection[str]) -> NodeResult:
    if result.state is not NodeState.OK:
        return result
    if why := reasons.get(result.node.id):
        return replace(result, state=NodeState.REUSED, message=why)
    return replace(result, unchanged=True, message=_UNCHANGED) if result.node.id in unchanged else result


def _timed_out(context: AttemptContext, node: Node, limit: timedelta) -> NodeResult:
    if node.id in context.services.dbt.completed:
        return NodeResult(node, NodeState.OK)
    broken = NodeResult(node, NodeState.BROKEN, f"timed out after {duration_text(limit)}", QUERY_CANCELED)
    return _with_blocker(context, broken)


def _with_blocker(context: AttemptContext, result: NodeResult) -> NodeResult:
    """Add the session that blocked the step to a timeout's message: PostgreSQL's error names neither table nor session."""
    # After a lock timeout nothing waits any more, so the last blocker counts. A slow statement may never have waited at all.
    monitor = context.monitor
    blocker = {LOCK_NOT_AVAILABLE: monitor.last_blocker, QUERY_CANCELED: monitor.current_blocker}.get(result.sqlstate or "")
    return replace(result, message=f"{result.message}; the step waited for {blocker}") if blocker else result
