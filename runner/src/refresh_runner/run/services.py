"""What the parts of an attempt share: its services, and its state once it holds the warehouse lock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from refresh_runner.core.clock import Clock
from refresh_runner.core.errors import Failure, RunFailedError
from refresh_runner.core.secrets import Redactor
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.plan import Plan
from refresh_runner.model.steps import LayerStep, TestsStep
from refresh_runner.postgres.blocking import LockMonitor
from refresh_runner.postgres.connection import WarehouseConnection
from refresh_runner.publish.publisher import MartPublisher
from refresh_runner.report.progress import RunProgress
from refresh_runner.reuse.reuser import Reuser
from refresh_runner.run.cancellation import CancellationScope
from refresh_runner.run.preflight import ResolvedPlan
from refresh_runner.run.project_hooks import ProjectHooks
from refresh_runner.runlog.artifacts import Artifact
from refresh_runner.runlog.writer import RunLogWriter

GRACE: Final = timedelta(seconds=3)
"""PostgreSQL's own timeouts fire this much earlier than the runner's, because their errors say which statement took too long."""


@dataclass(frozen=True)
class Services:
    """The interfaces to dbt, the warehouse and the process that an attempt uses."""

    dbt: Dbt
    warehouse: WarehouseConnection
    run_log: RunLogWriter
    clock: Clock
    cancellation: CancellationScope
    jitter: Callable[[], float]
    """Returns a random factor around 1 for delays."""
    secrets: Mapping[str, Mapping[str, str]]
    """The Secrets that the run request names and that exist, by name and key."""
    redact: Redactor
    """Redacts secrets in a text."""
    programs: Sequence[str] = ()
    """Versions of the runner and of dbt, on which results depend."""
    unavailable: Failure | None = None
    """Why there is no dbt project to run."""
    warning: str = ""
    """Why the run ends as Warned even if all steps succeed."""
    artifacts: Callable[[], Iterable[Artifact]] = tuple
    """Creates, at the end of the run, the files to store with it."""
    description: Callable[[], str | None] = lambda: None
    """Creates, at the end of a run, what the project says about its nodes, redacted."""
    docs: Path | None = None
    """Path at which the project's docs are if they were generated."""

    def time_left(self, plan: Plan) -> timedelta:
        """Return what is left of the attempt's time, at least 0."""
        return max(plan.timeout - timedelta(seconds=self.clock.elapsed()), timedelta(0))

    def end_sessions(self) -> None:
        """Terminate the sessions that dbt left in the warehouse, if the warehouse can be reached."""
        with suppress(RunFailedError):
            self.warehouse.terminate_own_sessions()


@dataclass(frozen=True)
class AttemptContext:
    """An attempt that holds the warehouse lock: its plan resolved to nodes, and its marts."""

    plan: Plan
    services: Services
    progress: RunProgress
    resolved: ResolvedPlan
    marts: MartPublisher
    monitor: LockMonitor
    hooks: ProjectHooks
    reuser: Reuser | None = None
    """Decides which nodes are reused; None if the refresh reuses none."""

    def time_left(self) -> timedelta:
        """Return what is left of the attempt's time, at least 0."""
        return self.services.time_left(self.plan)

    def time_for_statements(self) -> timedelta:
        """Return the statement timeout for hooks and publishing, which fires before the attempt's own deadline."""
        return max(self.time_left() - GRACE, GRACE)

    def begin_hooks(self) -> None:
        """Run on-run-start, unless it has run, before the first node is built or tested."""
        steps = [step for step in self.plan.steps if isinstance(step, LayerStep | TestsStep)]
        nodes = [node for step in steps for node in self.resolved.nodes.get(step.name, ())]
        self.hooks.begin(nodes, self.time_for_statements())

    def end_hooks(self, *, failed: bool = False) -> None:
        """Run on-run-end, unless it has run, once nothing more will be published."""
        self.hooks.end(self.progress.results, self.resolved.reusable, self.time_for_statements(), failed=failed)
