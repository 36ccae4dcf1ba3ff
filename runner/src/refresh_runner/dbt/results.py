"""Converts dbt's results for a command into results of the run's nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from refresh_api.values import duration_text
from refresh_runner.core.errors import is_retryable
from refresh_runner.dbt.engine import NodeOutcome, Outcome
from refresh_runner.model.step_results import CommandError, Node, NodeResult, NodeState

_STATES: Final = {
    "success": NodeState.OK,
    "pass": NodeState.OK,
    "no-op": NodeState.OK,
    "warn": NodeState.WARNED,
    "fail": NodeState.FAILED,
    "skipped": NodeState.SKIPPED,
}
_UNSUCCESSFUL: Final = frozenset({"error", "fail", "skipped", "partial success", "runtime error"})
"""Statuses that make dbt report the whole command as unsuccessful."""
_AGES: Final = {"pass": NodeState.OK, "warn": NodeState.WARNED, "error": NodeState.FAILED}


def command_error(nodes: Sequence[Node], outcome: Outcome) -> CommandError | None:
    """Return the error of a command that no selected node explains; None if there is none.

    It is an exception, the error of a node that was not selected, or any difference between the nodes that were selected and those that dbt
    ran or skipped, even if each of these succeeded.
    """
    selected = {node.id for node in nodes}
    executed = outcome.results
    messages = [_of_other(each) for each in executed or () if each.id not in selected and _counts(each)]
    if outcome.is_exception:
        messages.append(outcome.error or "")
    elif executed is not None and (missing := sorted(selected - {each.id for each in executed})):
        messages.append(f"dbt neither ran nor skipped {', '.join(missing)}, which was selected")
    elif not outcome.success and not messages and not any(each.status in _UNSUCCESSFUL for each in executed or ()):
        messages.append(outcome.error or "dbt failed without naming an error")
    return CommandError("; ".join(messages), is_retryable(outcome.sqlstate)) if messages else None


def _counts(result: NodeOutcome) -> bool:
    """Return whether the result of a node that was not selected is a problem; a successful hook is not."""
    return result.status in _UNSUCCESSFUL or not result.is_hook


def _of_other(result: NodeOutcome) -> str:
    if result.status in _UNSUCCESSFUL:
        return result.message or f"{result.name}: {result.status}"
    return f"dbt ran {result.id}, which was not selected"


def node_results(nodes: Sequence[Node], outcome: Outcome) -> tuple[NodeResult, ...]:
    """Return a result for every selected node. A node that dbt left out is BROKEN."""
    found = {each.id: each for each in outcome.results or ()}
    otherwise = (outcome.error if outcome.is_exception else None) or "dbt did not run it"
    results = []
    for node in nodes:
        if result := found.get(node.id):
            state = _STATES.get(result.status, NodeState.BROKEN)
            message = result.message if state is not NodeState.OK else ""
            results.append(NodeResult(node, state, message, result.sqlstate, result.seconds, rows=result.rows))
        else:
            results.append(NodeResult(node, NodeState.BROKEN, otherwise, outcome.sqlstate, 0.0))
    return tuple(results)


def source_results(nodes: Sequence[Node], outcome: Outcome) -> tuple[NodeResult, ...]:
    """Return the age of each source: FAILED beyond its error_after, WARNED beyond its warn_after, BROKEN if it is unknown."""
    found = {each.id: each for each in outcome.results or ()}
    otherwise = (outcome.error if outcome.is_exception else None) or "was not checked"
    results = []
    for node in nodes:
        result = found.get(node.id)
        if result is None or result.status == "runtime error":
            message = result.message if result else otherwise
            results.append(NodeResult(node, NodeState.BROKEN, message, (result.sqlstate if result else None) or outcome.sqlstate))
        else:
            results.append(NodeResult(node, _AGES[result.status], _loaded(result.age)))
    return tuple(results)


def _loaded(age: timedelta | None) -> str:
    if age is None:
        return "was never loaded: none of its rows has a value in loaded_at_field"
    return f"was last loaded {duration_text(age)} ago"


def rows_written(response: Mapping[str, object] | None) -> int | None:
    """Return the number of rows in a response of dbt's adapter; None if it is not known, as for a view."""
    rows = (response or {}).get("rows_affected")
    return rows if isinstance(rows, int) and rows >= 0 else None


def compiled_statements(outcome: Outcome) -> dict[str, str]:
    """Return the compiled statements by node ID, except of nodes that dbt could not compile."""
    done = [each for each in outcome.results or () if _STATES.get(each.status) is NodeState.OK]
    return {each.id: each.compiled_code for each in done if each.compiled_code}
