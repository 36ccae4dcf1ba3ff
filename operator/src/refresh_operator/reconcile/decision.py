"""What to change, from what was seen: the operator's judgement in one place; pure."""

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timedelta

from refresh_api.objects import Json
from refresh_api.reasons import ReadyReason
from refresh_api.spec import RefreshSpec
from refresh_api.status import OperatorStatus, Outcome
from refresh_api.values import duration
from refresh_operator.runs.missed_runs import judge
from refresh_operator.runs.requests import answer_of, cancellation_of
from refresh_operator.runs.runs import Ended, Patience, active_runs, ended_runs, is_watched
from refresh_operator.runs.suspension import Hold, hold_of, scheduled_failures
from refresh_operator.settings import Settings
from refresh_operator.specs.desired import HASH_ANNOTATION, HISTORY_LIMIT, kept_objects
from refresh_operator.specs.diff import Difference, differences, left_by_earlier, owned_by, replacement
from refresh_operator.state.problem import Problem
from refresh_operator.state.snapshot import Invalid, Refresh, World, metadata_of
from refresh_operator.status.conditions import SOON, condition_of
from refresh_operator.status.events import Note, defaults_note, drift_note, notes_of
from refresh_operator.status.status import Findings, share_of

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
    forget_slots: bool = False
    """Whether the slots that have passed must be forgotten first, so that the change sets off none of them."""
    takes_over: bool = False
    """Whether it belonged to an earlier refresh of the name, so that nobody changed it by hand."""


@dataclass(frozen=True)
class Decision:
    """What to change now; applied in this order."""

    create: tuple[Json, ...] = ()
    replace: tuple[Replacement, ...] = ()
    start: Json | None = None
    share: OperatorStatus | None = None
    """The share to write; None where it stands already."""
    adopt: tuple[str, ...] = ()
    """Jobs that are to belong to the refresh, too."""
    give_up: tuple[str, ...] = ()
    """Jobs to delete."""
    notes: tuple[Note, ...] = ()
    corrected: tuple[str, ...] = ()
    """Kinds of what was changed or deleted by hand."""
    tell: tuple[Ended, ...] = ()
    """Failed runs of which people have to be told."""
    again: timedelta = timedelta(minutes=5)
    """After this time the refresh is to be looked at again, if nothing happens before."""


def decide(world: World, settings: Settings, now: datetime, tolerated: frozenset[Difference] = frozenset()) -> Decision:
    """Return what to change so that the cluster matches one refresh. `tolerated` differences come back whenever they are corrected."""
    refresh = world.refresh
    if refresh.metadata.deletion_timestamp:
        return Decision()
    if world.ends:
        return Decision(give_up=_under_way(world))
    spec = None if isinstance(refresh.spec, Invalid) else refresh.spec
    start_timeout = duration(spec.start_timeout) if spec else _START_TIMEOUT
    found = _findings(world, settings, start_timeout, now)
    create, replace = _objects(world, _wanted(world, spec, settings, found.hold), tolerated) if spec else ((), ())
    if any(each.forget_slots for each in replace):
        # what the new schedule would have had before now was never due
        found = dataclasses.replace(found, judged=dataclasses.replace(found.judged, until=now))
    share = share_of(world, found, now)
    notes = notes_of(refresh.share, share, found.ended, found.judged.missed, now)
    drifts = _drifts(refresh, create, replace)
    followed = [(each.item, fields) for each in replace if (fields := _new_defaults(world, each))]
    return Decision(
        create=create,
        replace=replace,
        start=found.answer.start,
        share=None if share == refresh.share else share,
        adopt=_to_adopt(world),
        give_up=(*_to_give_up(world, found.ended), *_left_over(world), *_of_earlier(world)),
        notes=(*(drift_note(item, differences) for item, differences in drifts), *(defaults_note(*each) for each in followed), *notes),
        corrected=tuple(str(item["kind"]) for item, _ in drifts),
        tell=tuple(each for each in found.ended if spec and spec.notifications and _is_news(each, now)),
        # our own writes come back as no event: what follows from them is seen at the next look
        again=timedelta(0) if create or found.answer.start else _again(world, found, share, start_timeout, settings, now),
    )


def _findings(world: World, settings: Settings, start_timeout: timedelta, now: datetime) -> Findings:
    problem = _problem(world)
    cancellation = cancellation_of(world, now)
    ended = ended_runs(world, Patience(start_timeout, settings.lost_after), now, cancellation.ended)
    active = active_runs(world, ended)
    answer = answer_of(world, settings, problem, active, cancellation.withdrawn)
    failures = scheduled_failures(world.refresh, ended)
    return Findings(problem, ended, active, answer, cancellation, judge(world, now), failures, hold_of(world, failures, now))


def _problem(world: World) -> Problem | None:
    spec = world.refresh.spec
    if isinstance(spec, Invalid):
        return Problem(spec.reason, f"{spec.path}: {spec.says}", stalled=True)
    for kind, item in world.objects.items():
        if not _is_ours(item, world.refresh):
            message = f"{kind} {metadata_of(item).name} is there and belongs to somebody else: delete or rename it"
            return Problem(ReadyReason.CRON_JOB_CONFLICT, message, stalled=True)
        # The others work as long as they are there.
        if kind == "CronJob" and (seen := metadata_of(item)).deletion_timestamp:
            kept = f" by {', '.join(seen.finalizers)}" if seen.finalizers else ""
            message = f"{kind} {seen.name} was deleted and is kept{kept}: it does nothing, and is made again once it is gone"
            return Problem(ReadyReason.BEING_DELETED, message, stalled=False)
    if world.refused:
        return Problem(ReadyReason.SECRET_NOT_ALLOWED, "; ".join(world.refused.values()), stalled=True)
    if world.missing:
        return Problem(ReadyReason.SECRET_NOT_FOUND, f"{world.missing[0]}; it is looked for again and again", stalled=False)
    return None


