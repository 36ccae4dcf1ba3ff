"""When a run has dbt run the project's on-run-start and on-run-end, and what follows if one of them fails.

Each attempt is an invocation of dbt: on-run-start goes before the first node that it builds or tests, on-run-end once its marts are
live, before the API is called; also after a step that failed, as dbt does. A run that does nothing has none, and neither has one that
is stopped: then nobody may wait.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final

from refresh_api.status import Reason
from refresh_runner.core.errors import PASSING_HINT, Failure, RunFailedError, may_pass
from refresh_runner.dbt.engine import HookKind
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.plan import Plan
from refresh_runner.model.step_results import CommandResult, Node, NodeState, StepResult
from refresh_runner.report.outcome import are_live
from refresh_runner.runlog.writer import RunLogWriter

log = logging.getLogger(__name__)

_NOT_LIVE: Final = "built, and not published: what was live before is"


class ProjectHooks:
    """Those of one attempt; each kind is run once, whoever asks for it again."""

    def __init__(self, plan: Plan, dbt: Dbt, run_log: RunLogWriter) -> None:
        self._plan = plan
        self._dbt = dbt
        self._run_log = run_log
        self._nodes: Sequence[Node] = ()
        self._has_begun = False
        self._has_ended = False
        self.running: HookKind | None = None
        """Stays where one of them ended the attempt."""

    def begin(self, nodes: Sequence[Node], limit: timedelta) -> None:
        """Run on-run-start for a run of these nodes, once; RunFailedError if that fails: then nothing is to be built."""
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
        """Run on-run-end, once, if the run has begun; RunFailedError if that fails and nothing else has.

        `results` are those of the run's steps so far; `kept` the nodes that an earlier attempt has built; `failed` says that an
        error that is no step's result has ended the run.
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
        """Note what became of hooks; return why they failed, if they did."""
        kind = self.running or HookKind.START
        self._run_log.record_nodes(kind.value, command.nodes)
        broken = [each for each in command.nodes if each.state is not NodeState.OK]
        messages = [each.message for each in broken if each.state is not NodeState.SKIPPED]
        if command.error:
            messages.append(command.error.message)
        if not broken and not messages:
            return None
        passing = any(may_pass(each.sqlstate) for each in broken)
        hint = PASSING_HINT if passing else f"mend the {kind.value} hook of the dbt project"
        message = f"{kind.value} failed, {state}: {'; '.join(dict.fromkeys(messages))}"
        return Failure(Reason.HOOK_FAILED, message, passing, hint)
