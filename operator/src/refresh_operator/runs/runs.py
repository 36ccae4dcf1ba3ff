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
from refresh_operator.runs.outcome import Conclusion, concluded, image_of, reported, start_problem, told_by
from refresh_operator.specs.desired import HISTORY_LIMIT
from refresh_operator.state.snapshot import Asked, Job, Pod, World, asked_by

_BY_KUBECTL: Final = "cronjob.kubernetes.io/instantiate"
_ACTIVE_MAX: Final = 20
_DIGITS: Final = 18
"""Of a generation, at most."""


@dataclass(frozen=True)
class Ended:
    """A run that ended since it was last looked."""

    run: FinishedRun
    told: bool
    """Whether the runner reported, and so told people itself where it should."""
    to_delete: bool = False
    """Whether its Job still waits for a pod and is given up."""


@dataclass(frozen=True)
class Patience:
    """How long a run is waited for."""

    start: timedelta
    """For its pod to start."""
    silence: timedelta
    """For the next sign of life of a runner whose pod claims to run."""


def trigger_of(job: Job) -> Trigger:
    """Return what started a Job."""
    if TOKEN_ANNOTATION in job.metadata.annotations:
        return Trigger.REQUESTED
    return Trigger.MANUAL if _BY_KUBECTL in job.metadata.annotations else Trigger.SCHEDULED


def active_runs(world: World, ended: tuple[Ended, ...]) -> list[ActiveRun]:
    """Return the runs whose Job has not ended and was not given up, oldest first."""
    over = {each.run.id for each in ended} | {run.id for run in world.refresh.share.history}
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


def ended_runs(world: World, patience: Patience, now: datetime, by_users: tuple[Ended, ...] = ()) -> tuple[Ended, ...]:
    """Return the runs that ended and are not in the history yet, in the order of their ends."""
    history = world.refresh.share.history
    known = {run.id for run in history}
    # Jobs outlive their entry in a full history: what is older than all of it was there before
    horizon = history[-1].completion_time if len(history) == HISTORY_LENGTH else None
    ended = [
        *by_users,
        *_finished(world),
        *_given_up(world, patience.start, now),
        *_silent(world, patience.silence, now),
        *_vanished(world, now),
    ]
    first = {each.run.id: each for each in reversed(ended)}.values()
    new = [each for each in first if each.run.id not in known and (horizon is None or each.run.completion_time > horizon)]
    return tuple(sorted(new, key=lambda each: (each.run.completion_time, each.run.id)))


def _finished(world: World) -> list[Ended]:
    return [_entry(world, job, job.end.last_transition_time) for job in world.jobs if job.end and job.end.last_transition_time]


def _entry(world: World, job: Job, end: datetime) -> Ended:
    pods = world.pods_of(job.metadata.name)
    conclusion = replace(reported(world, job) or concluded(job, pods), image=image_of(pods))
    return Ended(_finished_run(job, conclusion, end), conclusion.told)


def _finished_run(job: Job, conclusion: Conclusion, end: datetime) -> FinishedRun:
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


def cancelled(job: Job, pods: list[Pod], now: datetime) -> Ended:
    """Return the end of a run that its users wanted to end: nobody has to be told of it."""
    conclusion = Conclusion(
        Outcome.FAILED, Reason.CANCELLED, "ended by the annotation cancel", attempts=max(1, len(pods)), told=True, image=image_of(pods)
    )
    return Ended(_finished_run(job, conclusion, now), told=True, to_delete=True)


def _given_up(world: World, start_timeout: timedelta, now: datetime) -> list[Ended]:
    """Jobs whose pod did not start in time."""
    given_up = []
    for job in world.jobs:
        pods = world.pods_of(job.metadata.name)
        since = world.waiting_since(job.metadata.name, job.metadata.creation_timestamp)
        problem = start_problem(pods)
        if job.end or job.metadata.deletion_timestamp or problem is None or now < since + start_timeout:
            continue
        reason, message = problem
        text = f"the run's pod did not start within {duration_text(start_timeout)}: {message}".rstrip(": ")
        conclusion = Conclusion(Outcome.FAILED, reason, text, attempts=max(1, len(pods)))
        given_up.append(Ended(_finished_run(job, conclusion, now), told=False, to_delete=True))
    return given_up


def is_watched(world: World, run: str) -> bool:
    """Return whether a runner should be showing signs of life: it reported from a pod that claims to run."""
    told, pods = world.refresh.run, world.pods_of(run)
    running = bool(pods) and pods[-1].status.phase == "Running" and not pods[-1].metadata.deletion_timestamp
    return running and told is not None and (told.id, told.pod, told.phase) == (run, pods[-1].metadata.name, RunPhase.RUNNING)


def _silent(world: World, longest: timedelta, now: datetime) -> list[Ended]:
    """Runs whose runner shows no sign of life any more, while its pod claims to run."""
    silent = []
    for job in world.jobs:
        if job.end or job.metadata.deletion_timestamp or world.silence < longest or not is_watched(world, job.metadata.name):
            continue
        pods = world.pods_of(job.metadata.name)
        step = f" in step {world.refresh.run.step}" if world.refresh.run and world.refresh.run.step else ""
        text = f"no sign of life from pod {pods[-1].metadata.name} for {duration_text(world.silence)}{step}; it was ended"
        conclusion = Conclusion(Outcome.FAILED, Reason.RUNNER_LOST, text, attempts=max(1, len(pods)), image=image_of(pods))
        silent.append(Ended(_finished_run(job, conclusion, now), told=False, to_delete=True))
    return silent


def _vanished(world: World, now: datetime) -> list[Ended]:
    """Runs that were under way when last looked, and whose Job is gone."""
    there = {job.metadata.name for job in world.jobs}
    return [each for run in world.refresh.share.active if run.id not in there and (each := _gone(world, run, now))]


def _gone(world: World, run: ActiveRun, now: datetime) -> Ended | None:
    """A run without its Job: what it reported; else deleted by hand, unless its Job ended unseen and was cleared away since."""
    seen = world.refresh.run
    conclusion = told_by(seen) if seen and seen.id == run.id else None
    end = seen.completion_time if seen and conclusion and seen.completion_time else now
    if conclusion is None:
        newer = [job.end.type for job in world.jobs if job.end and job.metadata.creation_timestamp > run.start_time]
        if max(newer.count("Complete"), newer.count("Failed")) >= HISTORY_LIMIT:
            return None
        conclusion = Conclusion(Outcome.FAILED, Reason.JOB_DELETED, f"the Job {run.id} was deleted while it ran")
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
    return Ended(finished, conclusion.told)


def _asked(job: Job) -> Asked:
    """What the Job was asked to do, in the room that a status has for it, whoever wrote it there."""
    asked = asked_by(job.metadata.annotations)
    return replace(asked, vars=clip(asked.vars, RUN_VARS_LENGTH)) if asked.vars else asked


def _generation(job: Job) -> int | None:
    text = job.metadata.annotations.get(GENERATION_ANNOTATION, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None
