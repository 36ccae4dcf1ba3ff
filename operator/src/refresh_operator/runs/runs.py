"""The active runs of a refresh, and those that have ended since the last reconciliation; pure.

The runner's own report takes precedence: `status.run`, or else the termination message of its pod. If a run has no report, its result is
inferred from its pods and its Job.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from refresh_api.names import GENERATION_ANNOTATION, PROJECT_ANNOTATION, REQUEST_ANNOTATION, RUN_VARS_LENGTH
from refresh_api.status import HISTORY_LENGTH, ActiveRun, FinishedRun, Outcome, Reason, RunPhase, Trigger, clip
from refresh_api.values import duration_text
from refresh_operator.runs.outcome import (
    RunResult,
    image_of,
    inferred_result,
    reported_result,
    result_from_status,
    revision_of,
    start_problem,
)
from refresh_operator.specs.cronjob import HISTORY_LIMIT
from refresh_operator.state.kube_types import Job
from refresh_operator.state.refresh import RunParameters, parameters_of
from refresh_operator.state.snapshot import Snapshot

_BY_KUBECTL: Final = "cronjob.kubernetes.io/instantiate"
_ACTIVE_MAX: Final = 20
_DIGITS: Final = 18
"""Maximum number of digits of a generation."""


@dataclass(frozen=True)
class EndedRun:
    """A run that has ended since the last reconciliation."""

    run: FinishedRun
    notified: bool
    """Whether the runner has reported, and therefore sent the notifications itself."""
    delete_job: bool = False
    """Whether the Job is still active and must be deleted."""
    left: bool = False
    """Whether the runner has left chats and mail to the operator, because other refreshes may fail for the same cause."""


@dataclass(frozen=True)
class Timeouts:
    """The times after which a run counts as failed."""

    start: timedelta
    """Time for a pod to start."""
    heartbeat: timedelta
    """Time for the next heartbeat of a runner whose pod is Running."""


def newest_first(runs: list[FinishedRun]) -> list[FinishedRun]:
    """Return finished runs, the last one first."""
    return sorted(runs, key=lambda run: run.completion_time, reverse=True)


def trigger_of(job: Job) -> Trigger:
    """Return the trigger of a run."""
    if REQUEST_ANNOTATION in job.metadata.annotations:
        return Trigger.REQUESTED
    if PROJECT_ANNOTATION in job.metadata.annotations:
        return Trigger.PROJECT_CHANGE
    return Trigger.MANUAL if _BY_KUBECTL in job.metadata.annotations else Trigger.SCHEDULED


def active_runs(snapshot: Snapshot, ended: tuple[EndedRun, ...]) -> list[ActiveRun]:
    """Return the runs that have not ended, oldest first."""
    over = {each.run.id for each in ended} | {run.id for run in snapshot.refresh.status.history}
    jobs = [job for job in snapshot.jobs if not job.end and job.metadata.name not in over]
    runs = [
        ActiveRun(
            id=job.metadata.name,
            trigger=trigger_of(job),
            generation=generation_of(job),
            start_time=job.metadata.creation_timestamp,
            mode=(parameters := _parameters(job)).mode,
            vars=parameters.vars,
        )
        for job in jobs
    ]
    return sorted(runs, key=lambda run: (run.start_time, run.id))[:_ACTIVE_MAX]


def ended_runs(snapshot: Snapshot, timeouts: Timeouts, now: datetime, by_users: tuple[EndedRun, ...] = ()) -> tuple[EndedRun, ...]:
    """Return the runs that have ended and are not yet in the history, ordered by completion time."""
    history = snapshot.refresh.status.history
    recorded = {run.id for run in history}
    # a Job may outlive its entry in a full history: a run older than the whole history has already been recorded
    oldest = history[-1].completion_time if len(history) == HISTORY_LENGTH else None
    ended = [
        *by_users,
        *_finished(snapshot),
        *_not_started(snapshot, timeouts.start, now),
        *_without_heartbeat(snapshot, timeouts.heartbeat, now),
        *_deleted(snapshot, now),
    ]
    first = {each.run.id: each for each in reversed(ended)}.values()
    new = [each for each in first if each.run.id not in recorded and (oldest is None or each.run.completion_time > oldest)]
    return tuple(sorted(new, key=lambda each: (each.run.completion_time, each.run.id)))


def _finished(snapshot: Snapshot) -> list[EndedRun]:
    return [_entry(snapshot, job, job.end.last_transition_time) for job in snapshot.jobs if job.end and job.end.last_transition_time]


def _entry(snapshot: Snapshot, job: Job, end: datetime) -> EndedRun:
    pods = snapshot.pods_of(job.metadata.name)
    result = replace(reported_result(snapshot, job) or inferred_result(job, pods), image=image_of(pods))
    return EndedRun(_finished_run(snapshot, job, result, end), result.notified, left=result.left)


def _finished_run(snapshot: Snapshot, job: Job, result: RunResult, end: datetime) -> FinishedRun:
    # both times come from the control plane: the clocks of nodes may differ
    start = job.status.start_time or job.metadata.creation_timestamp
    return FinishedRun(
        id=job.metadata.name,
        trigger=trigger_of(job),
        generation=generation_of(job),
        outcome=result.outcome,
        reason=result.reason,
        message=clip(result.message) or None,
        marts=result.marts,
        attempts=result.attempts,
        start_time=start,
        completion_time=end,
        duration=duration_text(end - start),
        mode=(parameters := _parameters(job)).mode,
        vars=parameters.vars,
        image=result.image,
        revision=revision_of(snapshot, job.metadata.name),
    )


def cancelled_run(snapshot: Snapshot, job: Job, now: datetime) -> EndedRun:
    """Return a run that its users cancelled. No notification is sent."""
    pods = snapshot.pods_of(job.metadata.name)
    result = RunResult(
        Outcome.FAILED,
        Reason.CANCELLED,
        "cancelled by the annotation cancel",
        attempts=max(1, len(pods)),
        notified=True,
        image=image_of(pods),
    )
    return EndedRun(_finished_run(snapshot, job, result, now), notified=True, delete_job=True)


def _not_started(snapshot: Snapshot, start_timeout: timedelta, now: datetime) -> list[EndedRun]:
    """Return the runs whose pod did not start in time."""
    failed = []
    for job in snapshot.jobs:
        pods = snapshot.pods_of(job.metadata.name)
        since = snapshot.pending_since(job.metadata.name, job.metadata.creation_timestamp)
        problem = start_problem(pods)
        if not job.is_active or problem is None or now < since + start_timeout:
            continue
        reason, message = problem
        text = f"pod did not start within {duration_text(start_timeout)}: {message}".rstrip(": ")
        result = RunResult(Outcome.FAILED, reason, text, attempts=max(1, len(pods)))
        failed.append(EndedRun(_finished_run(snapshot, job, result, now), notified=False, delete_job=True))
    return failed


def expects_heartbeat(snapshot: Snapshot, run: str) -> bool:
    """Return whether a runner should report heartbeats: it has reported before, and its pod is Running."""
    report, pods = snapshot.refresh.run, snapshot.pods_of(run)
    if report is None or not pods or pods[-1].status.phase != "Running" or pods[-1].metadata.deletion_timestamp:
        return False
    return (report.id, report.pod, report.phase) == (run, pods[-1].metadata.name, RunPhase.RUNNING)


def timeouts_due(
    snapshot: Snapshot, active: list[ActiveRun], timeouts: Timeouts, start_grace: timedelta, now: datetime
) -> Iterator[timedelta]:
    """Yield the times from now until an active run may exceed a timeout, or its pod counts as late."""
    for run in active:
        since = snapshot.pending_since(run.id, run.start_time) - now
        yield since + start_grace
        yield since + timeouts.start
        if expects_heartbeat(snapshot, run.id):
            yield timeouts.heartbeat - snapshot.heartbeat_age


def _without_heartbeat(snapshot: Snapshot, longest: timedelta, now: datetime) -> list[EndedRun]:
    """Return the runs whose runner stopped reporting heartbeats while its pod is Running."""
    lost = []
    for job in snapshot.jobs:
        if not job.is_active or snapshot.heartbeat_age < longest or not expects_heartbeat(snapshot, job.metadata.name):
            continue
        pods = snapshot.pods_of(job.metadata.name)
        step = f" in step {snapshot.refresh.run.step}" if snapshot.refresh.run and snapshot.refresh.run.step else ""
        text = f"no heartbeat from pod {pods[-1].metadata.name} for {duration_text(snapshot.heartbeat_age)}{step}; Job deleted"
        result = RunResult(Outcome.FAILED, Reason.RUNNER_LOST, text, attempts=max(1, len(pods)), image=image_of(pods))
        lost.append(EndedRun(_finished_run(snapshot, job, result, now), notified=False, delete_job=True))
    return lost


def _deleted(snapshot: Snapshot, now: datetime) -> list[EndedRun]:
    """Return the runs that were active at the last reconciliation, but whose Job no longer exists."""
    there = {job.metadata.name for job in snapshot.jobs}
    return [each for run in snapshot.refresh.status.active if run.id not in there and (each := _deleted_run(snapshot, run, now))]


def _deleted_run(snapshot: Snapshot, run: ActiveRun, now: datetime) -> EndedRun | None:
    """Return a run whose Job no longer exists: with its report, or else as deleted.

    Return None if its Job may have finished unobserved, and then been removed by the CronJob's history limit.
    """
    seen = snapshot.refresh.run
    result = result_from_status(seen) if seen and seen.id == run.id else None
    end = seen.completion_time if seen and result and seen.completion_time else now
    if result is None:
        newer = [job.end.type for job in snapshot.jobs if job.end and job.metadata.creation_timestamp > run.start_time]
        if max(newer.count("Complete"), newer.count("Failed")) >= HISTORY_LIMIT:
            return None
        result = RunResult(Outcome.FAILED, Reason.JOB_DELETED, f"Job {run.id} was deleted while running")
    finished = FinishedRun(
        id=run.id,
        trigger=run.trigger,
        generation=run.generation,
        outcome=result.outcome,
        reason=result.reason,
        message=result.message or None,
        marts=result.marts,
        attempts=result.attempts,
        start_time=run.start_time,
        completion_time=end,
        duration=duration_text(end - run.start_time),
        mode=run.mode,
        vars=run.vars,
        revision=revision_of(snapshot, run.id),
    )
    return EndedRun(finished, result.notified, left=result.left)


def _parameters(job: Job) -> RunParameters:
    """Return the parameters of a Job, cut to the length that the status allows."""
    parameters = parameters_of(job.metadata.annotations)
    return replace(parameters, vars=clip(parameters.vars, RUN_VARS_LENGTH)) if parameters.vars else parameters


def generation_of(job: Job) -> int | None:
    text = job.metadata.annotations.get(GENERATION_ANNOTATION, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None
