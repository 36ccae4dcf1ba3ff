"""One attempt of a run, from the lock to the log: the order of things, and what happens when one of them fails."""

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
from refresh_runner.run.executor import Execution, Services
from refresh_runner.runlog import legacy_log

log = logging.getLogger(__name__)

_LAST_ROWS: Final = 3.0
"""Seconds for the last rows in the warehouse: a pod that was told to end has thirty in all."""


def run(plan: Plan, services: Services, progress: RunProgress, enable_status: Callable[[], None] = lambda: None) -> Report:
    """Do what is planned and return what came of it; never raises for what can happen to a run. The warehouse is free afterwards.

    `may_speak` is called once the run may write the refresh's status: it holds the warehouse, can't reach it, or is the only run
    of its refresh that waits for it.
    """
    attempt = Execution(plan, services, progress)
    failure = _failure_of(plan, attempt, services, progress, enable_status)
    services.cancellation.ending.set()
    if failure and failure.reason is Reason.WAREHOUSE_UNREACHABLE:
        enable_status()
    _skip_rest(progress, plan, failure)
    report = report_of(plan, progress.results, failure, attempt.unchanged)
    if report.outcome is not None:
        attempt.discard()
    progress.concluded(report)
    if attempt.has_begun or report.is_failed:
        report = _logged(report, services, progress)
    log.log(logging.INFO if report.outcome in {Outcome.SUCCEEDED, Outcome.SKIPPED} else logging.WARNING, report.line)
    for artifact in services.artifacts():
        services.run_log.store(artifact)
    services.run_log.close(_LAST_ROWS)
    attempt.release()
    # Others may have the warehouse now: what is left is to tell people, and a channel may be slow.
    services.warehouse.close()
    return report


def _failure_of(
    plan: Plan, attempt: Execution, services: Services, progress: RunProgress, enable_status: Callable[[], None]
) -> Failure | None:
    """Carry the plan out; return what ended it before its last step."""
    try:
        with services.cancellation.timeout(attempt.time_left(), Cause.DEADLINE), services.cancellation.enabled():
            attempt.carry_out(enable_status)
    except RunFailedError as error:
        return _ended(progress, error.step or attempt.step, error.failure)
    except CancelledError as stop:
        attempt.clean_up()
        return _ended(progress, attempt.step, _stopped(plan, stop.cause, _where(plan, attempt, progress), attempt.waits_for))
    except psycopg.Error as error:
        log.exception("PostgreSQL refused a statement of the runner")
        attempt.clean_up()
        return _ended(progress, attempt.step, failure_of(error))
    except Exception as error:
        log.exception("the runner itself failed")
        attempt.clean_up()
        failure = Failure(Reason.RUNNER_ERROR, f"{type(error).__name__}: {error}", hint="an error of the runner: its log says more")
        return _ended(progress, attempt.step, failure)
    return None


def _ended(progress: RunProgress, step: str | None, failure: Failure) -> Failure:
    if step is not None:
        progress.step_ended(step, StepResult.failed(failure))
    return failure


def _where(plan: Plan, attempt: Execution, progress: RunProgress) -> str:
    """Say at what point of a run something happened: in a step, in a hook, after a step, or before all."""
    if attempt.step is not None:
        return f"during {plan.label(attempt.step)}"
    if attempt.hook is not None:
        return f"during {attempt.hook}"
    return f"after {plan.label(next(reversed(progress.results)))}" if progress.results else "before its first step"


def _stopped(plan: Plan, cause: Cause, where: str, waited_for: str) -> Failure:
    match cause:
        case Cause.TERMINATED:
            return Failure(Reason.INTERRUPTED, f"ended from outside {where}")
        case Cause.LOCK_LOST:
            return Failure(Reason.LOCK_LOST, f"the connection that holds the warehouse was lost {where}", passing=True)
        case Cause.DEADLINE | Cause.STEP_TIMEOUT:
            late = f"not done within {duration_text(plan.timeout)}: ended {where}"
            message = f"{late}, which waited for {waited_for}" if waited_for else late
            return Failure(Reason.DEADLINE_EXCEEDED, message, passing=True, hint="raise spec.timeout, or look at what that step waits for")


def _skip_rest(progress: RunProgress, plan: Plan, failure: Failure | None) -> None:
    culprit = next((plan.label(name) + " failed" for name, result in progress.results.items() if result.failure), None)
    why = culprit or (failure.message if failure else "")
    for step in plan.steps:
        if step.name not in progress.results:
            progress.step_ended(step.name, skipped(f"not started: {why}"))


def _logged(report: Report, services: Services, progress: RunProgress) -> Report:
    """Write the log's row; a run that could not is no clean success."""
    if report.log_entry is None:
        return report
    try:
        legacy_log.write(services.warehouse, replace(report.log_entry, notes=services.redact.clipped(report.log_entry.notes)))
    except RunFailedError as error:
        log.error(error.failure.message)
        report = report.without_log_entry(error.failure.message)
        progress.concluded(report)
    return report
