"""What users ask for by annotation: a run now, or the end of one; pure.

The latest request counts: one that was replaced before its run started never runs. Each is answered once, in the status.
"""

from dataclasses import dataclass
from datetime import datetime

from refresh_api.names import REQUESTED_AT, TOKEN_ANNOTATION, TOKEN_LENGTH
from refresh_api.objects import Json
from refresh_api.run_request import RunMode, run_vars
from refresh_api.spec import RefreshSpec
from refresh_api.status import ActiveRun, clip
from refresh_operator.names import requested_job_name
from refresh_operator.runs.runs import EndedRun, cancelled_run
from refresh_operator.settings import Settings
from refresh_operator.specs.job import requested_job
from refresh_operator.state.kube_types import Job, metadata_of
from refresh_operator.state.problem import Problem
from refresh_operator.state.refresh import InvalidSpec, RunParameters
from refresh_operator.state.snapshot import Snapshot


@dataclass(frozen=True)
class RequestDecision:
    """What follows from the latest request."""

    handled: str | None
    """The last request that is answered by now."""
    error: str | None = None
    """Why that started no run."""
    job: Json | None = None
    """The Job to create."""


@dataclass(frozen=True)
class Cancellation:
    """What follows from the annotation that ends a run."""

    handled: str | None
    ended: tuple[EndedRun, ...] = ()
    withdrawn: str | None = None
    """The request that is taken back before its run started."""


def handle_request(
    world: Snapshot, settings: Settings, problem: Problem | None, active: list[ActiveRun], withdrawn: str | None
) -> RequestDecision:
    """Return the Job to create for a request, and the last request that is answered by then."""
    refresh = world.refresh
    before, token = refresh.status.last_handled_request_at, refresh.pending_request
    if token is None:
        return RequestDecision(before, refresh.status.request_problem)
    length = len(refresh.metadata.annotations.get(REQUESTED_AT, ""))
    if length > TOKEN_LENGTH:
        return RequestDecision(
            token, f"its annotation requestedAt is {length} characters long: write at most {TOKEN_LENGTH}, like a date and time"
        )
    name = requested_job_name(refresh.metadata.name, refresh.metadata.uid, token)
    if any(job.metadata.name == name for job in world.jobs) or any(run.id == name for run in refresh.status.history):
        return RequestDecision(token)
    if withdrawn == token:
        return RequestDecision(token, "it was taken back by the annotation cancel")
    cronjob = world.objects.get("CronJob")
    if isinstance(refresh.spec, InvalidSpec) or problem or cronjob is None:
        return RequestDecision(before, refresh.status.request_problem)
    wrong = _wrong(refresh.parameters, refresh.spec) or refresh.run_request(refresh.spec, refresh.parameters).excess
    if wrong:
        return RequestDecision(token, clip(wrong))
    if active or world.pause:
        return RequestDecision(before, refresh.status.request_problem)
    # acknowledged at the next look, which finds the Job: should this one be interrupted, the same Job is made again
    job = requested_job(refresh, refresh.spec, settings, metadata_of(cronjob), token)
    return RequestDecision(before, refresh.status.request_problem, job)


def handle_cancel(world: Snapshot, now: datetime) -> Cancellation:
    """Return the runs that users ended, by id or by request, and the request that they took back."""
    refresh = world.refresh
    wanted = refresh.pending_cancel
    if wanted is None:
        return Cancellation(refresh.status.last_handled_cancel)
    known = {run.id for run in refresh.status.history}
    jobs = [job for job in world.jobs if not job.end and job.metadata.name not in known and _is_meant(job, wanted)]
    name = requested_job_name(refresh.metadata.name, refresh.metadata.uid, wanted)
    started = any(job.metadata.name == name for job in world.jobs)
    return Cancellation(
        wanted, tuple(cancelled_run(job, world.pods_of(job.metadata.name), now) for job in jobs), None if started else wanted
    )


def _is_meant(job: Job, wanted: str) -> bool:
    return wanted in (job.metadata.name, job.metadata.annotations.get(TOKEN_ANNOTATION))


def _wrong(asked: RunParameters, spec: RefreshSpec) -> str | None:
    """What is wrong with the annotations runMode and runVars, in words."""
    try:
        if asked.mode:
            RunMode.parse(asked.mode).check(spec.step_names)
        if asked.vars:
            run_vars(asked.vars)
    except ValueError as error:
        return str(error)
    return None
