"""Every refresh on one page: the sentence that is read from across a room, and a line for each; pure."""

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
    """A run under way."""

    run: str
    step: str | None = None
    """For example 3/6 marts; unset until the first step."""
    phase: RunPhase | None = None
    """Unset until its runner has spoken."""
    done: int = 0
    steps: int = 0
    attempt: int = 1
    attempts: int = 1
    start_time: Time | None = None


class RunBadge(Model):
    """One run in the strip of the last runs."""

    run: str
    outcome: Outcome
    reason: str
    completion_time: Time
    duration: str | None = None


class RefreshSummary(Model):
    """One refresh."""

    namespace: str
    name: str
    title: str
    health: Health
    last_run: RunBadge | None = None
    """The last run that says something about the data."""
    marts: str | None = None
    running: RunProgress | None = None
    next_run: Time | None = None
    suspended: bool = False
    runs: tuple[RunBadge, ...] = ()
    """The last runs, oldest first."""


class Counts(Model):
    """How many refreshes are in which state."""

    total: int = 0
    good: int = 0
    warn: int = 0
    bad: int = 0
    none: int = 0
    running: int = 0


class Overview(Model):
    """What the first page shows."""

    tone: Tone
    counts: Counts
    complete: bool
    """Whether the cluster has told of everything since the page started."""
    unreachable_since: Time | None = None
    """Since when the cluster does not answer; what is shown is from before."""
    refreshes: tuple[RefreshSummary, ...] = ()


def overview_of(refreshes: Iterable[Refresh], complete: bool, silent_since: datetime | None, now: datetime) -> Overview:
    """Return the overview: what needs somebody first, then by name."""
    lines = sorted(
        (summary_of(each, now) for each in refreshes),
        key=lambda line: (_MOST_URGENT_FIRST.index(line.health.tone), line.title, line.namespace),
    )
    tones = [line.health.tone for line in lines]
    counts = Counts(
        total=len(lines),
        running=sum(line.running is not None for line in lines),
        **{tone.value: tones.count(tone) for tone in Tone},
    )
    tone = next((tone for tone in _MOST_URGENT_FIRST if tone in tones), Tone.NONE)
    return Overview(tone=tone, counts=counts, complete=complete, unreachable_since=silent_since, refreshes=tuple(lines))


def summary_of(refresh: Refresh, now: datetime) -> RefreshSummary:
    """Return the line of one refresh."""
    status, last = refresh.status, last_full_run(refresh)
    return RefreshSummary(
        namespace=refresh.ref.namespace,
        name=refresh.ref.name,
        title=refresh.title,
        health=health_of(refresh, now),
        last_run=run_badge(last) if last else None,
        marts=last.marts if last else None,
        running=run_progress(refresh),
        next_run=status.next_run,
        suspended=suspension(refresh) is not None,
        runs=_run_badges(refresh),
    )


@lru_cache(maxsize=8192)
def _run_badges(refresh: Refresh) -> tuple[RunBadge, ...]:
    """The strip, made once a version of a refresh: ten runs of a thousand refreshes are most of the overview's work."""
    return tuple(run_badge(run) for run in reversed(refresh.status.history))


def run_badge(run: FinishedRun) -> RunBadge:
    """Return a run for the strip."""
    return RunBadge(run=run.id, outcome=run.outcome, reason=run.reason.value, completion_time=run.completion_time, duration=run.duration)


def run_progress(refresh: Refresh) -> RunProgress | None:
    """Return the oldest run under way; None if there is none."""
    status = refresh.status
    if not status.active:
        return None
    active, told = status.active[0], status.run
    if told is None or told.id != active.id:
        return RunProgress(run=active.id, start_time=active.start_time)
    return RunProgress(
        run=active.id,
        step=told.step,
        phase=told.phase,
        done=sum(step.state in _FINISHED for step in told.steps),
        steps=len(told.steps),
        attempt=told.attempt,
        attempts=told.attempts,
        start_time=active.start_time,
    )
