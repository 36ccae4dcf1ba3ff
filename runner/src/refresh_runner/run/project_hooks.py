"""Runs the project's on-run-start and on-run-end hooks at the right moments of an attempt, and handles their failures.

Each attempt counts as one dbt invocation. on-run-start runs before the first node is built or tested. on-run-end runs once the marts are
live and before the API is called, and also after a failed step, as in dbt. A run that does nothing runs no hooks. Neither does a cancelled
run, because it must end quickly.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final

from refresh_api.status import Reason
from refresh_runner.core.errors import TRANSIENT_HINT, Failure, RunFailedError, is_retryable
from refresh_runner.dbt.engine import HookKind
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.plan import Plan
from refresh_runner.model.step_results import CommandResult, Node, NodeState, StepResult
from refresh_runner.report.outcome import are_live
from refresh_runner.runlog.writer import RunLogWriter

log = logging.getLogger(__name__)

_NOT_LIVE: Final = "built, and not published: what was live before is"


class ProjectHooks:
    """The hooks of one attempt. Each kind runs at most once."""

    def __init__(self, plan: Plan, dbt: Dbt, run_log: RunLogWriter) -> None:
        self._plan = plan
        self._dbt = dbt
        self._run_log = run_log
        self._nodes: Sequence[Node] = ()
        self._has_begun = False
        self._has_ended = False
        self.running: HookKind | None = None
        """The kind in progress. It stays set if it ended the attempt."""

    def begin(self, nodes: Sequence[Node], limit: timedelta) -> None:
        """Run on-run-start for these nodes, unless it has run. Raise RunFailedError if it fails; then nothing must be built."""
        if self._has_begun:
            return
        self._nodes, self._has_begun = nodes, True
        if not self._dbt.graph.hooks(HookKind.START):
            return
        self.running = HookKind.START
        if failure := self._failure(self._dbt.run_start_hooks(nodes, limit), "nothing was built"):
            raise RunFailedError(failure)
        self.running = None

    def end(self, results: Mapping[str, StepResult], kept: Collection[str], limit: timedelta, *, failed: bool = False) -> None:
        """Run on-run-end, unless it has run or on-run-start has not. Raise RunFailedError if it fails and nothing else has failed.

        `results` are those of the run's steps so far. `kept` are nodes that an earlier attempt has built. `failed` says whether an error
        outside of the steps' results has ended the run.
        """
        if self._has_ended or not self._has_begun:
            return
        self._has_ended = True
        if not self._dbt.graph.hooks(HookKind.END):
            return
        self.running = HookKind.END
        live = are_live(self._plan, results)
        command = self._dbt.run_end_hooks(self._nodes, [node for node in self._nodes if node.id in kept], "" if live else _NOT_LIVE, limit)
        failure = self._failure(command, "the new data are live" if live else "nothing was published")
        if failure and not failed and not any(result.failure for result in results.values()):
            raise RunFailedError(failure)
        if failure:
            log.error("%s", failure.message)
        self.running = None

    def _failure(self, command: CommandResult, state: str) -> Failure | None:
        """Record the results of hooks. Return their failure, if any."""
        kind = self.running or HookKind.START
        self._run_log.record_nodes(kind.value, command.nodes)
        broken = [each for each in command.nodes if each.state is not NodeState.OK]
        messages = [each.message for each in broken if each.state is not NodeState.SKIPPED]
        if command.error:
            messages.append(command.error.message)
        if not broken and not messages:
            return None
        retryable = any(is_retryable(each.sqlstate) for each in broken)
        hint = TRANSIENT_HINT if retryable else f"fix the {kind.value} hook of the dbt project"
        message = f"{kind.value} failed, {state}: {'; '.join(dict.fromkeys(messages))}"
        return Failure(Reason.HOOK_FAILED, message, retryable, hint)
