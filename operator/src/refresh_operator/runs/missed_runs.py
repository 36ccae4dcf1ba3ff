"""Missed runs: times of the schedule at which no run started, with the reason; pure.

Each scheduled time is evaluated once, when its run can no longer start. Times whose Job may have been deleted in the meantime are not
counted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import merge
from types import MappingProxyType
from typing import Final

from pydantic import AwareDatetime

from refresh_api import cron
from refresh_api.model import time_text
from refresh_api.names import GENERATION_ANNOTATION
from refresh_api.scheduled_time import STARTING_DEADLINE, scheduled_time_of
from refresh_api.status import MissedReason
from refresh_operator.specs.cronjob import HISTORY_LIMIT
from refresh_operator.specs.diff import owned_by
from refresh_operator.state.kube_types import KubeModel
from refresh_operator.state.refresh import InvalidSpec
from refresh_operator.state.snapshot import Snapshot

_MARGIN: Final = timedelta(seconds=10)
"""Allowance for the CronJob controller beyond the deadline, and for the watch that reports its Job."""
_MAX_FUTURE: Final = timedelta(days=1)
"""A recorded time further in the future than this is wrong, and ignored."""
_MAX_PAST: Final = timedelta(days=31)
"""Times longer ago than this are not evaluated: after a long outage of the operator, this could take minutes."""
_WHY: Final = {
    MissedReason.CONTROLLER_DOWN: "the CronJob controller created no Job in time",
    MissedReason.SUSPENDED: "scheduled runs are suspended",
    MissedReason.PREVIOUS_STILL_RUNNING: "the previous run was still active",
    MissedReason.CLOCK_CHANGE: "clocks went forward, and this time did not exist",
}
_EXPECTED: Final = frozenset({MissedReason.SUSPENDED, MissedReason.CLOCK_CHANGE})
"""Reasons that somebody has chosen: a suspension, or a schedule between 2 and 3 o'clock."""


@dataclass(frozen=True)
class MissedRun:
    """A scheduled time at which no run started."""

    time: datetime
    reason: MissedReason

    @property
    def message(self) -> str:
        """What has happened, in a sentence."""
        return f"no run started at {time_text(self.time)}: {_WHY[self.reason]}"

    @property
    def is_expected(self) -> bool:
        """Whether somebody has chosen that no run starts at this time."""
        return self.reason in _EXPECTED


@dataclass(frozen=True)
class StartedRun:
    """A scheduled time at which a run started, after missed runs."""

    time: datetime


@dataclass(frozen=True)
class MissedRuns:
    """The result of one evaluation."""

    evaluated_until: datetime
    runs: tuple[MissedRun, ...] = ()
    since: datetime | None = None
    """The first scheduled time missed unexpectedly since the last scheduled run that started; None if there is none."""
    change: MissedRun | StartedRun | None = None
    """What `since` has changed for: the first missed run, or the run that started after it; None if it has not changed."""
    next_due: datetime | None = None
    """When the next scheduled time can be evaluated."""


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
        """The generation of the refresh that the CronJob was written for."""
        return self.spec.job_template.metadata.annotations.get(GENERATION_ANNOTATION)


