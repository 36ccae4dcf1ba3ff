"""Builds the calendar: the scheduled runs of all refreshes in the next 24 hours, by warehouse, and which of them would overlap another run.

What will happen is inferred: each run is taken to last as long as usual, and to hold the warehouse lock from its scheduled time on.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import takewhile
from statistics import median
from typing import Final

from refresh_api import cron
from refresh_api.model import Model, Time, in_zone
from refresh_api.scheduled_time import STARTING_DEADLINE
from refresh_api.spec import LockPolicy
from refresh_api.status import GOOD, Phase
from refresh_api.values import duration
from refresh_page.kube.models import Refresh
from refresh_page.views.health import suspension
from refresh_page.views.overview import is_in_state, summary_of
from refresh_page.views.overview_query import OverviewQuery

SPAN: Final = timedelta(hours=24)
MAX_DAILY: Final = 96
"""Maximum runs a day that are shown one by one: one every quarter of an hour."""
_DAY: Final = timedelta(days=1)
_TICK_HOURS: Final = 3
_OFFSET_STEP: Final = timedelta(minutes=15)
"""Offsets of time zones from UTC are multiples of it."""
_DEFAULT_ZONE: Final = "Etc/UTC"


class Overlap(StrEnum):
    """What usually happens to a run that overlaps another one."""

    WAITS = "Waits"
    """It waits: for the warehouse lock, or for the end of the previous run of its refresh."""
    SKIPPED = "Skipped"
    """It is skipped: its `lock.policy` is Skip, or the other run takes longer than its `lock.waitTimeout`."""
    FAILS = "Fails"
    """It fails: its `lock.policy` is Fail."""
    MISSED = "Missed"
    """Kubernetes does not start it, since the previous run of its refresh is in progress for too long."""


class ComingRun(Model):
    """A scheduled run."""

    start: Time
    overlap: Overlap | None = None
    """Unset for a run that usually overlaps no other."""
    other: str | None = None
    """Namespace and name of the refresh whose run it overlaps."""
    seconds: float | None = None
    """Seconds from its start until that run usually ends."""


class CalendarRow(Model):
    """The coming runs of one refresh."""

    namespace: str
    name: str
    title: str
    time_zone: str
    usual_seconds: float | None = None
    """Median duration of the successful plain runs in the history; unset without any."""
    running_since: Time | None = None
    """Start of the run in progress."""
    runs: tuple[ComingRun, ...] = ()
    runs_per_day: int | None = None
    """Set if there are too many runs to show each of them."""
    suspended: bool = False
    resumes: Time | None = None
    """When scheduled runs resume by themselves."""
    blocked: bool = False
    """Whether it cannot run as configured; without runs if its schedule is not valid."""

    @property
    def overlaps(self) -> Counter[Overlap]:
        """The number of runs that overlap another one, by what happens to them."""
        return Counter(run.overlap for run in self.runs if run.overlap)


class CalendarWarehouse(Model):
    """Refreshes that connect by the same Secret: one of their runs builds at a time."""

    namespace: str
    secret: str
    """Name of the Secret; empty if the spec cannot be read."""
    rows: tuple[CalendarRow, ...]
    """In the order of their first run."""


class Tick(Model):
    """A label of the time axis."""

    share: float
    """Its place between the beginning (0) and the end (1)."""
    label: str


class Calendar(Model):
    """The next 24 hours."""

    begin: Time
    end: Time
    time_zone: str
    """Of the labels: that of most refreshes."""
    ticks: tuple[Tick, ...] = ()
    runs: int = 0
    overlaps: int = 0
    """Runs that overlap another one."""
    complete: bool
    """Whether all refreshes have been listed since the page started."""
    unreachable_since: Time | None = None
    """Since when the API server has not responded; unset while it does."""
    warehouses: tuple[CalendarWarehouse, ...] = ()
    """Those with runs that overlap others first, then by namespace and Secret."""


def calendar_of(
    refreshes: Iterable[Refresh], complete: bool, unreachable_since: datetime | None, now: datetime, query: OverviewQuery | None = None
) -> Calendar:
    """Return the calendar. Runs overlap those of all refreshes, also of those that the query leaves out."""
    query = query or OverviewQuery()
    by_warehouse: dict[tuple[str, str], list[Refresh]] = defaultdict(list)
    for each in refreshes:
        by_warehouse[each.ref.namespace, each.spec.warehouse.secret_ref.name].append(each)
    found = []
    for (namespace, secret), members in by_warehouse.items():
        if shown := [_is_shown(each, query, now) for each in members]:
            rows = [row for row, wanted in zip(_rows(members, now), shown, strict=True) if wanted]
            rows.sort(key=lambda row: (row.runs[0].start if row.runs else now + SPAN, row.title, row.name))
            found += [CalendarWarehouse(namespace=namespace, secret=secret, rows=tuple(rows))] if rows else []
    found.sort(key=lambda each: (not any(row.overlaps for row in each.rows), each.namespace, each.secret))
    zones = Counter(row.time_zone for each in found for row in each.rows)
    zone = zones.most_common(1)[0][0] if zones else _DEFAULT_ZONE
    return Calendar(
        begin=now,
        end=now + SPAN,
        time_zone=zone,
        ticks=_ticks(now, zone),
        runs=sum(len(row.runs) for each in found for row in each.rows),
        overlaps=sum(row.overlaps.total() for each in found for row in each.rows),
        complete=complete,
        unreachable_since=unreachable_since,
        warehouses=tuple(found),
    )


def _is_shown(refresh: Refresh, query: OverviewQuery, now: datetime) -> bool:
    return query.finds(refresh) and (query.state is None or is_in_state(summary_of(refresh, now), query.state))


def _ticks(now: datetime, zone: str) -> tuple[Tick, ...]:
    """Return labels at every third hour of the clock in the zone, also where clocks change in between."""
    first = now.replace(minute=0, second=0, microsecond=0)
    moments = (first + number * _OFFSET_STEP for number in range(SPAN // _OFFSET_STEP + 4))
    walls = ((moment, in_zone(moment, cron.zone_of(zone))) for moment in moments if now <= moment < now + SPAN)
    return tuple(
        Tick(share=round((moment - now) / SPAN, 4), label=f"{wall:%H:%M}")
        for moment, wall in walls
        if wall.minute == 0 and wall.hour % _TICK_HOURS == 0
    )


@dataclass(frozen=True)
class _Plan:
    """What is known of one refresh before its runs are put beside those of others."""

    refresh: Refresh
    usual: timedelta | None
    starts: tuple[datetime, ...] = ()
    runs_per_day: int | None = None
    is_valid: bool = True


def _plan(refresh: Refresh, now: datetime) -> _Plan:
    usual = _usual(refresh)
    line = cron.resolve(refresh.spec.schedule, str(refresh.ref))
    try:
        schedule = cron.parse(line, refresh.spec.time_zone)
    except (ValueError, LookupError):
        return _Plan(refresh, usual, is_valid=False)
    begin = now
    if suspension(refresh):
        if refresh.status.suspended_until is None:
            return _Plan(refresh, usual)
        begin = max(now, refresh.status.suspended_until)
    if (daily := len(schedule.hours) * len(schedule.minutes)) > MAX_DAILY:
        return _Plan(refresh, usual, runs_per_day=daily)
    first, last = now.astimezone(UTC).date(), (now + SPAN).astimezone(UTC).date()
    days = (first + number * _DAY for number in range((last - first).days + 1))
    starts = tuple(start for day in days for start in _starts(line, refresh.spec.time_zone, day) if begin < start <= now + SPAN)
    return _Plan(refresh, usual, starts)


@lru_cache(maxsize=8192)
def _starts(line: str, zone: str, day: date) -> tuple[datetime, ...]:
    """Return the runs of a day in UTC; cached, since every reader of the calendar asks for the same ones all day."""
    begin = datetime.combine(day, time(0), UTC)
    coming = cron.parse(line, zone).runs_after(begin - timedelta(seconds=1))
    return tuple(start.astimezone(UTC) for start in takewhile(lambda start: start < begin + _DAY, coming))


def _usual(refresh: Refresh) -> timedelta | None:
    """Return the median duration of the plain runs that succeeded, as scheduled ones are; None without any."""
    plain = (run for run in refresh.status.history if run.outcome in GOOD and not run.mode)
    lengths = [max(timedelta(), run.completion_time - run.start_time) for run in plain if run.start_time]
    return timedelta(seconds=median(each.total_seconds() for each in lengths)) if lengths else None


def _rows(members: Sequence[Refresh], now: datetime) -> list[CalendarRow]:
    """Return the rows of the refreshes of one warehouse, in the same order."""
    plans = [_plan(each, now) for each in members]
    runs = _Warehouse(plans, now).runs()
    return [_row(plan, tuple(runs[number])) for number, plan in enumerate(plans)]


def _row(plan: _Plan, runs: tuple[ComingRun, ...]) -> CalendarRow:
    refresh, status = plan.refresh, plan.refresh.status
    is_suspended = suspension(refresh) is not None
    return CalendarRow(
        namespace=refresh.ref.namespace,
        name=refresh.ref.name,
        title=refresh.title,
        time_zone=refresh.spec.time_zone if plan.is_valid else _DEFAULT_ZONE,
        usual_seconds=plan.usual.total_seconds() if plan.usual is not None else None,
        running_since=status.active[0].start_time if status.active else None,
        runs=runs,
        runs_per_day=plan.runs_per_day,
        suspended=is_suspended,
        resumes=status.suspended_until if is_suspended else None,
        blocked=not plan.is_valid or status.phase in (Phase.STALLED, Phase.BLOCKED),
    )


class _Warehouse:
    """Puts the runs of one warehouse one after the other, in the order of their scheduled times."""

    def __init__(self, plans: Sequence[_Plan], now: datetime) -> None:
        self._plans = plans
        self._ends: dict[int, datetime] = {}
        """The usual end of the last run of each refresh, by its number."""
        self._free_at, self._holder = now, -1
        for number, plan in enumerate(plans):
            if plan.refresh.status.active:
                self._hold(number, min(now, plan.refresh.status.active[0].start_time))

    def runs(self) -> dict[int, list[ComingRun]]:
        """Return the runs of each refresh, by its number."""
        found: dict[int, list[ComingRun]] = {number: [] for number in range(len(self._plans))}
        for start, number in sorted((start, number) for number, plan in enumerate(self._plans) for start in plan.starts):
            found[number].append(self._run(start, number))
        return found

    def _run(self, start: datetime, number: int) -> ComingRun:
        begin = start
        own = self._ends.get(number, start)
        if own > start:
            if own - start > STARTING_DEADLINE:
                return self._overlapping(start, Overlap.MISSED, number, own)
            begin = own
        if self._free_at <= begin:
            self._hold(number, begin)
            return self._overlapping(start, Overlap.WAITS, number, own) if own > start else ComingRun(start=start)
        other, end = self._holder, self._free_at
        overlap = _overlap(self._plans[number].refresh, end - begin)
        if overlap is Overlap.WAITS:
            self._hold(number, end)
        return self._overlapping(start, overlap, other, end)

    def _overlapping(self, start: datetime, overlap: Overlap, other: int, end: datetime) -> ComingRun:
        seconds = (end - start).total_seconds()
        return ComingRun(start=start, overlap=overlap, other=str(self._plans[other].refresh.ref), seconds=seconds)

    def _hold(self, number: int, begin: datetime) -> None:
        """Let a run hold the warehouse for as long as usual."""
        # Whoever writes the status may have a wrong clock.
        end = begin + min(self._plans[number].usual or timedelta(), SPAN)
        self._ends[number] = end
        if end > self._free_at:
            self._free_at, self._holder = end, number


def _overlap(refresh: Refresh, wait: timedelta) -> Overlap:
    """Return what a run does that would have to wait for the lock for so long."""
    lock = refresh.spec.lock
    if lock.policy == LockPolicy.FAIL:
        return Overlap.FAILS
    try:
        longest = duration(lock.wait_timeout)
    except ValueError:
        return Overlap.WAITS  # the refresh is Stalled, which is shown
    return Overlap.SKIPPED if lock.policy == LockPolicy.SKIP or wait > longest else Overlap.WAITS
