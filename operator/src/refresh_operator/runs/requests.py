"""Requests made by annotations, to start a run or to cancel one; pure.

Only the latest request counts: a request that is replaced before its run starts never runs. Each request is handled once, as recorded in
the status.
"""

from dataclasses import dataclass
from datetime import datetime

from refresh_api.names import REQUEST_ANNOTATION, REQUESTED_AT, TOKEN_LENGTH
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
    """How the latest request is handled."""

    handled: str | None
    """The last request that has been handled."""
    error: str | None = None
    """Why that request started no run."""
    job: Json | None = None
    """The Job to create, if any."""


@dataclass(frozen=True)
class Cancellation:
    """How the annotation cancel is handled."""

    handled: str | None
    ended: tuple[EndedRun, ...] = ()
    withdrawn: str | None = None
    """The request that was withdrawn before its run started."""


def handle_request(
    snapshot: Snapshot, settings: Settings, problem: Problem | None, active: list[ActiveRun], withdrawn: str | None
) -> RequestDecision:
    """Return the Job to create for the pending request, or why it starts no run. An active run or a pause keeps the request queued."""
    refresh = snapshot.refresh
    before, token = refresh.status.last_handled_request_at, refresh.pending_request
    if token is None:
        return RequestDecision(before, refresh.status.request_error)
    length = len(refresh.metadata.annotations.get(REQUESTED_AT, ""))
    if length > TOKEN_LENGTH:
        return RequestDecision(token, f"annotation requestedAt has {length} characters: at most {TOKEN_LENGTH} are allowed")
    name = requested_job_name(refresh.metadata.name, refresh.metadata.uid, token)
    if any(job.metadata.name == name for job in snapshot.jobs) or any(run.id == name for run in refresh.status.history):
        return RequestDecision(token)
    if withdrawn == token:
        return RequestDecision(token, "withdrawn by the annotation cancel")
    cronjob = snapshot.objects.get("CronJob")
    if isinstance(refresh.spec, InvalidSpec) or problem or cronjob is None:
        return RequestDecision(before, refresh.status.request_error)
    error = _parameter_error(refresh.parameters, refresh.spec) or refresh.run_request(refresh.spec, refresh.parameters).size_error
    if error:
        return RequestDecision(token, clip(error))
    if active or snapshot.pause:
        return RequestDecision(before, refresh.status.request_error)
    # recorded as handled once the Job is observed: after an interruption, the same Job is created again
    job = requested_job(refresh, refresh.spec, settings, metadata_of(cronjob), token)
    return RequestDecision(before, refresh.status.request_error, job)


def handle_cancel(snapshot: Snapshot, now: datetime) -> Cancellation:
    """Return the runs to cancel, by ID or by request, and the request to withdraw."""
    refresh = snapshot.refresh
    target = refresh.pending_cancel
    if target is None:
        return Cancellation(refresh.status.last_handled_cancel)
    recorded = {run.id for run in refresh.status.history}
    jobs = [job for job in snapshot.jobs if not job.end and job.metadata.name not in recorded and _matches(job, target)]
    name = requested_job_name(refresh.metadata.name, refresh.metadata.uid, target)
    started = any(job.metadata.name == name for job in snapshot.jobs)
    return Cancellation(target, tuple(cancelled_run(snapshot, job, now) for job in jobs), None if started else target)


def _matches(job: Job, wanted: str) -> bool:
    return wanted in (job.metadata.name, job.metadata.annotations.get(REQUEST_ANNOTATION))


def _parameter_error(parameters: RunParameters, spec: RefreshSpec) -> str | None:
    """Return the error in the annotations runMode and runVars, or None."""
    try:
        if parameters.mode:
            RunMode.parse(parameters.mode).check(spec.step_names)
        if parameters.vars:
            run_vars(parameters.vars)
    except ValueError as error:
        return str(error)
    return None