def evaluate_missed_runs(snapshot: Snapshot, now: datetime) -> MissedRuns:
    """Return the runs missed since the last evaluation, by the CronJob's schedule until now."""
    status = snapshot.refresh.status
    before = status.missed_runs_evaluated_until
    cronjob = _cronjob(snapshot)
    if before is None or cronjob is None:
        return MissedRuns(before or now, since=status.missed_since)
    # a wrong clock or a manual edit must neither stop the evaluation nor make it cover many years
    before = now if before > now + _MAX_FUTURE else max(before, now - _MAX_PAST)
    # otherwise an operator replaced the CronJob and stopped before it recorded its evaluation
    comparable = isinstance(snapshot.refresh.spec, InvalidSpec) or cronjob.generation == str(status.observed_generation)
    schedule = cron.parse(cronjob.spec.schedule, cronjob.spec.time_zone)
    runs, clock = _times_of_runs(snapshot), now - _MARGIN
    wait = _MARGIN if cronjob.spec.suspend else STARTING_DEADLINE + _MARGIN
    until, times = before, list[MissedRun | StartedRun]()
    coming = next(schedule.runs_after(clock), None)
    for scheduled_time, exists in _scheduled_times(schedule, before, clock):
        if not exists:
            if comparable:
                times.append(MissedRun(scheduled_time, MissedReason.CLOCK_CHANGE))
        elif scheduled_time in runs:
            times.append(StartedRun(scheduled_time))
        elif comparable:
            if now < scheduled_time + wait:
                coming = scheduled_time
                break
            if not _may_be_deleted(snapshot, cronjob, scheduled_time):
                times.append(MissedRun(scheduled_time, _reason(snapshot, cronjob, scheduled_time)))
        until = scheduled_time
    return _evaluated(status.missed_since, until, times, coming + wait if coming else None)


def _evaluated(before: datetime | None, until: datetime, times: list[MissedRun | StartedRun], next_due: datetime | None) -> MissedRuns:
    """Return the result of an evaluation. Missed runs after which one has started already are no change: they are over."""
    since, first, started = before, None, None
    for each in times:
        if isinstance(each, StartedRun):
            since, first, started = None, None, each
        elif since is None and not each.is_expected:
            since, first = each.time, each
    change = first or (started if before and since is None else None)
    return MissedRuns(until, tuple(each for each in times if isinstance(each, MissedRun)), since, change, next_due)


def _cronjob(snapshot: Snapshot) -> _CronJob | None:
    """Return the CronJob, or None if it does not exist or its schedule is invalid."""
    live = snapshot.objects.get("CronJob")
    if live is None or not owned_by(live, snapshot.refresh.metadata.uid):
        return None
    try:
        cronjob = _CronJob.model_validate(live)
        cron.parse(cronjob.spec.schedule, cronjob.spec.time_zone)
    except (ValueError, LookupError):
        return None
    return cronjob


def _scheduled_times(schedule: cron.Schedule, first: datetime, last: datetime) -> Iterator[tuple[datetime, bool]]:
    """Yield the scheduled times after `first` up to `last`; the flag is false for times that the clock change skips."""
    for scheduled_time, exists in merge(
        ((each, True) for each in schedule.runs_after(first)), ((each, False) for each in schedule.gaps(first, last))
    ):
        if scheduled_time > last:
            return
        yield scheduled_time.astimezone(UTC), exists


def _times_of_runs(snapshot: Snapshot) -> set[datetime]:
    """Return the scheduled times of all known runs."""
    status = snapshot.refresh.status
    names = (*(job.metadata.name for job in snapshot.jobs), *(run.id for run in status.active), *(run.id for run in status.history))
    return {scheduled_time for name in names if (scheduled_time := scheduled_time_of(name))}


def _may_be_deleted(snapshot: Snapshot, cronjob: _CronJob, scheduled_time: datetime) -> bool:
    """Return whether the run's Job may have been deleted already: the CronJob keeps only the newest Jobs."""
    if cronjob.status.last_schedule_time is None or cronjob.status.last_schedule_time < scheduled_time:
        return False
    newer = [job.end.type for job in snapshot.jobs if job.end and job.metadata.creation_timestamp > scheduled_time]
    return max(newer.count("Complete"), newer.count("Failed")) >= HISTORY_LIMIT


def _reason(snapshot: Snapshot, cronjob: _CronJob, scheduled_time: datetime) -> MissedReason:
    if cronjob.spec.suspend:
        return MissedReason.SUSPENDED
    status = snapshot.refresh.status
    active_then = any(active.start_time < scheduled_time for active in status.active)
    overlapped = any(run.start_time and run.start_time < scheduled_time <= run.completion_time for run in status.history)
    return MissedReason.PREVIOUS_STILL_RUNNING if active_then or overlapped else MissedReason.CONTROLLER_DOWN
