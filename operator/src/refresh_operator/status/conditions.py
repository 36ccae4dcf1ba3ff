"""The conditions of a refresh, and the words that they are told in; pure."""

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
"""A pod that has not started by then is something to tell of, also where nothing is known against it."""
QUOTE_LENGTH: Final = 300
"""Characters of another message within a line of ours."""


def condition_of(share: OperatorStatus, kind: str) -> Condition | None:
    """Return one condition of a share."""
    return next((each for each in share.conditions if each.type == kind), None)


def one_line(text: str | None) -> str:
    """Return a text in one line that is not too long for a line of ours."""
    return clip(" ".join((text or "").split()), QUOTE_LENGTH)


def conditions(world: Snapshot, share: OperatorStatus, problem: Problem | None, hold: Suspension | None, now: datetime) -> list[Condition]:
    """Return all conditions as they should be now."""
    refresh, generation = world.refresh, share.observed_generation
    reason, message = running(world, share.active, now)
    active = ConditionStatus.TRUE if share.active else ConditionStatus.FALSE
    return [
        *readiness(refresh, generation, problem, hold, now),
        _suspension(refresh, generation, hold, now),
        _condition(refresh.status, "Running", active, reason, message, generation, now),
        _last_run_condition(refresh.status, share.history, generation, now),
        *_freshness(refresh, share, generation, now),
    ]


def _suspension(refresh: Refresh, generation: int, hold: Suspension | None, now: datetime) -> Condition:
    reason, message = (hold.reason, hold.message) if hold else (SuspendedReason.NOT_SUSPENDED, "")
    status = ConditionStatus.TRUE if hold else ConditionStatus.FALSE
    return _condition(refresh.status, "Suspended", status, reason, message, generation, now)


def readiness(refresh: Refresh, generation: int, problem: Problem | None, hold: Suspension | None, now: datetime) -> list[Condition]:
    """Return the conditions that speak of the configuration."""
    fine = (ReadyReason.SUSPENDED, hold.message) if hold else (ReadyReason.SCHEDULED, "the CronJob is as it should be")
    reason, message = (problem.reason, problem.message) if problem else fine
    if refresh.unknown_fields:
        message = f"{message}; of a newer CRD, and unknown to this operator: {one_line(', '.join(refresh.unknown_fields))}"
    holds = {
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
        for kind, true in holds.items()
    ]


def running(world: Snapshot, active: list[ActiveRun], now: datetime) -> tuple[str, str]:
    """Return the reason and message of the condition Running."""
    token = world.refresh.pending_request
    if not active:
        return RunningReason.IDLE, ""
    run = active[0]
    reason, detail = _progress(world, run, now)
    more = f"; {len(active) - 1} more under way" if len(active) > 1 else ""
    waiting = (
        f"; the request {one_line(token)} waits for its end" if token and not any(_answers(world, each, token) for each in active) else ""
    )
    return reason, f"run {run.id}: {detail}{more}{waiting}"


def _answers(world: Snapshot, run: ActiveRun, token: str) -> bool:
    return run.id == requested_job_name(world.refresh.metadata.name, world.refresh.metadata.uid, token)


def _progress(world: Snapshot, run: ActiveRun, now: datetime) -> tuple[str, str]:
    seen = world.refresh.run
    there = any(job.metadata.name == run.id for job in world.jobs)
    problem = start_problem(world.pods_of(run.id)) if there else None
    told = seen if seen and seen.id == run.id else None
    if problem:
        attempt = f"attempt {told.attempt}/{told.attempts}: {_why(told)}; " if told and told.reason else ""
        is_early = problem[0] is Reason.START_TIMEOUT and now < world.pending_since(run.id, run.start_time) + START_GRACE
        start = "its pod is starting" if is_early or not problem[1] else f"its pod has not started: {one_line(problem[1])}"
        return RunningReason.STARTING, f"{attempt}{start}"
    if told and told.phase in (RunPhase.RETRYING, RunPhase.INTERRUPTED):
        return told.phase.value, f"attempt {told.attempt}/{told.attempts}: {_why(told)}; another one follows"
    if told and told.phase is RunPhase.WAITING:
        return RunningReason.WAITING, one_line(told.message) or "waits for the warehouse"
    if told:
        return RunningReason.RUNNING, f"attempt {told.attempt}/{told.attempts}"
    return RunningReason.RUNNING, "started"


def _why(run: Run) -> str:
    return ": ".join(part for part in (run.reason.value if run.reason else "", one_line(run.message)) if part)


def _last_run_condition(old: OperatorStatus, history: list[FinishedRun], generation: int, now: datetime) -> Condition:
    judged = next((run for run in history if run.outcome is not Outcome.SKIPPED), None)
    before = condition_of(old, "LastRunSucceeded")
    if judged:
        status = ConditionStatus.TRUE if judged.outcome in GOOD else ConditionStatus.FALSE
        return _condition(old, "LastRunSucceeded", status, judged.reason.value, one_line(judged.message), generation, now)
    if before:  # a history of skipped runs only says nothing new
        return before.model_copy(update={"observed_generation": generation})
    return _condition(old, "LastRunSucceeded", ConditionStatus.UNKNOWN, "NoRunYet", "no run has ended yet", generation, now)


def _freshness(refresh: Refresh, share: OperatorStatus, generation: int, now: datetime) -> list[Condition]:
    """Whether the data is as young as it should be; no condition where nobody said how young."""
    if isinstance(refresh.spec, InvalidSpec):
        before = condition_of(refresh.status, "DataFresh")
        return [before] if before else []
    if refresh.spec.freshness is None:
        return []
    longest, loaded = refresh.spec.freshness.max_staleness, share.last_success_time
    if loaded is None:
        reason, message = FreshReason.NEVER_LOADED, f"no run has succeeded yet: ask for one with the annotation {GROUP}/requestedAt"
    elif now - loaded > duration(longest):
        look = f"kubectl describe -n {refresh.ref.namespace} dashboardrefresh {refresh.ref.name}"
        reason = FreshReason.STALE
        message = f"the last successful run ended at {time_text(loaded)}, more than {longest} ago; see why: {look}"
    else:
        reason, message = FreshReason.FRESH, f"the last successful run ended at {time_text(loaded)}, at most {longest} ago"
    status = ConditionStatus.TRUE if reason is FreshReason.FRESH else ConditionStatus.FALSE
    return [_condition(refresh.status, "DataFresh", status, reason, message, generation, now)]


def _condition(
    old: OperatorStatus, kind: str, status: ConditionStatus, reason: str, message: str, generation: int, now: datetime
) -> Condition:
    before = condition_of(old, kind)
    since = before.last_transition_time if before and before.status is status else now
    return Condition(
        type=kind, status=status, reason=reason, message=clip(message), last_transition_time=since, observed_generation=generation
    )
