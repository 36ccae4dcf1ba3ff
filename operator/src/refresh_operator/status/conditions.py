"""The conditions of a refresh and their messages; pure."""

from datetime import datetime, timedelta
from typing import Final

from refresh_api.model import time_text
from refresh_api.names import GROUP
from refresh_api.reasons import FreshReason, ReadyReason, RunningReason, SuspendedReason
from refresh_api.status import (
    GOOD,
    ActiveRun,
    Condition,
    ConditionStatus,
    FinishedRun,
    OperatorStatus,
    Outcome,
    Reason,
    Run,
    RunPhase,
    clip,
)
from refresh_api.values import duration
from refresh_operator.names import requested_job_name
from refresh_operator.runs.outcome import start_problem
from refresh_operator.runs.suspension import Suspension
from refresh_operator.state.problem import Problem
from refresh_operator.state.refresh import InvalidSpec, Refresh
from refresh_operator.state.snapshot import Snapshot

START_GRACE: Final = timedelta(seconds=10)
"""How long a pod counts as starting. After that, the message says that it has not started."""
QUOTE_LENGTH: Final = 300
"""Maximum length of a message quoted in another message."""


def one_line(text: str | None) -> str:
    """Return a text as one line that is short enough to be quoted."""
    return clip(" ".join((text or "").split()), QUOTE_LENGTH)


def conditions(
    snapshot: Snapshot, new: OperatorStatus, problem: Problem | None, suspension: Suspension | None, now: datetime
) -> list[Condition]:
    """Return all conditions as of now."""
    refresh, generation = snapshot.refresh, new.observed_generation
    reason, message = running(snapshot, new.active, now)
    active = ConditionStatus.TRUE if new.active else ConditionStatus.FALSE
    return [
        *readiness(refresh, generation, problem, suspension, now),
        _suspension(refresh, generation, suspension, now),
        _condition(refresh.status, "Running", active, reason, message, generation, now),
        _last_run_condition(refresh.status, new.history, generation, now),
        *_freshness(refresh, new, generation, now),
    ]


def _suspension(refresh: Refresh, generation: int, suspension: Suspension | None, now: datetime) -> Condition:
    reason, message = (suspension.reason, suspension.message) if suspension else (SuspendedReason.NOT_SUSPENDED, "")
    status = ConditionStatus.TRUE if suspension else ConditionStatus.FALSE
    return _condition(refresh.status, "Suspended", status, reason, message, generation, now)


def readiness(refresh: Refresh, generation: int, problem: Problem | None, suspension: Suspension | None, now: datetime) -> list[Condition]:
    """Return the conditions Ready, Reconciling and Stalled."""
    healthy = (ReadyReason.SUSPENDED, suspension.message) if suspension else (ReadyReason.SCHEDULED, "CronJob is up to date")
    reason, message = (problem.reason, problem.message) if problem else healthy
    if refresh.unknown_fields:
        fields = one_line(", ".join(refresh.unknown_fields))
        message = f"{message}; ignoring fields that this operator version does not support: {fields}"
    states = {
        "Ready": problem is None,
        "Reconciling": problem is not None and not problem.stalled,
        "Stalled": problem is not None and problem.stalled,
    }
    return [
        _condition(
            refresh.status,
            kind,
            ConditionStatus.TRUE if true else ConditionStatus.FALSE,
            reason if true or kind == "Ready" else f"Not{kind}",
            message if true or kind == "Ready" else "",
            generation,
            now,
        )
        for kind, true in states.items()
    ]


def running(snapshot: Snapshot, active: list[ActiveRun], now: datetime) -> tuple[str, str]:
    """Return the reason and message of the condition Running."""
    token = snapshot.refresh.pending_request
    if not active:
        return RunningReason.IDLE, ""
    run = active[0]
    reason, detail = _progress(snapshot, run, now)
    more = f"; {len(active) - 1} more active" if len(active) > 1 else ""
    waiting = (
        f"; request {one_line(token)} is queued" if token and not any(_is_for_request(snapshot, each, token) for each in active) else ""
    )
    return reason, f"run {run.id}: {detail}{more}{waiting}"


def _is_for_request(snapshot: Snapshot, run: ActiveRun, token: str) -> bool:
    return run.id == requested_job_name(snapshot.refresh.metadata.name, snapshot.refresh.metadata.uid, token)


