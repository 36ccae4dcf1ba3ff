"""What to change, from what was seen: the operator's judgement in one place; pure."""

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timedelta

from refresh_api.objects import Json
from refresh_api.reasons import ReadyReason
from refresh_api.spec import RefreshSpec
from refresh_api.status import OperatorStatus, Outcome
from refresh_api.values import duration
from refresh_operator.runs.missed_runs import evaluate_missed_runs
from refresh_operator.runs.requests import handle_cancel, handle_request
from refresh_operator.runs.runs import EndedRun, Timeouts, active_runs, ended_runs, expects_heartbeat
from refresh_operator.runs.suspension import Suspension, scheduled_failures, suspension_of
from refresh_operator.settings import Settings
from refresh_operator.specs.cronjob import HISTORY_LIMIT, managed_objects
from refresh_operator.specs.diff import Difference, differences, owned_by, owned_by_predecessor, replacement
from refresh_operator.specs.metadata import HASH_ANNOTATION
from refresh_operator.state.kube_types import metadata_of
from refresh_operator.state.problem import Problem
from refresh_operator.state.refresh import InvalidSpec, Refresh
from refresh_operator.state.snapshot import Snapshot
from refresh_operator.status.conditions import START_GRACE, condition_of
from refresh_operator.status.events import Event, defaults_event, drift_event, events_of
from refresh_operator.status.status import Analysis, new_status

_MOVES_SLOTS = frozenset({"spec.schedule", "spec.timeZone", "spec.suspend", "spec.startingDeadlineSeconds"})
_HASH_PATH = f"metadata.annotations.{HASH_ANNOTATION}"
_START_TIMEOUT = timedelta(minutes=5)
_LONGEST_WAIT = timedelta(hours=1)
"""Until a refresh is looked at again for which nothing is due: events and the resync tell of all that changes."""
_WITHIN_A_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Replacement:
    """An object to be put in the place of what is there."""

    item: Json
    differences: tuple[Difference, ...]
    reset_last_schedule_time: bool = False
    """Whether the slots that have passed must be forgotten first, so that the change sets off none of them."""
    takes_over: bool = False
    """Whether it belonged to an earlier refresh of the name, so that nobody changed it by hand."""


@dataclass(frozen=True)
class Decision:
    """What to change now; applied in this order."""

    create: tuple[Json, ...] = ()
    replace: tuple[Replacement, ...] = ()
    create_job: Json | None = None
    status: OperatorStatus | None = None
    """The share to write; None where it stands already."""
    adopt_jobs: tuple[str, ...] = ()
    """Jobs that are to belong to the refresh, too."""
    delete_jobs: tuple[str, ...] = ()
    """Jobs to delete."""
    events: tuple[Event, ...] = ()
    drifted_kinds: tuple[str, ...] = ()
    """Kinds of what was changed or deleted by hand."""
    notifications: tuple[EndedRun, ...] = ()
    """Failed runs of which people have to be told."""
    requeue_after: timedelta = timedelta(minutes=5)
    """After this time the refresh is to be looked at again, if nothing happens before."""


def decide(world: Snapshot, settings: Settings, now: datetime, tolerated: frozenset[Difference] = frozenset()) -> Decision:
    """Return what to change so that the cluster matches one refresh. `tolerated` differences come back whenever they are corrected."""
    refresh = world.refresh
    if refresh.metadata.deletion_timestamp:
        return Decision()
    if world.namespace_terminating:
        return Decision(delete_jobs=_under_way(world))
    spec = None if isinstance(refresh.spec, InvalidSpec) else refresh.spec
    start_timeout = duration(spec.start_timeout) if spec else _START_TIMEOUT
    found = _findings(world, settings, start_timeout, now)
    create, replace = _objects(world, _wanted(world, spec, settings, found.suspension), tolerated) if spec else ((), ())
    if any(each.reset_last_schedule_time for each in replace):
        # what the new schedule would have had before now was never due
        found = dataclasses.replace(found, missed=dataclasses.replace(found.missed, evaluated_until=now))
    share = new_status(world, found, now)
    notes = events_of(refresh.status, share, found.ended, found.missed.runs, now)
    drifts = _drifts(refresh, create, replace)
    followed = [(each.item, fields) for each in replace if (fields := _new_defaults(world, each))]
    return Decision(
        create=create,
        replace=replace,
        create_job=found.request.job,
        status=None if share == refresh.status else share,
        adopt_jobs=_to_adopt(world),
        delete_jobs=(*_to_give_up(world, found.ended), *_left_over(world), *_of_earlier(world)),
        events=(*(drift_event(item, differences) for item, differences in drifts), *(defaults_event(*each) for each in followed), *notes),
        drifted_kinds=tuple(str(item["kind"]) for item, _ in drifts),
        notifications=tuple(each for each in found.ended if spec and spec.notifications and _is_news(each, now)),
        # our own writes come back as no event: what follows from them is seen at the next look
        requeue_after=timedelta(0) if create or found.request.job else _again(world, found, share, start_timeout, settings, now),
    )


