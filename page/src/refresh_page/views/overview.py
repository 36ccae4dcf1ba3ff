"""Builds the first page: a headline that can be read from across a room, and one row per refresh."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime
from functools import lru_cache
from typing import Final

from refresh_api.model import Model, Time
from refresh_api.status import FinishedRun, Outcome, RunPhase, StepState
from refresh_page.kube.models import Refresh
from refresh_page.views.health import Health, Tone, health_of, last_full_run, suspension
from refresh_page.views.overview_query import GroupKind, OverviewQuery, State

_MOST_URGENT_FIRST: Final = (Tone.BAD, Tone.WARN, Tone.NONE, Tone.GOOD)
_MAX_LABELS: Final = 50
"""Maximum number of labels that are offered for grouping."""
_TONES: Final = {State.STALE: Tone.BAD, State.ATTENTION: Tone.WARN, State.NO_DATA: Tone.NONE, State.FRESH: Tone.GOOD}
_FINISHED: Final = frozenset({StepState.SUCCEEDED, StepState.WARNED, StepState.FAILED, StepState.SKIPPED})


class RunProgress(Model):
    """A run in progress."""

    run: str
    step: str | None = None
    """For example 3/6 marts; unset before the first step."""
    phase: RunPhase | None = None
    """Unset until its runner has reported."""
    done: int = 0
    steps: int = 0
    attempt: int = 1
    attempts: int = 1
    start_time: Time | None = None


class RunBadge(Model):
    """One run in the strip of recent runs."""

    run: str
    outcome: Outcome
    reason: str
    completion_time: Time
    duration: str | None = None
    revision: str | None = None


class RefreshSummary(Model):
    """One refresh."""

    namespace: str
    name: str
    title: str
    health: Health
    last_run: RunBadge | None = None
    """The last run that was neither skipped nor partial."""
    marts: str | None = None
    running: RunProgress | None = None
    next_run: Time | None = None
    suspended: bool = False
    runs: tuple[RunBadge, ...] = ()
    """The recent runs, oldest first."""
    group: str = ""
    """The name of its group; empty without grouping, and for a refresh without a project of its own, or without the label."""


class Counts(Model):
    """The number of refreshes in each state."""

    total: int = 0
    good: int = 0
    warn: int = 0
    bad: int = 0
    none: int = 0
    running: int = 0


class Group(Model):
    """Refreshes that have the same project, namespace or value of a label."""

    name: str
    """Empty for refreshes without a project of their own, or without the label."""
    counts: Counts


class Overview(Model):
    """The first page."""

    tone: Tone
    counts: Counts
    """The refreshes that the search finds, in every state."""
    complete: bool
    """Whether all refreshes have been listed since the page started."""
    unreachable_since: Time | None = None
    """Since when the API server has not responded; unset while it does."""
    refreshes: tuple[RefreshSummary, ...] = ()
    """Those in the wanted state; refreshes of one group follow each other."""
    groups: tuple[Group, ...] = ()
    """The groups of these refreshes, in the same order; empty without grouping. They count refreshes in every state."""
    labels: tuple[str, ...] = ()
    """The keys of labels by which refreshes can be grouped."""


def overview_of(
    refreshes: Iterable[Refresh],
    complete: bool,
    unreachable_since: datetime | None,
    now: datetime,
    query: OverviewQuery | None = None,
) -> Overview:
    """Return the overview, most urgent groups and refreshes first, then by name and title. By default, it shows all refreshes ungrouped."""
    query, every = query or OverviewQuery(), tuple(refreshes)
    found = [summary_of(each, now, query.group_of(each)) for each in every if query.finds(each)]
    by_group: dict[str, list[RefreshSummary]] = defaultdict(list)
    for row in found:
        by_group[row.group].append(row)
    urgency = {name: _urgency(_most_urgent(rows)) for name, rows in by_group.items()}
    rows = sorted(
        (row for row in found if query.state is None or is_in_state(row, query.state)),
        # the group without a name is the last one of its urgency
        key=lambda row: (urgency[row.group], not row.group, row.group, _urgency(row.health.tone), row.title, row.namespace),
    )
    shown = dict.fromkeys(row.group for row in rows) if query.group is not GroupKind.NONE else {}
    return Overview(
        tone=_most_urgent(found),
        counts=_counts(found),
        complete=complete,
        unreachable_since=unreachable_since,
        refreshes=tuple(rows),
        groups=tuple(Group(name=name, counts=_counts(by_group[name])) for name in shown),
        labels=_labels(every),
    )


def is_in_state(row: RefreshSummary, state: State) -> bool:
    """Return whether a refresh is in a state."""
    if state is State.RUNNING:
        return row.running is not None
    if state is State.SUSPENDED:
        return row.suspended
    return row.health.tone is _TONES[state]


def _urgency(tone: Tone) -> int:
    return _MOST_URGENT_FIRST.index(tone)


def _most_urgent(rows: Iterable[RefreshSummary]) -> Tone:
    return min((row.health.tone for row in rows), key=_urgency, default=Tone.NONE)


def _counts(rows: Collection[RefreshSummary]) -> Counts:
    tones = Counter(row.health.tone for row in rows)
    return Counts(
        total=len(rows),
        running=sum(row.running is not None for row in rows),
        **{tone.value: tones[tone] for tone in Tone},
    )


def _labels(refreshes: Iterable[Refresh]) -> tuple[str, ...]:
    """Return the keys of the most common labels, by name."""
    common = Counter(key for each in refreshes for key in each.labels).most_common(_MAX_LABELS)
    return tuple(sorted(key for key, _ in common))


def summary_of(refresh: Refresh, now: datetime, group: str = "") -> RefreshSummary:
    """Return the row of one refresh."""
    status, last = refresh.status, last_full_run(refresh)
    return RefreshSummary(
        namespace=refresh.ref.namespace,
        name=refresh.ref.name,
        title=refresh.title,
        health=health_of(refresh, now),
        last_run=run_badge(last) if last else None,
        marts=last.marts if last else None,
        running=run_progress(refresh),
        next_run=status.next_schedule_time,
        suspended=suspension(refresh) is not None,
        runs=_run_badges(refresh),
        group=group,
    )


@lru_cache(maxsize=8192)
def _run_badges(refresh: Refresh) -> tuple[RunBadge, ...]:
    """Return the strip, cached per version of a refresh: ten runs of a thousand refreshes are most of the work of an overview."""
    return tuple(run_badge(run) for run in reversed(refresh.status.history))


def run_badge(run: FinishedRun) -> RunBadge:
    """Return a run of the strip."""
    return RunBadge(
        run=run.id,
        outcome=run.outcome,
        reason=run.reason.value,
        completion_time=run.completion_time,
        duration=run.duration,
        revision=run.revision,
    )


def run_progress(refresh: Refresh) -> RunProgress | None:
    """Return the oldest run in progress; None if no run is active."""
    status = refresh.status
    if not status.active:
        return None
    active, reported = status.active[0], status.run
    if reported is None or reported.id != active.id:
        return RunProgress(run=active.id, start_time=active.start_time)
    return RunProgress(
        run=active.id,
        step=reported.step,
        phase=reported.phase,
        done=sum(step.state in _FINISHED for step in reported.steps),
        steps=len(reported.steps),
        attempt=reported.attempt,
        attempts=reported.attempts,
        start_time=active.start_time,
    )
