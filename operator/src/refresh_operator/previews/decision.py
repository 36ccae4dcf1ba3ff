"""What to do about one preview, decided from one snapshot; pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from refresh_api.objects import Json
from refresh_api.preview import DEFAULT_TTL, PreviewReason, PreviewSpec, PreviewState, PreviewStatus
from refresh_api.preview_settings import PreviewSettings
from refresh_api.project import GitRef
from refresh_api.spec import RefreshSpec
from refresh_api.status import Condition, ConditionStatus, Reason, clip
from refresh_api.values import duration
from refresh_operator.previews.events import events_of, events_of_end
from refresh_operator.previews.model import Preview, PreviewSnapshot
from refresh_operator.previews.objects import BASE_ANNOTATION, job, permissions, run_request
from refresh_operator.previews.outcome import end_of, late_start
from refresh_operator.settings import Settings
from refresh_operator.state.kube_types import Job
from refresh_operator.state.refresh import Refresh
from refresh_operator.status.events import Event

_MAX_REQUEUE: Final = timedelta(hours=1)
"""Maximum time between two reconciliations, even if nothing is due. Watches and the resync report every change."""
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True)
class PreviewDecision:
    """What to do, in the order in which it is done."""

    create: tuple[Json, ...] = ()
    """The permissions and the Job, if the preview starts."""
    status: PreviewStatus | None = None
    """The operator's part of the status to write; None if it stays."""
    delete_job: bool = False
    delete: bool = False
    """Whether to delete the preview, since its time is over."""
    events: tuple[Event, ...] = ()
    wakes: bool = False
    """Whether previews that wait may start, since this one has ended."""
    requeue_after: timedelta = _MAX_REQUEUE


def decide(snapshot: PreviewSnapshot, settings: Settings, now: datetime) -> PreviewDecision:
    """Return what to do about a preview."""
    preview = snapshot.preview
    if preview.metadata.deletion_timestamp:
        return PreviewDecision(wakes=True)
    if preview.status.has_ended:
        return _after_the_end(snapshot, now)
    decision = _before_the_end(snapshot, settings, now)
    return replace(decision, events=events_of(preview, decision.status, now)) if decision.status else decision


def _before_the_end(snapshot: PreviewSnapshot, settings: Settings, now: datetime) -> PreviewDecision:
    preview = snapshot.preview
    if snapshot.job:
        return _while_running(snapshot, snapshot.job, now)
    if preview.status.job:
        return _failed(preview, Reason.JOB_DELETED, f"Job {preview.status.job} was deleted", now)
    refused = _refusal(snapshot)
    if refused:
        return _failed(preview, *refused, now)
    return _start(snapshot, settings, now)


def _after_the_end(snapshot: PreviewSnapshot, now: datetime) -> PreviewDecision:
    preview, active = snapshot.preview, snapshot.job is not None and snapshot.job.is_active
    end = preview.status.completion_time or now
    lasts = timedelta(seconds=preview.spec.ttl_seconds_after_finished if preview.spec else DEFAULT_TTL)
    left = end + lasts - now
    events = events_of_end(preview.metadata.uid, preview.status, now)
    if left <= timedelta():
        return PreviewDecision(delete=True, events=events, wakes=True)
    # of a preview that failed, its Job may still be active; the pod of one that has reported ends by itself
    return PreviewDecision(
        delete_job=active and preview.status.state is PreviewState.FAILED,
        events=events,
        wakes=True,
        requeue_after=min(_MAX_REQUEUE, left + _SECOND),
    )


def _while_running(snapshot: PreviewSnapshot, of: Job, now: datetime) -> PreviewDecision:
    preview, refresh = snapshot.preview, snapshot.refresh
    running = _running(preview.status, of)
    if of.end:
        return _failed(replace(preview, status=running), *end_of(of, snapshot.pods), now)
    limit = duration(refresh.spec.start_timeout) if refresh and isinstance(refresh.spec, RefreshSpec) else timedelta(minutes=5)
    late = late_start(of, snapshot.pods, limit, now) if of.is_active else None
    if late:
        return replace(_failed(replace(preview, status=running), *late, now), delete_job=True)
    due = of.metadata.creation_timestamp + limit - now
    return PreviewDecision(
        status=running if running != preview.status else None, requeue_after=due + _SECOND if due > timedelta() else _MAX_REQUEUE
    )


def _running(status: PreviewStatus, of: Job) -> PreviewStatus:
    """Return the status of a preview with a Job; what its pod has reported stays."""
    started = {
        "state": PreviewState.RUNNING,
        "job": of.metadata.name,
        "start_time": of.metadata.creation_timestamp,
        "base_revision": of.metadata.annotations.get(BASE_ANNOTATION),
    }
    if status.state is not PreviewState.RUNNING:
        started["message"] = "fetching the two commits"
    return status.model_copy(update=started)


