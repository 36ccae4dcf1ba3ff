"""Checks for new commits of a refresh's project, and the run that a new one requests; pure.

A Job checks at an interval, since the operator has no credentials for repositories. What it has seen is in the termination message of its
pod, and then in the status.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Final

from refresh_api.model import time_text
from refresh_api.objects import Json
from refresh_api.project import OnProjectChange, SourceRef
from refresh_api.spec import RefreshSpec
from refresh_api.status import ActiveRun, FinishedRun, Outcome, ProjectCheck, ProjectSeen
from refresh_api.values import duration
from refresh_operator.names import check_job_name, requested_job_name
from refresh_operator.runs.outcome import termination_message
from refresh_operator.runs.runs import generation_of
from refresh_operator.settings import Settings
from refresh_operator.specs.check import check_job
from refresh_operator.specs.job import requested_job
from refresh_operator.state.kube_types import Job, job_names, metadata_of
from refresh_operator.state.refresh import InvalidSpec
from refresh_operator.state.snapshot import Snapshot, SourceSeen

_NO_REPORT: Final = "the check ended without a report"
_REPORT_TIME: Final = timedelta(seconds=15)
"""How long the report of a check that has ended may be missing: pods are watched apart from Jobs."""


@dataclass(frozen=True)
class ProjectDecision:
    """How new commits of the project are handled."""

    check: ProjectCheck | None = None
    """What the status says of them."""
    run: Json | None = None
    """The Job of the run that a new commit requests, if any."""
    requested: str | None = None
    """The name of that Job; also if it exists, but the status does not yet say that the commit is handled."""
    job: Json | None = None
    """The Job of the next check, if it is due."""
    delete: tuple[str, ...] = ()
    """Names of the Jobs of earlier checks."""
    next_due: datetime | None = None
    """When the next check is due."""


def handle_project(
    snapshot: Snapshot, settings: Settings, active: list[ActiveRun], finished: list[FinishedRun], now: datetime, *, is_held: bool
) -> ProjectDecision:
    """Return what to do about new commits of the project. `finished` runs are newest first.

    While it `is_held`, by a suspension, a problem or another request, nothing is checked and no run requested. An active run keeps the run
    of a new commit waiting; of several new commits, only the newest gets one.
    """
    spec, old = snapshot.refresh.spec, snapshot.refresh.status.project_check
    if isinstance(spec, InvalidSpec):
        return ProjectDecision(old)
    origin = settings.origin_of(spec.project)
    if spec.project is None or origin is None or spec.project.on_project_change is not OnProjectChange.RUN:
        return ProjectDecision(delete=job_names(snapshot.checks))
    interval = duration(spec.project.interval)
    if isinstance(origin, SourceRef):
        known = _of_source(snapshot, old, interval, now)
        known, run, requested = _handled(snapshot, spec, settings, known, active, finished, is_held=is_held)
        return ProjectDecision(known, run, requested, delete=job_names(snapshot.checks), next_due=now + interval)
    active_check = next((job for job in snapshot.checks if _is_active(snapshot, job, now)), None)
    check, delete = _merged(snapshot, old or ProjectCheck(), active_check)
    check, run, requested = _handled(snapshot, spec, settings, check, active, finished, is_held=is_held)
    generation = snapshot.refresh.metadata.generation
    is_current = check.last_check_time is not None and check.observed_generation == generation
    due = check.last_check_time + interval if is_current and check.last_check_time else now
    if active_check:
        due = max(due, now + _REPORT_TIME)
    if run or is_held or due > now:
        return ProjectDecision(check, run, requested, delete=delete, next_due=None if is_held else due)
    slot = f"{generation}/{time_text(check.last_check_time) if check.last_check_time else ''}"
    name = check_job_name(snapshot.refresh.metadata.name, snapshot.refresh.metadata.uid, slot)
    return ProjectDecision(check, requested=requested, job=check_job(snapshot.refresh, spec, origin, settings, name), delete=delete)


def _of_source(snapshot: Snapshot, old: ProjectCheck | None, interval: timedelta, now: datetime) -> ProjectCheck:
    """Return what is known of a source of Flux. Unless that has changed, the time is written once per interval."""
    seen, known = snapshot.source or SourceSeen(), old or ProjectCheck()
    changes = {
        "observed_generation": snapshot.refresh.metadata.generation,
        "revision": seen.revision or known.revision,
        "error": seen.error,
    }
    new = known.model_copy(update=changes)
    if new == known and known.last_check_time and now < known.last_check_time + interval:
        return known
    return new.model_copy(update={"last_check_time": now})


def _is_active(snapshot: Snapshot, job: Job, now: datetime) -> bool:
    """Return whether a check has not ended, or its report may still follow."""
    end = _end(job)
    return end is None or (_report(snapshot, job) is None and now < end + _REPORT_TIME)


def _merged(snapshot: Snapshot, old: ProjectCheck, active: Job | None) -> tuple[ProjectCheck, tuple[str, ...]]:
    """Return what is known with the result of the newest check that has ended, and the Jobs of the others, which are not needed."""
    ended = sorted(
        ((end, job.metadata.name, job) for job in snapshot.checks if job != active and (end := _end(job))),
        reverse=True,
        key=itemgetter(0, 1),
    )
    delete = job_names(job for _, _, job in ended[1:] if not job.metadata.deletion_timestamp)
    if not ended or (old.last_check_time and ended[0][0] <= old.last_check_time):
        return old, delete
    end, _, newest = ended[0]
    seen = _seen(snapshot, newest)
    changes = {
        "observed_generation": generation_of(newest) or -1,
        "last_check_time": end,
        "revision": seen.revision or old.revision,
        "error": seen.error,
    }
    return old.model_copy(update=changes), delete


def _seen(snapshot: Snapshot, job: Job) -> ProjectSeen:
    why = job.end.message if job.end else ""
    hint = f"see: kubectl logs -n {snapshot.refresh.ref.namespace} job/{job.metadata.name}"
    return _report(snapshot, job) or ProjectSeen(error=f"{_NO_REPORT}{f': {why}' if why else ''}; {hint}")


def _report(snapshot: Snapshot, job: Job) -> ProjectSeen | None:
    words = (termination_message(pod, ProjectSeen) for pod in snapshot.pods_of(job.metadata.name))
    return next((each for each in words if each and (each.revision or each.error)), None)


def _handled(
    snapshot: Snapshot,
    spec: RefreshSpec,
    settings: Settings,
    check: ProjectCheck,
    active: list[ActiveRun],
    finished: list[FinishedRun],
    *,
    is_held: bool,
) -> tuple[ProjectCheck, Json | None, str | None]:
    """Return the check with the revision marked as handled, if it is, and the run that it requests, if any: its Job and its name."""
    refresh, revision = snapshot.refresh, check.revision
    is_outdated = check.observed_generation != refresh.metadata.generation
    if revision is None or check.last_check_time is None or is_outdated or commit_of(revision) == commit_of(check.handled_revision):
        return check, None, None
    handled = check.model_copy(update={"handled_revision": revision})
    # the same after an interruption
    made = snapshot.source.made if snapshot.source else time_text(check.last_check_time)
    token = f"{revision} {made}"
    name = requested_job_name(refresh.metadata.name, refresh.metadata.uid, token)
    last = next((run for run in finished if run.outcome is not Outcome.SKIPPED and not run.is_partial), None)
    is_taken = last is not None and commit_of(last.revision) == commit_of(revision)
    if any(job.metadata.name == name for job in snapshot.jobs):
        # the operator was interrupted between the creation of the Job and the status
        return handled, None, name
    if is_taken:
        return handled, None, None
    cronjob = snapshot.objects.get("CronJob")
    if is_held or active or cronjob is None:
        return check, None, None
    return handled, requested_job(refresh, spec, settings, metadata_of(cronjob), token, revision), name


def commit_of(revision: str | None) -> str | None:
    """Return the commit of a revision: a new tag of the same commit is no new commit."""
    return revision.rpartition(":")[2] if revision else None


def _end(job: Job) -> datetime | None:
    return job.end.last_transition_time if job.end else None
