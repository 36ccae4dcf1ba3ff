"""All analyses of a snapshot, and when the next reconciliation is due; pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from refresh_api.reasons import ReadyReason
from refresh_api.status import OperatorStatus
from refresh_operator.reconcile.managed_objects import is_owned
from refresh_operator.runs.missed_runs import evaluate_missed_runs
from refresh_operator.runs.notices import RunNotices, run_notices
from refresh_operator.runs.project_checks import handle_project
from refresh_operator.runs.requests import handle_cancel, handle_request
from refresh_operator.runs.runs import Timeouts, active_runs, ended_runs, newest_first, timeouts_due
from refresh_operator.runs.suspension import scheduled_failures, suspension_of
from refresh_operator.settings import Settings
from refresh_operator.state.kube_types import metadata_of
from refresh_operator.state.problem import Problem
from refresh_operator.state.refresh import InvalidSpec
from refresh_operator.state.snapshot import Snapshot
from refresh_operator.status.conditions import START_GRACE, stale_after
from refresh_operator.status.status import Analysis

_MAX_REQUEUE = timedelta(hours=1)
"""Maximum time between two reconciliations, even if nothing is due. Watches and the resync report every change."""
_SECOND = timedelta(seconds=1)


def analyse(snapshot: Snapshot, settings: Settings, timeouts: Timeouts, now: datetime) -> Analysis:
    """Return the results of all analyses."""
    problem = find_problem(snapshot)
    cancellation = handle_cancel(snapshot, now)
    ended = ended_runs(snapshot, timeouts, now, cancellation.ended)
    active = active_runs(snapshot, ended)
    failures = scheduled_failures(snapshot.refresh, ended)
    request = handle_request(snapshot, settings, problem, active, cancellation.withdrawn)
    suspension = suspension_of(snapshot, failures, now)
    told = run_notices(snapshot.refresh.status, snapshot.refresh.spec, ended, now) if settings.notifies else RunNotices()
    finished = newest_first([*(each.run for each in ended), *snapshot.refresh.status.history])
    # a requested run takes the newest commit, too
    is_held = bool(problem or suspension or request.job or request.handled != snapshot.refresh.requested)
    return Analysis(
        problem=problem,
        ended=ended,
        active=active,
        request=request,
        project=handle_project(snapshot, settings, active, finished, now, is_held=is_held),
        cancellation=cancellation,
        missed=evaluate_missed_runs(snapshot, now),
        told=told,
        failures=failures,
        suspension=suspension,
    )


def find_problem(snapshot: Snapshot) -> Problem | None:
    """Return why the refresh is not ready, or None."""
    spec = snapshot.refresh.spec
    if isinstance(spec, InvalidSpec):
        return Problem(spec.reason, f"{spec.path}: {spec.message}", stalled=True)
    for kind, item in snapshot.objects.items():
        if not is_owned(item, snapshot.refresh):
            hint = "delete it, or rename the DashboardRefresh"
            message = f"{kind} {metadata_of(item).name} already exists and is not owned by this DashboardRefresh: {hint}"
            return Problem(ReadyReason.CRON_JOB_CONFLICT, message, stalled=True)
        # terminating RBAC objects still work
        if kind == "CronJob" and (seen := metadata_of(item)).deletion_timestamp:
            held = f", held by {', '.join(seen.finalizers)}" if seen.finalizers else ""
            message = f"{kind} {seen.name} is terminating{held}: no runs start until it is deleted and recreated"
            return Problem(ReadyReason.CRON_JOB_TERMINATING, message, stalled=False)
    if snapshot.denial:
        return Problem(snapshot.denial.ready, snapshot.denial.message, stalled=True)
    if snapshot.denied_secrets:
        return Problem(ReadyReason.SECRET_NOT_ALLOWED, "; ".join(snapshot.denied_secrets.values()), stalled=True)
    if snapshot.missing_secrets:
        return Problem(ReadyReason.SECRET_NOT_FOUND, f"{snapshot.missing_secrets[0]}; retrying", stalled=False)
    return None


def requeue_after(
    snapshot: Snapshot, analysis: Analysis, status: OperatorStatus, timeouts: Timeouts, settings: Settings, now: datetime
) -> timedelta:
    """Return the time after which the refresh is reconciled again, unless a watch reports a change earlier."""
    waits = [_MAX_REQUEUE, *(each + _SECOND for each in _due(snapshot, analysis, status, timeouts, now))]
    if analysis.problem:
        waits.append(settings.recheck)
    return max(_SECOND, min(wait for wait in waits if wait > timedelta(0)))


def _due(snapshot: Snapshot, analysis: Analysis, status: OperatorStatus, timeouts: Timeouts, now: datetime) -> Iterator[timedelta]:
    """Yield the time from now of each event that an analysis waits for; negative if it is past."""
    times = (status.next_schedule_time, status.suspended_until, analysis.missed.next_due, analysis.project.next_due)
    yield from (each - now for each in times if each)
    if (stale := stale_after(snapshot.refresh, status, now)) is not None:
        yield stale
    yield from timeouts_due(snapshot, status.active, timeouts, START_GRACE, now)
