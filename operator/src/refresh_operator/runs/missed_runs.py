"""The slots of a schedule that have passed: which of them became a run, and why the others did not; pure.

A slot is judged once, when its run can no longer start. What can't be known any more is not counted: Jobs that were cleared away.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import merge
from types import MappingProxyType
from typing import Final

from pydantic import AwareDatetime

from refresh_api import cron
from refresh_api.names import GENERATION_ANNOTATION
from refresh_api.status import MissedReason
from refresh_operator.specs.cronjob import HISTORY_LIMIT, STARTING_DEADLINE
from refresh_operator.specs.diff import owned_by
from refresh_operator.state.kube_types import KubeModel
from refresh_operator.state.refresh import InvalidSpec
from refresh_operator.state.snapshot import Snapshot

_MARGIN: Final = timedelta(seconds=10)
"""What the CronJob controller may take beyond the deadline, and its Job until it is seen."""
_AHEAD: Final = timedelta(days=1)
_BEHIND: Final = timedelta(days=31)
"""Slots that passed before nobody counts any more: an operator that was away for so long would take minutes for them."""
_SLOT_DIGITS: Final = 8
"""Of the minutes since 1970, until the year 2160."""


@dataclass(frozen=True)
class MissedRun:
    """A slot at which no run started."""

    time: datetime
    reason: MissedReason


@dataclass(frozen=True)
class MissedRuns:
    """The slots that were judged now."""

    evaluated_until: datetime
    runs: tuple[MissedRun, ...] = ()
    next_due: datetime | None = None
    """When the next slot can be judged."""


class _Template(KubeModel):
    annotations: Mapping[str, str] = MappingProxyType({})


class _JobTemplate(KubeModel):
    metadata: _Template


class _Schedule(KubeModel):
    schedule: str
    time_zone: str = "Etc/UTC"
    suspend: bool = False
    job_template: _JobTemplate


class _Status(KubeModel):
    last_schedule_time: AwareDatetime | None = None


class _CronJob(KubeModel):
    spec: _Schedule
    status: _Status = _Status()

    @property
    def generation(self) -> str | None:
        """Generation of the refresh that it was made from."""
        return self.spec.job_template.metadata.annotations.get(GENERATION_ANNOTATION)


def evaluate(world: Snapshot, now: datetime) -> MissedRuns:
    """Return what became of the slots since the last judgement, by the schedule that the CronJob has had until now."""
    share = world.refresh.status
    before = share.slots_judged_until
    cronjob = _cronjob(world)
    if before is None or cronjob is None:
        return MissedRuns(before or now)
    # by a clock that was wrong, or a hand: else nothing would be judged for long, or everything at once
    before = now if before > now + _AHEAD else max(before, now - _BEHIND)
    # else it was replaced by an operator that ended before it could write down what it had judged
    known = isinstance(world.refresh.spec, InvalidSpec) or cronjob.generation == str(share.observed_generation)
    schedule = cron.parse(cronjob.spec.schedule, cronjob.spec.time_zone)
    runs, clock = _slots_with_runs(world), now - _MARGIN
    wait = _MARGIN if cronjob.spec.suspend else STARTING_DEADLINE + _MARGIN
    until, missed = before, list[MissedRun]()
    for slot, exists in _slots(schedule, before, clock):
        if known and exists and slot not in runs:
            if now < slot + wait:
                return MissedRuns(until, tuple(missed), slot + wait)
            if not _may_be_forgotten(world, cronjob, slot):
                missed.append(MissedRun(slot, _reason(world, cronjob, slot)))
        elif known and not exists:
            missed.append(MissedRun(slot, MissedReason.CLOCK_CHANGE))
        until = slot
    coming = next(schedule.runs_after(clock), None)
    return MissedRuns(until, tuple(missed), coming + wait if coming else None)


def _cronjob(world: Snapshot) -> _CronJob | None:
    """The CronJob as it is; None where there is none, or nobody can read its schedule."""
    seen = world.objects.get("CronJob")
    if seen is None or not owned_by(seen, world.refresh.metadata.uid):
        return None
    try:
        cronjob = _CronJob.model_validate(seen)
        cron.parse(cronjob.spec.schedule, cronjob.spec.time_zone)
    except (ValueError, LookupError):
        return None
    return cronjob


def _slots(schedule: cron.Schedule, first: datetime, last: datetime) -> Iterator[tuple[datetime, bool]]:
    """The slots after `first` until `last` in order, and whether clocks show them at all."""
    for slot, exists in merge(
        ((each, True) for each in schedule.runs_after(first)), ((each, False) for each in schedule.gaps(first, last))
    ):
        if slot > last:
            return
        yield slot.astimezone(UTC), exists


def _slots_with_runs(world: Snapshot) -> set[datetime]:
    """The slots whose run is known: the name that the CronJob controller gives to a Job ends in the slot's minute."""
    found, share = set(), world.refresh.status
    names = (*(job.metadata.name for job in world.jobs), *(run.id for run in share.active), *(run.id for run in share.history))
    for name in names:
        minutes = name.rpartition("-")[2]
        if minutes.isascii() and minutes.isdigit() and len(minutes) == _SLOT_DIGITS:
            found.add(datetime.fromtimestamp(int(minutes) * 60, UTC))
    return found


def _may_be_forgotten(world: Snapshot, cronjob: _CronJob, slot: datetime) -> bool:
    """Whether the slot's Job may have come and gone: the CronJob keeps the newest ones only."""
    if cronjob.status.last_schedule_time is None or cronjob.status.last_schedule_time < slot:
        return False
    newer = [job.end.type for job in world.jobs if job.end and job.metadata.creation_timestamp > slot]
    return max(newer.count("Complete"), newer.count("Failed")) >= HISTORY_LIMIT


def _reason(world: Snapshot, cronjob: _CronJob, slot: datetime) -> MissedReason:
    if cronjob.spec.suspend:
        return MissedReason.SUSPENDED
    share = world.refresh.status
    under_way = any(active.start_time < slot for active in share.active)
    overlapped = any(run.start_time and run.start_time < slot <= run.completion_time for run in share.history)
    return MissedReason.PREVIOUS_STILL_RUNNING if under_way or overlapped else MissedReason.CONTROLLER_DOWN