def _wanted(world: World, spec: RefreshSpec, settings: Settings, hold: Hold | None) -> tuple[Json, ...]:
    return kept_objects(world.refresh, spec, settings, suspended=hold is not None, withheld=frozenset(world.refused))


def _objects(world: World, wanted: tuple[Json, ...], tolerated: frozenset[Difference]) -> tuple[tuple[Json, ...], tuple[Replacement, ...]]:
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
    return owned_by(live, refresh.metadata.uid) or left_by_earlier(live, refresh.metadata)


def _to_give_up(world: World, ended: tuple[Ended, ...]) -> tuple[str, ...]:
    """Jobs that are recorded as ended and still wait for a pod; also those whose deletion was missed."""
    given_up = {each.run.id for each in ended if each.to_delete} | {run.id for run in world.refresh.share.history}
    return tuple(job.metadata.name for job in world.jobs if job.metadata.name in given_up and job.goes_on)


def _under_way(world: World) -> tuple[str, ...]:
    """Jobs that would hold their namespace up: Kubernetes keeps the pod of a Job that could try again, and makes none in there."""
    return tuple(job.metadata.name for job in world.jobs if job.goes_on)


def _of_earlier(world: World) -> tuple[str, ...]:
    """Jobs that a deleted refresh of this name has left. Their age tells, should we be the ones who are behind."""
    since = world.refresh.metadata.creation_timestamp
    return tuple(job.metadata.name for job in world.namesakes_jobs if job.goes_on and job.metadata.creation_timestamp <= since)


def _to_adopt(world: World) -> tuple[str, ...]:
    """Jobs under way that belong to the CronJob alone, and would end with it where somebody deletes it by hand."""
    uid = world.refresh.metadata.uid
    ours = (job for job in world.jobs if job.goes_on)
    return tuple(job.metadata.name for job in ours if all(owner.uid != uid for owner in job.metadata.owner_references))


def _left_over(world: World) -> tuple[str, ...]:
    """Jobs that ended, are recorded, and outlived the CronJob that would clear them away; the newest stay for people to look at."""
    known = {run.id for run in world.refresh.share.history}
    orphans = [job for job in world.jobs if job.end and not any(owner.controller for owner in job.metadata.owner_references)]
    orphans = [job for job in orphans if job.metadata.name in known and not job.metadata.deletion_timestamp]
    newest_first = sorted(orphans, key=lambda job: job.metadata.creation_timestamp, reverse=True)
    return tuple(job.metadata.name for job in newest_first[HISTORY_LIMIT:])


def _is_news(ended: Ended, now: datetime) -> bool:
    return ended.run.outcome is Outcome.FAILED and not ended.told and now - ended.run.completion_time < _WITHIN_A_DAY


def _drifts(refresh: Refresh, create: tuple[Json, ...], replace: tuple[Replacement, ...]) -> list[tuple[Json, tuple[Difference, ...]]]:
    """What was changed by hand, or deleted (no differences); a change of what is wanted is none."""
    deleted = create if refresh.share.observed_generation >= 0 else ()
    changed = [each for each in replace if all(found.path != _HASH_PATH for found in each.differences) and not each.takes_over]
    return [*((item, ()) for item in deleted), *((each.item, each.differences) for each in changed)]


def _new_defaults(world: World, each: Replacement) -> tuple[str, ...]:
    """The fields by which an object that should be has changed without its refresh; whether runs are off is said elsewhere."""
    refresh = world.refresh
    paths = [found.path for found in each.differences]
    ready = condition_of(refresh.share, "Ready")
    was_refused = ready is not None and ready.reason == ReadyReason.SECRET_NOT_ALLOWED
    if was_refused or world.refused or refresh.metadata.generation != refresh.share.observed_generation or _HASH_PATH not in paths:
        return ()
    return tuple(path for path in paths if path not in (_HASH_PATH, "spec.suspend"))


def _again(world: World, found: Findings, share: OperatorStatus, start_timeout: timedelta, settings: Settings, now: datetime) -> timedelta:
    """After what time something is due that no event tells."""
    second = timedelta(seconds=1)
    waits = [_LONGEST_WAIT]
    if found.problem:
        waits.append(settings.recheck)
    if share.next_run:
        waits.append(share.next_run - now + second)
    if share.suspended_until:
        waits.append(share.suspended_until - now + second)
    if found.judged.next_due:
        waits.append(found.judged.next_due - now + second)
    spec = world.refresh.spec
    if not isinstance(spec, Invalid) and spec.freshness and share.last_success_time:
        waits.append(share.last_success_time - now + duration(spec.freshness.max_staleness) + second)
    for run in share.active:
        since = world.waiting_since(run.id, run.start_time) - now + second
        waits += [since + SOON, since + start_timeout]
        if is_watched(world, run.id):
            waits.append(settings.lost_after - world.silence + second)
    return max(second, min(wait for wait in waits if wait > timedelta(0)))
