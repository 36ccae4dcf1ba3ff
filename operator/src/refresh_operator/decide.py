"""What to change, from what was seen: the operator's judgement in one place; pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from refresh_api.spec import RefreshSpec
from refresh_api.status import ActiveRun, OperatorShare, Outcome
from refresh_api.values import duration
from refresh_operator.desired import HASH_ANNOTATION, kept_objects, token_job
from refresh_operator.drift import Difference, differences, owned_by, replacement
from refresh_operator.names import token_job_name
from refresh_operator.notes import Note, drift_note, notes_of
from refresh_operator.runs import Ended, active_runs, ended_runs
from refresh_operator.settings import Settings
from refresh_operator.share import Problem, share_of
from refresh_operator.world import Invalid, Json, Metadata, Refresh, Seen, World

_MOVES_SLOTS = frozenset({"spec.schedule", "spec.timeZone", "spec.suspend", "spec.startingDeadlineSeconds"})
_START_TIMEOUT = timedelta(minutes=5)
_WITHIN_A_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Replacement:
    """An object to be put in the place of what is there."""

    item: Json
    differences: tuple[Difference, ...]
    forget_slots: bool = False
    """Whether the slots that have passed must be forgotten first, so that the change sets off none of them."""


@dataclass(frozen=True)
class Decision:
    """What to change now; applied in this order."""

    create: tuple[Json, ...] = ()
    replace: tuple[Replacement, ...] = ()
    start: Json | None = None
    share: OperatorShare | None = None
    """The share to write; None where it stands already."""
    give_up: tuple[str, ...] = ()
    """Jobs to delete."""
    notes: tuple[Note, ...] = ()
    tell: tuple[Ended, ...] = ()
    """Failed runs of which people have to be told."""
    again: timedelta = timedelta(minutes=5)
    """After this time the refresh is to be looked at again, if nothing happens before."""


def decide(world: World, settings: Settings, now: datetime, tolerated: frozenset[Difference] = frozenset()) -> Decision:
    """Return what to change so that the cluster matches one refresh. `tolerated` differences come back whenever they are corrected."""
    refresh = world.refresh
    if refresh.metadata.deletion_timestamp:
        return Decision()
    spec = None if isinstance(refresh.spec, Invalid) else refresh.spec
    start_timeout = duration(spec.start_timeout) if spec else _START_TIMEOUT
    problem = _problem(world)
    ended = ended_runs(world, start_timeout, now)
    active = active_runs(world, ended)
    create, replace = _objects(world, kept_objects(refresh, spec, settings), tolerated) if spec else ((), ())
    start, handled = _request(world, spec, settings, problem, active)
    share = share_of(world, problem, ended, active, now).model_copy(update={"last_handled_request_at": handled})
    return Decision(
        create=create,
        replace=replace,
        start=start,
        share=None if share == refresh.share else share,
        give_up=_to_give_up(world, ended),
        notes=(*_drift_notes(refresh, create, replace), *notes_of(refresh.share, share, ended, now)),
        tell=tuple(each for each in ended if spec and spec.notifications and _is_news(each, now)),
        again=_again(world, problem, share, start_timeout, settings, now),
    )


def _problem(world: World) -> Problem | None:
    spec = world.refresh.spec
    if isinstance(spec, Invalid):
        return Problem(spec.reason, f"{spec.path}: {spec.says}", stalled=True)
    for kind, item in world.objects.items():
        if not owned_by(item, world.refresh.metadata.uid):
            name = _metadata(item).name
            return Problem("CronJobConflict", f"{kind} {name} is there and belongs to somebody else: delete or rename it", stalled=True)
    if world.missing:
        return Problem("SecretNotFound", f"{world.missing[0]}; it is looked for again and again", stalled=False)
    return None


def _objects(world: World, wanted: tuple[Json, ...], tolerated: frozenset[Difference]) -> tuple[tuple[Json, ...], tuple[Replacement, ...]]:
    create, replace = [], []
    for item in wanted:
        live = world.objects.get(str(item["kind"]))
        if live is None:
            create.append(item)
        elif owned_by(live, world.refresh.metadata.uid) and not _metadata(live).deletion_timestamp:
            found = differences(item, live)
            if set(found) - tolerated:
                replace.append(Replacement(replacement(item, live), found, any(each.path in _MOVES_SLOTS for each in found)))
    return tuple(create), tuple(replace)


def _request(
    world: World, spec: RefreshSpec | None, settings: Settings, problem: Problem | None, active: list[ActiveRun]
) -> tuple[Json | None, str | None]:
    """The Job to create for a request, and the last request that is answered by then."""
    refresh = world.refresh
    before, token = refresh.share.last_handled_request_at, refresh.token
    if token is None:
        return None, before
    name = token_job_name(refresh.metadata.name, refresh.metadata.uid, token)
    if any(job.metadata.name == name for job in world.jobs) or any(run.id == name for run in refresh.share.history):
        return None, token
    cronjob = world.objects.get("CronJob")
    if spec is None or problem or active or cronjob is None:
        return None, before
    # acknowledged at the next look, which finds the Job: should this one be interrupted, the same Job is made again
    return token_job(refresh, spec, settings, _metadata(cronjob), token), before


def _to_give_up(world: World, ended: tuple[Ended, ...]) -> tuple[str, ...]:
    """Jobs that are recorded as ended and still wait for a pod; also those whose deletion was missed."""
    given_up = {each.run.id for each in ended if each.to_delete} | {run.id for run in world.refresh.share.history}
    return tuple(
        job.metadata.name for job in world.jobs if job.metadata.name in given_up and not job.end and not job.metadata.deletion_timestamp
    )


def _is_news(ended: Ended, now: datetime) -> bool:
    return ended.run.outcome is Outcome.FAILED and not ended.told and now - ended.run.completion_time < _WITHIN_A_DAY


def _drift_notes(refresh: Refresh, create: tuple[Json, ...], replace: tuple[Replacement, ...]) -> tuple[Note, ...]:
    """Notes on what was changed by hand; a change of what is wanted is none."""
    notes = []
    if refresh.share.observed_generation >= 0:
        notes = [drift_note(item, ()) for item in create]
    for each in replace:
        if all(found.path != f"metadata.annotations.{HASH_ANNOTATION}" for found in each.differences):
            notes.append(drift_note(each.item, each.differences))
    return tuple(notes)


def _again(
    world: World, problem: Problem | None, share: OperatorShare, start_timeout: timedelta, settings: Settings, now: datetime
) -> timedelta:
    waits = [settings.resync]
    if problem:
        waits.append(settings.recheck)
    if share.next_run:
        waits.append(share.next_run - now + timedelta(seconds=1))
    for run in share.active:
        pods = world.pods_of(run.id)
        since = pods[-1].metadata.creation_timestamp if pods else run.start_time
        waits.append(since + start_timeout - now + timedelta(seconds=1))
    return max(timedelta(seconds=1), min(wait for wait in waits if wait > timedelta(0)))


class _Object(Seen):
    metadata: Metadata


def _metadata(item: Json) -> Metadata:
    return _Object.model_validate(item).metadata
