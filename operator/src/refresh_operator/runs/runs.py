"""The runs of a refresh: which are under way, which have ended since it was last looked, and how those ended; pure.

What a run's own report says goes before everything else: `status.run`, or else the last words in its pod's termination message.
Runs that ended without one are concluded from what Kubernetes knows of the pod and the Job.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from refresh_api.names import GENERATION_ANNOTATION, RUN_VARS_LENGTH, TOKEN_ANNOTATION
from refresh_api.status import HISTORY_LENGTH, ActiveRun, FinishedRun, Outcome, Reason, RunPhase, Trigger, clip
from refresh_api.values import duration_text
from refresh_operator.runs.outcome import RunResult, image_of, inferred_result, reported_result, result_from_status, start_problem
from refresh_operator.specs.cronjob import HISTORY_LIMIT
from refresh_operator.state.kube_types import Job, Pod
from refresh_operator.state.refresh import RunParameters, parameters_of
from refresh_operator.state.snapshot import Snapshot

_BY_KUBECTL: Final = "cronjob.kubernetes.io/instantiate"
_ACTIVE_MAX: Final = 20
_DIGITS: Final = 18
"""Of a generation, at most."""


@dataclass(frozen=True)
class EndedRun:
    """A run that ended since it was last looked."""

    run: FinishedRun
    notified: bool
    """Whether the runner reported, and so told people itself where it should."""
    delete_job: bool = False
    """Whether its Job still waits for a pod and is given up."""


@dataclass(frozen=True)
class Timeouts:
    """How long a run is waited for."""

    start: timedelta
    """For its pod to start."""
    heartbeat: timedelta
    """For the next sign of life of a runner whose pod claims to run."""


def trigger_of(job: Job) -> Trigger:
    """Return what started a Job."""
    if TOKEN_ANNOTATION in job.metadata.annotations:
        return Trigger.REQUESTED
    return Trigger.MANUAL if _BY_KUBECTL in job.metadata.annotations else Trigger.SCHEDULED


def active_runs(world: Snapshot, ended: tuple[EndedRun, ...]) -> list[ActiveRun]:
    """Return the runs whose Job has not ended and was not given up, oldest first."""
    over = {each.run.id for each in ended} | {run.id for run in world.refresh.status.history}
    jobs = [job for job in world.jobs if not job.end and job.metadata.name not in over]
    runs = [
        ActiveRun(
            id=job.metadata.name,
            trigger=trigger_of(job),
            generation=_generation(job),
            start_time=job.metadata.creation_timestamp,
            mode=(asked := _asked(job)).mode,
            vars=asked.vars,
        )
        for job in jobs
    ]
    return sorted(runs, key=lambda run: (run.start_time, run.id))[:_ACTIVE_MAX]


def ended_runs(world: Snapshot, patience: Timeouts, now: datetime, by_users: tuple[EndedRun, ...] = ()) -> tuple[EndedRun, ...]:
    """Return the runs that ended and are not in the history yet, in the order of their ends."""
    history = world.refresh.status.history
    known = {run.id for run in history}
    # Jobs outlive their entry in a full history: what is older than all of it was there before
    horizon = history[-1].completion_time if len(history) == HISTORY_LENGTH else None
    ended = [
        *by_users,
        *_finished(world),
        *_given_up(world, patience.start, now),
        *_silent(world, patience.heartbeat, now),
        *_vanished(world, now),
    ]
    first = {each.run.id: each for each in reversed(ended)}.values()
    new = [each for each in first if each.run.id not in known and (horizon is None or each.run.completion_time > horizon)]
    return tuple(sorted(new, key=lambda each: (each.run.completion_time, each.run.id)))


def _finished(world: Snapshot) -> list[EndedRun]:
    return [_entry(world, job, job.end.last_transition_time) for job in world.jobs if job.end and job.end.last_transition_time]


def _entry(world: Snapshot, job: Job, end: datetime) -> EndedRun:
    pods = world.pods_of(job.metadata.name)
    conclusion = replace(reported_result(world, job) or inferred_result(job, pods), image=image_of(pods))
    return EndedRun(_finished_run(job, conclusion, end), conclusion.notified)


def _finished_run(job: Job, conclusion: RunResult, end: datetime) -> FinishedRun:
    # Both times are the API server's: the nodes' clocks may differ from it, and from each other
    start = job.status.start_time or job.metadata.creation_timestamp
    return FinishedRun(
        id=job.metadata.name,
        trigger=trigger_of(job),
        generation=_generation(job),
        outcome=conclusion.outcome,
        reason=conclusion.reason,
        message=clip(conclusion.message) or None,
        marts=conclusion.marts,
        attempts=conclusion.attempts,
        start_time=start,
        completion_time=end,
        duration=duration_text(end - start),
        mode=(asked := _asked(job)).mode,
        vars=asked.vars,
        image=conclusion.image,
    )


def cancelled_run(job: Job, pods: list[Pod], now: datetime) -> EndedRun:
    """Return the end of a run that its users wanted to end: nobody has to be told of it."""
    conclusion = RunResult(
        Outcome.FAILED, Reason.CANCELLED, "ended by the annotation cancel", attempts=max(1, len(pods)), notified=True, image=image_of(pods)
    )
    return EndedRun(_finished_run(job, conclusion, now), notified=True, delete_job=True)


def _given_up(world: Snapshot, start_timeout: timedelta, now: datetime) -> list[EndedRun]:
    """Jobs whose pod did not start in time."""
    given_up = []
    for job in world.jobs:
        pods = world.pods_of(job.metadata.name)
        since = world.pending_since(job.metadata.name, job.metadata.creation_timestamp)
        problem = start_problem(pods)
        if job.end or job.metadata.deletion_timestamp or problem is None or now < since + start_timeout:
            continue
        reason, message = problem
        text = f"the run's pod did not start within {duration_text(start_timeout)}: {message}".rstrip(": ")
        conclusion = RunResult(Outcome.FAILED, reason, text, attempts=max(1, len(pods)))
        given_up.append(EndedRun(_finished_run(job, conclusion, now), notified=False, delete_job=True))
    return given_up


def expects_heartbeat(world: Snapshot, run: str) -> bool:
    """Return whether a runner should be showing signs of life: it reported from a pod that claims to run."""
    told, pods = world.refresh.run, world.pods_of(run)
    running = bool(pods) and pods[-1].status.phase == "Running" and not pods[-1].metadata.deletion_timestamp
    return running and told is not None and (told.id, told.pod, told.phase) == (run, pods[-1].metadata.name, RunPhase.RUNNING)


def _silent(world: Snapshot, longest: timedelta, now: datetime) -> list[EndedRun]:
    """Runs whose runner shows no sign of life any more, while its pod claims to run."""
    silent = []
    for job in world.jobs:
        if job.end or job.metadata.deletion_timestamp or world.heartbeat_age < longest or not expects_heartbeat(world, job.metadata.name):
            continue
        pods = world.pods_of(job.metadata.name)
        step = f" in step {world.refresh.run.step}" if world.refresh.run and world.refresh.run.step else ""
        text = f"no sign of life from pod {pods[-1].metadata.name} for {duration_text(world.heartbeat_age)}{step}; it was ended"
        conclusion = RunResult(Outcome.FAILED, Reason.RUNNER_LOST, text, attempts=max(1, len(pods)), image=image_of(pods))
        silent.append(EndedRun(_finished_run(job, conclusion, now), notified=False, delete_job=True))
    return silent


def _vanished(world: Snapshot, now: datetime) -> list[EndedRun]:
    """Runs that were under way when last looked, and whose Job is gone."""
    there = {job.metadata.name for job in world.jobs}
    return [each for run in world.refresh.status.active if run.id not in there and (each := _gone(world, run, now))]


def _gone(world: Snapshot, run: ActiveRun, now: datetime) -> EndedRun | None:
    """A run without its Job: what it reported; else deleted by hand, unless its Job ended unseen and was cleared away since."""
    seen = world.refresh.run
    conclusion = result_from_status(seen) if seen and seen.id == run.id else None
    end = seen.completion_time if seen and conclusion and seen.completion_time else now
    if conclusion is None:
        newer = [job.end.type for job in world.jobs if job.end and job.metadata.creation_timestamp > run.start_time]
        if max(newer.count("Complete"), newer.count("Failed")) >= HISTORY_LIMIT:
            return None
        conclusion = RunResult(Outcome.FAILED, Reason.JOB_DELETED, f"the Job {run.id} was deleted while it ran")
    finished = FinishedRun(
        id=run.id,
        trigger=run.trigger,
        generation=run.generation,
        outcome=conclusion.outcome,
        reason=conclusion.reason,
        message=conclusion.message or None,
        marts=conclusion.marts,
        attempts=conclusion.attempts,
        start_time=run.start_time,
        completion_time=end,
        duration=duration_text(end - run.start_time),
        mode=run.mode,
        vars=run.vars,
    )
    return EndedRun(finished, conclusion.notified)


def _asked(job: Job) -> RunParameters:
    """What the Job was asked to do, in the room that a status has for it, whoever wrote it there."""
    asked = parameters_of(job.metadata.annotations)
    return replace(asked, vars=clip(asked.vars, RUN_VARS_LENGTH)) if asked.vars else asked


def _generation(job: Job) -> int | None:
    text = job.metadata.annotations.get(GENERATION_ANNOTATION, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None
