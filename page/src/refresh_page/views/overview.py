"""Builds the first page: a headline that can be read from across a room, and one row per refresh."""

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Final

from refresh_api.model import Model, Time
from refresh_api.status import FinishedRun, Outcome, RunPhase, StepState
from refresh_page.kube.models import Refresh
from refresh_page.views.health import Health, Tone, health_of, last_full_run, suspension

_MOST_URGENT_FIRST: Final = (Tone.BAD, Tone.WARN, Tone.NONE, Tone.GOOD)
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


class Counts(Model):
    """The number of refreshes in each state."""

    total: int = 0
    good: int = 0
    warn: int = 0
    bad: int = 0
    none: int = 0
    running: int = 0


class Overview(Model):
    """The first page."""

    tone: Tone
    counts: Counts
    complete: bool
    """Whether all refreshes have been listed since the page started."""
    unreachable_since: Time | None = None
    """Since when the API server has not responded; unset while it does."""
    refreshes: tuple[RefreshSummary, ...] = ()


def overview_of(refreshes: Iterable[Refresh], complete: bool, unreachable_since: datetime | None, now: datetime) -> Overview:
    """Return the overview, most urgent refreshes first, then by title."""
    rows = sorted(
        (summary_of(each, now) for each in refreshes),
        key=lambda row: (_MOST_URGENT_FIRST.index(row.health.tone), row.title, row.namespace),
    )
    tones = [row.health.tone for row in rows]
    counts = Counts(
        total=len(rows),
        running=sum(row.running is not None for row in rows),
        **{tone.value: tones.count(tone) for tone in Tone},
    )
    tone = next((tone for tone in _MOST_URGENT_FIRST if tone in tones), Tone.NONE)
    return Overview(tone=tone, counts=counts, complete=complete, unreachable_since=unreachable_since, refreshes=tuple(rows))


def summary_of(refresh: Refresh, now: datetime) -> RefreshSummary:
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