def _refusal(snapshot: PreviewSnapshot) -> tuple[str, str] | None:
    """Return the reason and the message for a preview that cannot start, and will not by waiting."""
    preview, refresh = snapshot.preview, snapshot.refresh
    if preview.spec is None:
        return PreviewReason.INVALID_PREVIEW, preview.problem
    if refresh is None or refresh.metadata.deletion_timestamp:
        return PreviewReason.REFRESH_NOT_FOUND, f"there is no DashboardRefresh {preview.spec.refresh} in this namespace"
    if not isinstance(refresh.spec, RefreshSpec):
        return PreviewReason.REFRESH_NOT_FOUND, f"the spec of DashboardRefresh {preview.spec.refresh} is invalid: {refresh.spec.message}"
    if refresh.spec.preview is None:
        return PreviewReason.NOT_ENABLED, f"DashboardRefresh {preview.spec.refresh} has no spec.preview, so it cannot be previewed"
    if snapshot.denied_code:
        return PreviewReason.CODE_NOT_ALLOWED, snapshot.denied_code.message
    shared = _shared_secret(refresh.spec, refresh.spec.preview)
    if shared or snapshot.denied_secrets:
        return PreviewReason.SECRET_NOT_ALLOWED, shared or "; ".join(snapshot.denied_secrets.values())
    if snapshot.missing_secrets:
        return PreviewReason.SECRET_NOT_FOUND, snapshot.missing_secrets[0]
    if refresh.status.live_revision is None:
        known = f"the revision that is live is not known: no run of {preview.spec.refresh} has published one since its last rollback"
        return PreviewReason.NOTHING_LIVE, f"{known}; run it, then create the preview again"
    return None


def _shared_secret(spec: RefreshSpec, preview: PreviewSettings) -> str:
    """Return why the Secret of a preview must not be used: a run uses it, too. The CRD cannot check that of notifications."""
    name = preview.warehouse.secret_ref.name
    if name not in spec.secret_keys:
        return ""
    return f"Secret {name} (spec.preview.warehouse.secretRef) is also used by runs, and a preview runs code that is not reviewed"


def _start(snapshot: PreviewSnapshot, settings: Settings, now: datetime) -> PreviewDecision:
    preview, refresh = snapshot.preview, snapshot.refresh
    if preview.spec is None or refresh is None or not isinstance(refresh.spec, RefreshSpec) or refresh.spec.preview is None:
        raise ValueError("a refused preview cannot start")
    if snapshot.pause:
        return _pending(preview, snapshot.pause.message, settings)
    if waits := _waits_for(snapshot, refresh.spec.preview):
        return _pending(preview, waits, settings)
    base = refresh.status.live_revision or ""
    try:
        created = _objects(preview, preview.spec, refresh, refresh.spec, base, settings)
    except ValueError as error:
        return _failed(preview, PreviewReason.INVALID_PREVIEW, str(error), now)
    return PreviewDecision(create=created)


def _objects(preview: Preview, wanted: PreviewSpec, refresh: Refresh, spec: RefreshSpec, base: str, settings: Settings) -> tuple[Json, ...]:
    """Return the objects to create; ValueError for invalid variables, or if they are too long together with the spec."""
    commit = base.rpartition(":")[2]
    change, live = (run_request(preview, wanted, refresh, spec, ref, settings) for ref in (wanted.ref, GitRef(commit=commit)))
    if error := change.size_error:
        raise ValueError(error)
    return (*permissions(preview, refresh), job(preview, refresh, change, live, base, settings))


def _waits_for(snapshot: PreviewSnapshot, settings: PreviewSettings) -> str:
    """Return what a preview waits for, or nothing if it may start: as many as may run at a time, in the order of their creation."""
    preview, limit = snapshot.preview, settings.max_concurrent
    running = [each for each in snapshot.others if each.status.state is PreviewState.RUNNING]
    before = [each for each in snapshot.others if each not in running and _order(each) < _order(preview)]
    if len(running) + len(before) < limit:
        return ""
    name = preview.spec.refresh if preview.spec else ""
    waiting = f", and {len(before)} created before this one wait" if before else ""
    return f"{len(running)} of {limit} previews of {name} are running{waiting}"


def _order(preview: Preview) -> tuple[datetime, str]:
    return preview.metadata.creation_timestamp, preview.metadata.name


def _pending(preview: Preview, message: str, settings: Settings) -> PreviewDecision:
    status = preview.status.model_copy(update={"state": PreviewState.PENDING, "message": clip(message)})
    return PreviewDecision(status=status if status != preview.status else None, requeue_after=settings.recheck)


def _failed(preview: Preview, reason: str, message: str, now: datetime) -> PreviewDecision:
    return PreviewDecision(status=failed_status(preview, reason, message, now), wakes=True)


def failed_status(preview: Preview, reason: str, message: str, now: datetime) -> PreviewStatus:
    """Return the status of a preview that has failed."""
    condition = Condition(
        type="Failed",
        status=ConditionStatus.TRUE,
        reason=reason,
        message=clip(message),
        last_transition_time=now,
        observed_generation=preview.metadata.generation,
    )
    changes = {"state": PreviewState.FAILED, "message": clip(message), "completion_time": now, "conditions": [condition]}
    return preview.status.model_copy(update=changes)