def _findings(world: Snapshot, settings: Settings, start_timeout: timedelta, now: datetime) -> Analysis:
    problem = _problem(world)
    cancellation = handle_cancel(world, now)
    ended = ended_runs(world, Timeouts(start_timeout, settings.lost_after), now, cancellation.ended)
    active = active_runs(world, ended)
    answer = handle_request(world, settings, problem, active, cancellation.withdrawn)
    failures = scheduled_failures(world.refresh, ended)
    return Analysis(
        problem, ended, active, answer, cancellation, evaluate_missed_runs(world, now), failures, suspension_of(world, failures, now)
    )


def _problem(world: Snapshot) -> Problem | None:
    spec = world.refresh.spec
    if isinstance(spec, InvalidSpec):
        return Problem(spec.reason, f"{spec.path}: {spec.message}", stalled=True)
    for kind, item in world.objects.items():
        if not _is_ours(item, world.refresh):
            name = metadata_of(item).name
            message = f"{kind} {name} already exists and is not owned by this DashboardRefresh: delete it, or rename the DashboardRefresh"
            return Problem(ReadyReason.CRON_JOB_CONFLICT, message, stalled=True)
        # The others work as long as they are there.
        if kind == "CronJob" and (seen := metadata_of(item)).deletion_timestamp:
            held = f", held by {', '.join(seen.finalizers)}" if seen.finalizers else ""
            message = f"{kind} {seen.name} is terminating{held}: no runs start until it is deleted and recreated"
            return Problem(ReadyReason.BEING_DELETED, message, stalled=False)
    if world.denied_secrets:
        return Problem(ReadyReason.SECRET_NOT_ALLOWED, "; ".join(world.denied_secrets.values()), stalled=True)
    if world.missing_secrets:
        return Problem(ReadyReason.SECRET_NOT_FOUND, f"{world.missing_secrets[0]}; retrying", stalled=False)
    return None


def _wanted(world: Snapshot, spec: RefreshSpec, settings: Settings, hold: Suspension | None) -> tuple[Json, ...]:
    return managed_objects(world.refresh, spec, settings, suspended=hold is not None, withheld=frozenset(world.denied_secrets))


def _objects(
    world: Snapshot, wanted: tuple[Json, ...], tolerated: frozenset[Difference]
) -> tuple[tuple[Json, ...], tuple[Replacement, ...]]:
    create, replace = [], []
    for item in wanted:
        live = world.objects.get(str(item["kind"]))
        if live is None:
            create.append(item)
        elif _is_ours(live, world.refresh) and not metadata_of(live).deletion_timestamp:
            found = differences(item, live)
            if set(found) - tolerated:
                takes_over = not owned_by(live, world.refresh.metadata.uid)
                forget = any(each.path in _MOVES_SLOTS for each in found) or (takes_over and item["kind"] == "CronJob")
                replace.append(Replacement(replacement(item, live), found, forget, takes_over))
    return tuple(create), tuple(replace)


def _is_ours(live: Json, refresh: Refresh) -> bool:
    return owned_by(live, refresh.metadata.uid) or owned_by_predecessor(live, refresh.metadata)


def _to_give_up(world: Snapshot, ended: tuple[EndedRun, ...]) -> tuple[str, ...]:
    """Jobs that are recorded as ended and still wait for a pod; also those whose deletion was missed."""
    given_up = {each.run.id for each in ended if each.delete_job} | {run.id for run in world.refresh.status.history}
    return tuple(job.metadata.name for job in world.jobs if job.metadata.name in given_up and job.is_active)