def _progress(snapshot: Snapshot, run: ActiveRun, now: datetime) -> tuple[str, str]:
    seen = snapshot.refresh.run
    exists = any(job.metadata.name == run.id for job in snapshot.jobs)
    pods = snapshot.pods_of(run.id)
    problem = start_problem(pods) if exists else None
    report = seen if seen and seen.id == run.id else None
    attempt = f"attempt {report.attempt}/{report.attempts}: {_why(report)}; " if report and report.reason else ""
    if pods and pods[-1].status.phase == "Pending" and pods[-1].is_fetching:
        return RunningReason.STARTING, f"{attempt}pod is fetching the dbt project"
    if problem:
        is_early = problem[0] is Reason.START_TIMEOUT and now < snapshot.pending_since(run.id, run.start_time) + START_GRACE
        start = "pod is starting" if is_early or not problem[1] else f"pod has not started: {one_line(problem[1])}"
        return RunningReason.STARTING, f"{attempt}{start}"
    if report and report.phase in (RunPhase.RETRYING, RunPhase.INTERRUPTED):
        return report.phase.value, f"attempt {report.attempt}/{report.attempts}: {_why(report)}; another attempt follows"
    if report and report.phase is RunPhase.WAITING:
        return RunningReason.WAITING, one_line(report.message) or "waiting for the warehouse"
    if report:
        return RunningReason.RUNNING, f"attempt {report.attempt}/{report.attempts}"
    return RunningReason.RUNNING, "started"


def _why(run: Run) -> str:
    return ": ".join(part for part in (run.reason.value if run.reason else "", one_line(run.message)) if part)


def _last_run_condition(old: OperatorStatus, history: list[FinishedRun], generation: int, now: datetime) -> Condition:
    last = next((run for run in history if run.outcome is not Outcome.SKIPPED), None)
    before = old.condition("LastRunSucceeded")
    if last:
        status = ConditionStatus.TRUE if last.outcome in GOOD else ConditionStatus.FALSE
        return _condition(old, "LastRunSucceeded", status, last.reason.value, one_line(last.message), generation, now)
    if before:  # a history of skipped runs alone does not change the condition
        return before.model_copy(update={"observed_generation": generation})
    return _condition(old, "LastRunSucceeded", ConditionStatus.UNKNOWN, "NoRunYet", "no run has finished yet", generation, now)


def _freshness(refresh: Refresh, new: OperatorStatus, generation: int, now: datetime) -> list[Condition]:
    """Return the condition DataFresh, or nothing without `spec.freshness`."""
    if isinstance(refresh.spec, InvalidSpec):
        before = refresh.status.condition("DataFresh")
        return [before] if before else []
    if refresh.spec.freshness is None:
        return []
    longest, loaded = refresh.spec.freshness.max_staleness, new.last_success_time
    if loaded is None:
        reason, message = FreshReason.NEVER_LOADED, f"no run has succeeded yet: request one with the annotation {GROUP}/requestedAt"
    elif now - loaded > duration(longest):
        command = f"kubectl describe -n {refresh.ref.namespace} dashboardrefresh {refresh.ref.name}"
        reason = FreshReason.STALE
        message = f"the last successful run finished at {time_text(loaded)}, more than {longest} ago; see: {command}"
    else:
        reason, message = FreshReason.FRESH, f"the last successful run finished at {time_text(loaded)}, at most {longest} ago"
    status = ConditionStatus.TRUE if reason is FreshReason.FRESH else ConditionStatus.FALSE
    return [_condition(refresh.status, "DataFresh", status, reason, message, generation, now)]


def freshness_change(before: OperatorStatus, after: OperatorStatus) -> Condition | None:
    """Return the condition DataFresh if data that were fresh have become stale, or the other way round; otherwise None."""
    old, new = before.condition("DataFresh"), after.condition("DataFresh")
    if old is None or new is None or FreshReason.NEVER_LOADED in {old.reason, new.reason} or old.reason == new.reason:
        return None
    return new


def stale_after(refresh: Refresh, new: OperatorStatus, now: datetime) -> timedelta | None:
    """Return the time until the data becomes stale; None without `spec.freshness` or a successful run."""
    if isinstance(refresh.spec, InvalidSpec) or refresh.spec.freshness is None or new.last_success_time is None:
        return None
    return new.last_success_time - now + duration(refresh.spec.freshness.max_staleness)


def _condition(
    old: OperatorStatus, kind: str, status: ConditionStatus, reason: str, message: str, generation: int, now: datetime
) -> Condition:
    before = old.condition(kind)
    since = before.last_transition_time if before and before.status is status else now
    return Condition(
        type=kind, status=status, reason=reason, message=clip(message), last_transition_time=since, observed_generation=generation
    )
