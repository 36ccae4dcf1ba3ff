"""Executes a plan: acquires the warehouse lock, runs the checks before the first step, then executes the steps in order."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Final

import psycopg

from refresh_runner.core.errors import RunFailedError
from refresh_runner.model.plan import Plan
from refresh_runner.model.step_results import skipped
from refresh_runner.model.steps import SourcesStep, Step, ValidationStep
from refresh_runner.postgres import advisory_lock
from refresh_runner.postgres.blocking import LockMonitor
from refresh_runner.postgres.snapshot_holder import SnapshotHolder
from refresh_runner.publish.publisher import MartPublisher
from refresh_runner.report.progress import RunProgress
from refresh_runner.reuse.reuser import Reuser
from refresh_runner.run import dependencies, required_privileges, schedule_guard
from refresh_runner.run.cancellation import Cause
from refresh_runner.run.preflight import Preflight
from refresh_runner.run.project_hooks import ProjectHooks
from refresh_runner.run.reuse import reuser_of
from refresh_runner.run.services import AttemptContext, Services
from refresh_runner.run.steps import executor_of
from refresh_runner.run.unchanged import check_unchanged, record_outputs
from refresh_runner.runlog import legacy_log
from refresh_runner.runlog.resume import ResumeState

log = logging.getLogger(__name__)

_ABORT_DELAY: Final = 10.0
"""Seconds that PostgreSQL has to respond once the attempt is ending. A pod has thirty in total between SIGTERM and SIGKILL."""


class AttemptExecutor:
    """One attempt in progress."""

    def __init__(self, plan: Plan, services: Services, progress: RunProgress) -> None:
        self.step: str | None = None
        """The step in progress."""
        self.has_begun = False
        """Whether the attempt has held the warehouse lock."""
        self.unchanged: str | None = None
        """Why nothing needs to be built; empty if something does, None until this is decided."""
        self._plan = plan
        self._services = services
        self._progress = progress
        self._marts: MartPublisher | None = None
        self._reuser: Reuser | None = None
        self._ended: AttemptContext | None = None
        """What was executed, if all steps have ended."""
        self._monitor = LockMonitor(services.warehouse, progress.step_blocked)
        self._hooks = ProjectHooks(plan, services.dbt, services.run_log)
        self._snapshot = SnapshotHolder(services.warehouse, plan.vacuum)

    @property
    def hook(self) -> str | None:
        """The kind of the project's hooks in progress."""
        return self._hooks.running

    @property
    def blocker(self) -> str:
        """The session in the warehouse that blocks the step in progress; empty if none does."""
        return self._monitor.current_blocker

    def execute(self, enable_status: Callable[[], None]) -> None:
        """Execute all steps. RunFailedError and CancelledError end the attempt early."""
        plan, services = self._plan, self._services
        schedule_guard.check(plan.run_request, plan.attempt.run_id)
        if services.unavailable and plan.policy.needs_dbt:
            raise RunFailedError(services.unavailable)
        connection = services.warehouse.connect()
        services.warehouse.check_writable()
        self._acquire_lock(enable_status)
        with advisory_lock.keepalive(connection, lambda: services.cancellation.cancel(Cause.LOCK_LOST)), self._monitor:
            threading.Thread(target=self._abort_late_connections, name="abort", daemon=True).start()
            services.warehouse.terminate_own_sessions()
            self._snapshot.acquire()
            services.dbt.set_session_settings(services.warehouse.session_settings)
            preflight = Preflight(plan, services.dbt, services.warehouse)
            preflight.check_privileges(required_privileges.of_tables(plan, connection))
            legacy_log.prepare(services.warehouse)
            earlier = services.run_log.begin()
            dependencies.check(plan.run_request, plan.attempt.run_id, services.warehouse)
            services.dbt.call_on_completed(services.run_log.node_succeeded)
            self._marts = MartPublisher(plan, connection)
            self._marts.check_not_held()
            self._execute_steps(self._context(preflight, self._marts, earlier), earlier)

    def end_sessions(self) -> None:
        """Terminate the sessions that dbt left in the warehouse, if the warehouse can be reached."""
        self._services.end_sessions()

    def release(self) -> None:
        """Release the snapshot that is held for readers on standbys. The attempt writes nothing more."""
        self._snapshot.release()

    def record_results(self) -> None:
        """Record what was built, tested and published, for later runs. The attempt builds nothing more."""
        if self._reuser:
            self._reuser.finish()
        if self._ended:
            record_outputs(self._ended)

    def discard(self) -> None:
        """Drop the marts that were built but not published, if the attempt still holds the warehouse lock."""
        if self._marts:
            with suppress(psycopg.Error):
                self._marts.drop_staging()

    def _acquire_lock(self, enable_status: Callable[[], None]) -> None:
        plan, services = self._plan, self._services

        def waiting(message: str, alone: bool) -> None:
            if alone:
                enable_status()
            self._progress.waiting_for_lock(message)

        lock = plan.lock
        advisory_lock.acquire(
            services.warehouse, plan.run_request.refresh, services.clock, waiting, policy=lock.policy, wait=lock.wait_timeout
        )
        self.has_begun = True
        enable_status()
        self._progress.lock_acquired()

    def _context(self, preflight: Preflight, marts: MartPublisher, earlier: ResumeState) -> AttemptContext:
        preflight.parse()
        self._reuser = reuser_of(self._plan, self._services, marts)
        resolved = preflight.check(marts, earlier)
        if self._reuser:
            self._reuser.kept([str(relation) for relation in marts.staged_of(resolved.reusable)])
        self._services.run_log.record_parents(resolved.parents)
        self._plan = resolved.plan or self._plan
        return AttemptContext(self._plan, self._services, self._progress, resolved, marts, self._monitor, self._hooks, self._reuser)

    def _execute_steps(self, context: AttemptContext, earlier: ResumeState) -> None:
        try:
            for step in self._plan.steps:
                # After the freshness check, because stale sources do not change either.
                if self.unchanged is None and not isinstance(step, SourcesStep):
                    self.unchanged = check_unchanged(context, earlier)
                self._execute_step(step, context)
        except RunFailedError:
            context.end_hooks(failed=True)
            raise
        context.end_hooks()
        if not self.unchanged:
            self._ended = context

    def _execute_step(self, step: Step, context: AttemptContext) -> None:
        if reason := self.unchanged or context.resolved.skipped.get(step.name):
            self._progress.step_ended(step.name, skipped(reason))
            return
        if failed := self._failed_before(step):
            self._progress.step_ended(step.name, skipped(f"not started: {self._plan.label(failed)} failed"))
            return
        with ExitStack() as until_reported:
            executor = executor_of(step, context, until_reported)
            executor.before()
            self.step = step.name
            self._monitor.reset()
            result = executor.execute()
            self._progress.step_ended(step.name, result)
            self.step = None
        executor.after(result)

    def _failed_before(self, step: Step) -> str | None:
        """Return the failed step that prevents this one from starting. Failed tests do not prevent validation: the marts exist."""
        ignored = "tests" if isinstance(step, ValidationStep) else None
        return next((name for name, result in self._progress.results.items() if result.failure and name != ignored), None)

    def _abort_late_connections(self) -> None:
        """Close all connections some seconds after the attempt began to end, in case a thread still waits for PostgreSQL."""
        self._services.cancellation.ending.wait()
        self._services.clock.sleep(_ABORT_DELAY)
        self._services.dbt.shutdown()
        self._services.warehouse.abort()
