"""Runs one attempt from start to end: executes the plan, determines the outcome, and writes the log, whatever fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import psycopg

from refresh_api.status import Outcome, Reason
from refresh_api.values import duration_text
from refresh_runner.core.errors import Failure, RunFailedError
from refresh_runner.model.plan import Plan
from refresh_runner.model.step_results import StepResult, skipped
from refresh_runner.postgres.connection import failure_of
from refresh_runner.report.outcome import Report, report_of
from refresh_runner.report.progress import RunProgress
from refresh_runner.run.cancellation import CancelledError, Cause
from refresh_runner.run.executor import AttemptExecutor
from refresh_runner.run.services import Services
from refresh_runner.runlog import legacy_log

log = logging.getLogger(__name__)

_RUN_LOG_TIMEOUT: Final = 3.0
"""Seconds for writing the last rows. A pod has thirty in total between SIGTERM and SIGKILL."""


def run(plan: Plan, services: Services, progress: RunProgress, enable_status: Callable[[], None] = lambda: None) -> Report:
    """Execute the plan and return the report. Errors of a run are reported, not raised. The warehouse lock is released afterwards.

    `enable_status` is called once the run may write the refresh's status. It may if it holds the lock, has no project, cannot reach the
    warehouse, or is the only run of its refresh that waits for the lock.
    """
    attempt = AttemptExecutor(plan, services, progress)
    failure = _failure_of(plan, attempt, services, progress, enable_status)
    services.cancellation.ending.set()
    if failure and (failure.reason is Reason.WAREHOUSE_UNREACHABLE or failure is services.unavailable):
        enable_status()
    _skip_rest(progress, plan, failure)
    attempt.record_results()
    report = report_of(plan, progress.results, failure, attempt.unchanged, services.warning)
    if report.outcome is not None:
        attempt.discard()
    progress.concluded(report)
    if attempt.has_begun or report.is_failed:
        report = _write_legacy_log(report, services, progress)
    log.log(logging.INFO if report.outcome in {Outcome.SUCCEEDED, Outcome.SKIPPED} else logging.WARNING, report.line)
    for artifact in services.artifacts():
        services.run_log.store(artifact)
    if services.run_log.lacks_description and (text := services.description()):
        services.run_log.store_description(text)
    services.run_log.close(_RUN_LOG_TIMEOUT)
    attempt.release()
    # Release the lock before notifications are sent: a channel may be slow.
    services.warehouse.close()
    return report


def _failure_of(
    plan: Plan, attempt: AttemptExecutor, services: Services, progress: RunProgress, enable_status: Callable[[], None]
) -> Failure | None:
    """Execute the plan. Return the failure that ended it before its last step, if any."""
    try:
        with services.cancellation.timeout(services.time_left(plan), Cause.DEADLINE), services.cancellation.enabled():
            attempt.execute(enable_status)
    except RunFailedError as error:
        return _record_failure(progress, error.step or attempt.step, error.failure)
    except CancelledError as cancelled:
        attempt.end_sessions()
        return _record_failure(
            progress, attempt.step, _cancelled(plan, cancelled.cause, _location(plan, attempt, progress), attempt.blocker)
        )
    except psycopg.Error as error:
        log.exception("PostgreSQL rejected a statement of the runner")
        attempt.end_sessions()
        return _record_failure(progress, attempt.step, failure_of(error))
    except Exception as error:
        log.exception("internal error of the runner")
        attempt.end_sessions()
        failure = Failure(Reason.RUNNER_ERROR, f"{type(error).__name__}: {error}", hint="see the log of the runner")
        return _record_failure(progress, attempt.step, failure)
    return None


def _record_failure(progress: RunProgress, step: str | None, failure: Failure) -> Failure:
    if step is not None:
        progress.step_ended(step, StepResult.failed(failure))
    return failure


def _location(plan: Plan, attempt: AttemptExecutor, progress: RunProgress) -> str:
    """Return during which step or hook, or after which step, the attempt ended."""
    if attempt.step is not None:
        return f"during {plan.label(attempt.step)}"
    if attempt.hook is not None:
        return f"during {attempt.hook}"
    return f"after {plan.label(next(reversed(progress.results)))}" if progress.results else "before its first step"


def _cancelled(plan: Plan, cause: Cause, where: str, blocker: str) -> Failure:
    match cause:
        case Cause.TERMINATED:
            return Failure(Reason.INTERRUPTED, f"interrupted by SIGTERM {where}")
        case Cause.LOCK_LOST:
            return Failure(Reason.LOCK_LOST, f"the connection that holds the warehouse was lost {where}", retryable=True)
        case Cause.DEADLINE | Cause.STEP_TIMEOUT:
            late = f"timed out after {duration_text(plan.timeout)}: stopped {where}"
            message = f"{late}, which waited for {blocker}" if blocker else late
            return Failure(Reason.DEADLINE_EXCEEDED, message, retryable=True, hint="raise spec.timeout, or check what that step waits for")


def _skip_rest(progress: RunProgress, plan: Plan, failure: Failure | None) -> None:
    failed_step = next((plan.label(name) + " failed" for name, result in progress.results.items() if result.failure), None)
    reason = failed_step or (failure.message if failure else "")
    for step in plan.steps:
        if step.name not in progress.results:
            progress.step_ended(step.name, skipped(f"not started: {reason}"))


def _write_legacy_log(report: Report, services: Services, progress: RunProgress) -> Report:
    """Write the row of dbt_refresh_log. If that fails, a success becomes a warning."""
    if report.log_entry is None:
        return report
    try:
        legacy_log.write(services.warehouse, replace(report.log_entry, notes=services.redact.clipped(report.log_entry.notes)))
    except RunFailedError as error:
        log.error(error.failure.message)
        report = report.without_log_entry(error.failure.message)
        progress.concluded(report)
    return report
