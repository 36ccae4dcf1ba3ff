"""The operator's part of a refresh's status; pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from refresh_api import cron
from refresh_api.reasons import SuspendedReason
from refresh_api.run_request import ModeKind
from refresh_api.spec import RefreshSpec
from refresh_api.status import GOOD, HISTORY_LENGTH, ActiveRun, FinishedRun, OperatorStatus, Outcome, Phase, Reason, clip
from refresh_operator.runs.missed_runs import MissedRuns
from refresh_operator.runs.notices import RunNotices, failing_since
from refresh_operator.runs.project_checks import ProjectDecision
from refresh_operator.runs.requests import Cancellation, RequestDecision
from refresh_operator.runs.runs import EndedRun, newest_first
from refresh_operator.runs.suspension import Suspension, last_suspension
from refresh_operator.state.problem import Problem
from refresh_operator.state.refresh import InvalidSpec, Refresh
from refresh_operator.state.snapshot import Snapshot
from refresh_operator.status.conditions import QUOTE_LENGTH, conditions, one_line, readiness, running


@dataclass(frozen=True)
class Analysis:
    """The results of all analyses of a snapshot."""

    problem: Problem | None
    ended: tuple[EndedRun, ...]
    active: list[ActiveRun]
    request: RequestDecision
    project: ProjectDecision
    cancellation: Cancellation
    missed: MissedRuns
    told: RunNotices
    failures: int
    """Number of consecutive failed scheduled runs."""
    suspension: Suspension | None
    """Why scheduled runs are suspended."""


def new_status(snapshot: Snapshot, analysis: Analysis, now: datetime) -> OperatorStatus:
    """Return the whole status as of now."""
    refresh = snapshot.refresh
    old = refresh.status
    ended = analysis.ended
    history = newest_first([*(each.run for each in ended), *old.history])[:HISTORY_LENGTH]
    draft = old.model_copy(
        update={
            "observed_generation": refresh.metadata.generation,
            **_next_runs(refresh, analysis.suspension, now),
            "active": analysis.active,
            "history": history,
            "last_run": history[0] if history else old.last_run,
            "last_handled_request_at": analysis.request.handled,
            "request_error": analysis.request.error,
            "project_check": analysis.project.check,
            "last_handled_cancel": analysis.cancellation.handled,
            "scheduled_failures": analysis.failures,
            "last_handled_reset_at": refresh.pending_reset or old.last_handled_reset_at,
            "suspended_since": (old.suspended_since or now) if analysis.suspension else None,
            "suspended_until": analysis.suspension.until if analysis.suspension else None,
            **_counters(old, ended),
            "shared_failure": analysis.told.shared,
            "last_failure": analysis.told.last_failure,
            "last_recovery": analysis.told.last_recovery,
            "live_revision": _live_revision(old, history),
            **_missed(old, analysis.missed),
        }
    )
    return draft.model_copy(
        update={
            "phase": _phase(analysis),
            "message": clip(_message(snapshot, draft, analysis, now), 2 * QUOTE_LENGTH),
            "conditions": conditions(snapshot, draft, analysis.problem, analysis.suspension, now),
        }
    )


def problem_status(refresh: Refresh, problem: Problem, now: datetime) -> OperatorStatus:
    """Return the status of a refresh that could not be reconciled; only the phase, the message and the readiness change."""
    old = refresh.status
    generation = refresh.metadata.generation
    others = [each for each in old.conditions if each.type not in ("Ready", "Reconciling", "Stalled")]
    return old.model_copy(
        update={
            "phase": Phase.STALLED if problem.stalled else Phase.BLOCKED,
            "message": clip(problem.message, 2 * QUOTE_LENGTH),
            "conditions": [*readiness(refresh, generation, problem, last_suspension(old), now), *others],
        }
    )


def _next_runs(refresh: Refresh, suspension: Suspension | None, now: datetime) -> dict[str, object]:
    if isinstance(refresh.spec, InvalidSpec) or (suspension and suspension.until is None):
        return {"next_schedule_time": None, "next": None, "next_schedule_times": []}
    begin = max(now, suspension.until) if suspension and suspension.until else now
    coming = list(islice(cron.parse(cron.resolve(refresh.spec.schedule, str(refresh.ref)), refresh.spec.time_zone).runs_after(begin), 3))
    first = coming[0] if coming else None
    return {
        "next_schedule_time": first,
        "next": _short_time(first, now),
        "next_schedule_times": [each.isoformat(timespec="minutes") for each in coming],
    }


def _missed(old: OperatorStatus, missed: MissedRuns) -> dict[str, object]:
    evaluated: dict[str, object] = {"missed_runs_evaluated_until": missed.evaluated_until, "missed_since": missed.since}
    if not missed.runs:
        return evaluated
    last = missed.runs[-1]
    return {
        **evaluated,
        "missed_runs": old.missed_runs + len(missed.runs),
        "last_missed_time": last.time,
        "last_missed_reason": last.reason,
    }


def _short_time(moment: datetime | None, now: datetime) -> str | None:
    if moment is None:
        return None
    return moment.strftime("%a %H:%M") if moment - now < timedelta(days=7) else moment.strftime("%Y-%m-%d")


def _counters(old: OperatorStatus, ended: tuple[EndedRun, ...]) -> dict[str, object]:
    failures, success, since = old.consecutive_failures, old.last_success_time, old.failing_since
    for run in (each.run for each in ended):
        if run.outcome in GOOD:
            failures, success = 0, run.completion_time if run.loads else success
        elif run.outcome is Outcome.FAILED and run.reason is not Reason.CANCELLED:
            failures += 1
        since = failing_since(since, run)
    return {"consecutive_failures": failures, "last_success_time": success, "failing_since": since}


def _live_revision(old: OperatorStatus, history: list[FinishedRun]) -> str | None:
    """Return the revision of the project that readers see: that of the last full run that succeeded, unless it was rolled back."""
    for run in (each for each in history if each.outcome in GOOD):
        if run.mode == ModeKind.ROLLBACK:
            return None
        if run.loads:
            return run.revision
    return old.live_revision


def _phase(analysis: Analysis) -> Phase:
    if analysis.problem:
        return Phase.STALLED if analysis.problem.stalled else Phase.BLOCKED
    if analysis.active:
        return Phase.RUNNING
    return Phase.SUSPENDED if analysis.suspension else Phase.SCHEDULED


_NEVER_STARTED: Final = frozenset({Reason.START_TIMEOUT, Reason.IMAGE_PULL_FAILED, Reason.UNSCHEDULABLE, Reason.JOB_DELETED})
"""Reasons of runs without a log."""


def _advice(refresh: Refresh, last: FinishedRun) -> str:
    """Return what to do about a failed run, as a hint and a command."""
    namespace, name = refresh.ref.namespace, refresh.ref.name
    if last.reason is Reason.UNSCHEDULABLE:
        return f"check spec.resources and spec.podTemplate; see: kubectl describe dr -n {namespace} {name}"
    if last.reason in _NEVER_STARTED:
        return f"see: kubectl describe dr -n {namespace} {name}"
    # `job/NAME` would show only the first of several pods
    pods = f"job/{last.id}" if last.attempts <= 1 else f"-l job-name={last.id} --prefix --tail=-1"
    if isinstance(refresh.spec, RefreshSpec) and refresh.spec.project:
        pods += " --all-containers"
    command = f"see: kubectl logs -n {namespace} {pods}"
    if last.reason is Reason.WAREHOUSE_UNREACHABLE and isinstance(refresh.spec, RefreshSpec):
        return f"check that PostgreSQL is running and that Secret {refresh.spec.warehouse.secret_ref.name} is correct; {command}"
    return command


def _last_run_message(refresh: Refresh, last: FinishedRun, history: list[FinishedRun]) -> str:
    """Return the result of the last run if it needs attention. After a partial run, add that of the last full run if it failed."""
    which = f"the last run ({last.mode})" if last.is_partial else "the last run"
    full = next((run for run in history if run.outcome is not Outcome.SKIPPED and not run.is_partial), None) if last.is_partial else None
    before = f"; the last full run failed ({full.reason}): {one_line(full.message)}" if full and full.outcome is Outcome.FAILED else ""
    if last.outcome is Outcome.FAILED:
        return f"{which} failed ({last.reason}): {one_line(last.message)}{before}; {_advice(refresh, last)}"
    if last.outcome is Outcome.WARNED:
        return f"{which} succeeded with warnings: {one_line(last.message)}{before}"
    return f"{which} succeeded{before}" if before else ""


def _message(snapshot: Snapshot, new: OperatorStatus, analysis: Analysis, now: datetime) -> str:
    refresh, last, suspension = snapshot.refresh, new.last_run, analysis.suspension
    paused = suspension if suspension and suspension.reason is SuspendedReason.GLOBALLY_PAUSED else None
    if analysis.problem:
        return analysis.problem.message
    if new.active:
        return running(snapshot, new.active, now)[1] + (f"; {paused.message}" if paused else "")
    if paused:
        return paused.message + (f"; request {one_line(refresh.pending_request)} is queued" if refresh.pending_request else "")
    if new.request_error:
        return f"request {one_line(new.last_handled_request_at)} started no run: {one_line(new.request_error)}"
    if suspension and suspension.reason is SuspendedReason.TOO_MANY_FAILURES:
        return f"{suspension.message}; the last run: {one_line(last.message) if last else ''}".rstrip(": ")
    if last and (message := _last_run_message(refresh, last, new.history)):
        return message
    if suspension:
        return suspension.message
    zone = refresh.spec.time_zone if isinstance(refresh.spec, RefreshSpec) else ""
    return f"next run: {new.next} ({zone})"