def _under_way(world: Snapshot) -> tuple[str, ...]:
    """Jobs that would hold their namespace up: Kubernetes keeps the pod of a Job that could try again, and makes none in there."""
    return tuple(job.metadata.name for job in world.jobs if job.is_active)


def _of_earlier(world: Snapshot) -> tuple[str, ...]:
    """Jobs that a deleted refresh of this name has left. Their age tells, should we be the ones who are behind."""
    since = world.refresh.metadata.creation_timestamp
    return tuple(job.metadata.name for job in world.previous_owner_jobs if job.is_active and job.metadata.creation_timestamp <= since)


def _to_adopt(world: Snapshot) -> tuple[str, ...]:
    """Jobs under way that belong to the CronJob alone, and would end with it where somebody deletes it by hand."""
    uid = world.refresh.metadata.uid
    ours = (job for job in world.jobs if job.is_active)
    return tuple(job.metadata.name for job in ours if all(owner.uid != uid for owner in job.metadata.owner_references))


def _left_over(world: Snapshot) -> tuple[str, ...]:
    """Jobs that ended, are recorded, and outlived the CronJob that would clear them away; the newest stay for people to look at."""
    known = {run.id for run in world.refresh.status.history}
    orphans = [job for job in world.jobs if job.end and not any(owner.controller for owner in job.metadata.owner_references)]
    orphans = [job for job in orphans if job.metadata.name in known and not job.metadata.deletion_timestamp]
    newest_first = sorted(orphans, key=lambda job: job.metadata.creation_timestamp, reverse=True)
    return tuple(job.metadata.name for job in newest_first[HISTORY_LIMIT:])


def _is_news(ended: EndedRun, now: datetime) -> bool:
    return ended.run.outcome is Outcome.FAILED and not ended.notified and now - ended.run.completion_time < _WITHIN_A_DAY


def _drifts(refresh: Refresh, create: tuple[Json, ...], replace: tuple[Replacement, ...]) -> list[tuple[Json, tuple[Difference, ...]]]:
    """What was changed by hand, or deleted (no differences); a change of what is wanted is none."""
    deleted = create if refresh.status.observed_generation >= 0 else ()
    changed = [each for each in replace if all(found.path != _HASH_PATH for found in each.differences) and not each.takes_over]
    return [*((item, ()) for item in deleted), *((each.item, each.differences) for each in changed)]


def _new_defaults(world: Snapshot, each: Replacement) -> tuple[str, ...]:
    """The fields by which an object that should be has changed without its refresh; whether runs are off is said elsewhere."""
    refresh = world.refresh
    paths = [found.path for found in each.differences]
    ready = condition_of(refresh.status, "Ready")
    was_refused = ready is not None and ready.reason == ReadyReason.SECRET_NOT_ALLOWED
    if was_refused or world.denied_secrets or refresh.metadata.generation != refresh.status.observed_generation or _HASH_PATH not in paths:
        return ()
    return tuple(path for path in paths if path not in (_HASH_PATH, "spec.suspend"))


def _again(
    world: Snapshot, found: Analysis, share: OperatorStatus, start_timeout: timedelta, settings: Settings, now: datetime
) -> timedelta:
    """After what time something is due that no event tells."""
    second = timedelta(seconds=1)
    waits = [_LONGEST_WAIT]
    if found.problem:
        waits.append(settings.recheck)
    if share.next_run:
        waits.append(share.next_run - now + second)
    if share.suspended_until:
        waits.append(share.suspended_until - now + second)
    if found.missed.next_due:
        waits.append(found.missed.next_due - now + second)
    spec = world.refresh.spec
    if not isinstance(spec, InvalidSpec) and spec.freshness and share.last_success_time:
        waits.append(share.last_success_time - now + duration(spec.freshness.max_staleness) + second)
    for run in share.active:
        since = world.pending_since(run.id, run.start_time) - now + second
        waits += [since + START_GRACE, since + start_timeout]
        if expects_heartbeat(world, run.id):
            waits.append(settings.lost_after - world.heartbeat_age + second)
    return max(second, min(wait for wait in waits if wait > timedelta(0)))
