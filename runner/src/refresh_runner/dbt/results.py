"""What dbt says, as plain values: its lines and its results."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from refresh_api.values import duration_text
from refresh_runner.core.errors import may_pass
from refresh_runner.dbt.patches.connections import Connections
from refresh_runner.model.step_results import CommandError, Node, NodeResult, NodeState

if TYPE_CHECKING:
    from dbt.artifacts.schemas.freshness import SourceFreshnessResult
    from dbt.artifacts.schemas.results import NodeStatus
    from dbt.artifacts.schemas.run import RunResult
    from dbt.cli.main import dbtRunnerResult
    from dbt_common.events.base_types import EventMsg

OnLine = Callable[[str, str], None]
"""Takes a level (debug, info, warn, error) and a line."""
OnDone = Callable[[str], None]
"""Takes the id of a node whose work is committed; called on dbt's threads, so it neither raises nor waits."""

_STATES: Final = {
    "success": NodeState.OK,
    "pass": NodeState.OK,
    "no-op": NodeState.OK,
    "warn": NodeState.WARNED,
    "fail": NodeState.FAILED,
    "skipped": NodeState.SKIPPED,
}


_BAD: Final = frozenset({"error", "fail", "skipped", "partial success", "runtime error"})
"""States of a result that make dbt call its command unsuccessful."""
_AGES: Final = {"pass": NodeState.OK, "warn": NodeState.WARNED, "error": NodeState.FAILED}
_LEVELS: Final = ("info", "warn", "error")
_NOISE: Final = frozenset({"MainReportVersion", "AdapterRegistered", "FoundStats", "ConcurrencyLine", "MainStackTrace"})
"""Lines that every command repeats, and the traces of its being stopped."""


class Lines:
    """Carries dbt's lines from its worker threads, where nothing may raise or wait, to ours."""

    def __init__(self, on_line: OnLine, least: str, on_done: OnDone) -> None:
        self._on_line = on_line
        self._on_done = on_done
        self._levels = _LEVELS[_LEVELS.index(least) :]
        self.done: set[str] = set()
        """Ids of the nodes that ended well so far: all that is known of a command that was stopped."""
        self._queue: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._hand_on, name="dbt-lines", daemon=True)

    def take(self, event: EventMsg) -> None:
        """Take an event of dbt."""
        if event.info.name == "NodeFinished" and event.data.node_info.node_status in {"success", "pass"}:
            self.done.add(event.data.node_info.unique_id)
            self._on_done(event.data.node_info.unique_id)
        level, line = str(event.info.level), str(getattr(event.info, "msg", "")).strip()
        if level in self._levels and line and event.info.name not in _NOISE:
            self._queue.put((level, line))

    def _hand_on(self) -> None:
        while (item := self._queue.get()) is not None:
            self._on_line(*item)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._queue.put(None)
        self._thread.join()


def problem_of(nodes: Sequence[Node], outcome: dbtRunnerResult, connections: Connections) -> CommandError | None:
    """Return what is wrong with a command beyond what its nodes show; None if nothing is.

    That is an exception, the error of a node that was not selected, and any difference between the nodes that dbt ran or skipped and
    those that were selected, even where each of them succeeded.
    """
    selected = {node.id for node in nodes}
    executed = getattr(outcome.result, "results", None)
    messages = [_of_other(each) for each in executed or () if each.node.unique_id not in selected and _counts(each)]
    if outcome.exception:
        messages.append(error_text(outcome.exception))
    elif executed is not None and (missing := sorted(selected - {each.node.unique_id for each in executed})):
        messages.append(f"dbt neither ran nor skipped {', '.join(missing)}, which was selected")
    elif not outcome.success and not messages and not any(str(each.status) in _BAD for each in executed or ()):
        # A command that fails at its first error returns that one alone.
        alone = getattr(outcome.result, "message", None)
        messages.append(_cleaned(str(alone)) if alone else "dbt ended with an error that it does not name")
    if not messages:
        return None
    return CommandError("; ".join(messages), may_pass(connections.worst))


def _counts(result: RunResult) -> bool:
    """Return whether the result of what was not asked for is a problem; a hook that ended well is none."""
    return str(result.status) in _BAD or str(result.node.resource_type) != "operation"


def _of_other(result: RunResult) -> str:
    message = _cleaned(result.message or "")
    if str(result.status) in _BAD:
        return message or f"{result.node.name}: {result.status}"
    return f"dbt ran {result.node.unique_id}, which was not selected"


def node_results(nodes: Sequence[Node], outcome: dbtRunnerResult, connections: Connections) -> tuple[NodeResult, ...]:
    """Return a result for every node that should have run; one that dbt left out is broken."""
    found = {}
    if (executed := getattr(outcome.result, "results", None)) is not None:
        for result in executed:
            state = _state(result.status)
            message = _cleaned(result.message or "") if state is not NodeState.OK else ""
            found[result.node.unique_id] = (state, message, result.execution_time)
    otherwise = error_text(outcome.exception) if outcome.exception else "dbt did not run it"
    results = []
    for node in nodes:
        state, message, seconds = found.get(node.id, (NodeState.BROKEN, otherwise, 0.0))
        sqlstate = connections.sqlstate(node.id) if node.id in found else connections.worst
        results.append(NodeResult(node, state, message, sqlstate, seconds))
    return tuple(results)


def _loaded(result: SourceFreshnessResult) -> str:
    # dbt's date for a source in which it found none.
    if result.max_loaded_at.year == 1:
        return "was never loaded: no row of it has a value in its loaded_at_field"
    return f"was last loaded {duration_text(timedelta(seconds=max(result.age, 0)))} ago"


def ages_of(nodes: Sequence[Node], outcome: dbtRunnerResult, connections: Connections) -> tuple[NodeResult, ...]:
    """Return how old each source is: FAILED beyond its error_after, WARNED beyond its warn_after, BROKEN if it could not be asked."""
    executed = getattr(outcome.result, "results", None) or ()
    found = {result.node.unique_id: result for result in executed}
    otherwise = error_text(outcome.exception) if outcome.exception else "was not asked"
    results = []
    for node in nodes:
        result = found.get(node.id)
        status = str(result.status) if result else "runtime error"
        if result is None or status == "runtime error":
            message = _cleaned(result.message or "") if result else otherwise
            results.append(NodeResult(node, NodeState.BROKEN, message, connections.sqlstate(node.id) or connections.worst))
        else:
            results.append(NodeResult(node, _AGES[status], _loaded(result)))
    return tuple(results)


def statements_of(outcome: dbtRunnerResult) -> dict[str, str]:
    """Return what dbt compiled, by the node's id; nothing of those that it could not compile."""
    executed = getattr(outcome.result, "results", None) or ()
    done = [result.node for result in executed if _state(result.status) is NodeState.OK]
    return {node.unique_id: str(node.compiled_code) for node in done if node.compiled_code}


def _state(status: NodeStatus | str) -> NodeState:
    return _STATES.get(str(status), NodeState.BROKEN)


def error_text(error: BaseException | None) -> str:
    """Return what is wrong, as one line."""
    return _cleaned(str(error)) if error and str(error) else type(error).__name__


def _cleaned(message: str) -> str:
    """Return dbt's message on one line, without the places of files that nobody else can see."""
    lines = [line.strip() for line in message.splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("compiled code at", "> in macro", "> called by")))
