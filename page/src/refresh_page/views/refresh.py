"""One refresh: its schedule, its runs, how long its steps take, what its marts hold, and what is to be said of it; pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from statistics import median
from typing import Final

from refresh_api.model import Model, Time
from refresh_api.status import FinishedRun, MartStatus, MissedReason, TestCounts
from refresh_page.kube.models import Refresh
from refresh_page.runlog.models import MartRow, RefreshRows, RunLogState, RunRow, StepRow
from refresh_page.views.conditions import ConditionView, condition_views
from refresh_page.views.overview import RefreshSummary, summary_of

_SUCCESSFUL: Final = frozenset({"Succeeded", "Warned"})
MAX_POINTS: Final = 40
"""Runs in a plot."""


class RunSummary(Model):
    """One run in the history."""

    run: str
    outcome: str | None = None
    """Unset while it is under way."""
    phase: str | None = None
    reason: str | None = None
    message: str | None = None
    trigger: str | None = None
    mode: str | None = None
    """Other than a plain refresh."""
    marts: str | None = None
    attempts: int = 1
    start_time: Time | None = None
    completion_time: Time | None = None
    seconds: float | None = None


class StepPoint(Model):
    """How long a step took in one run."""

    run: str
    state: str
    seconds: float | None = None


class StepSeries(Model):
    """How long a step took, oldest run first."""

    step: str
    median: float | None = None
    """Seconds, over the runs in which it succeeded."""
    points: tuple[StepPoint, ...] = ()


class MartPoint(Model):
    """What a mart held after one run."""

    run: str
    verdict: str
    rows: int | None = None
    null_share: float | None = None
    """The largest share of NULL among its keys, between 0 and 1."""


class MartSeries(Model):
    """A mart over time, oldest run first."""

    relation: str
    points: tuple[MartPoint, ...] = ()


class MissedRuns(Model):
    """Slots of the schedule at which no run started."""

    count: int = 0
    last_time: Time | None = None
    last_reason: MissedReason | None = None


class RefreshDetail(Model):
    """What the page of a refresh shows."""

    refresh: RefreshSummary
    schedule: str
    time_zone: str
    max_staleness: str | None = None
    next_runs: tuple[str, ...] = ()
    conditions: tuple[ConditionView, ...] = ()
    missed: MissedRuns = MissedRuns()
    consecutive_failures: int = 0
    marts: tuple[MartStatus, ...] = ()
    tests: TestCounts | None = None
    runs: tuple[RunSummary, ...] = ()
    """Newest first."""
    steps: tuple[StepSeries, ...] = ()
    mart_series: tuple[MartSeries, ...] = ()
    log_state: RunLogState = RunLogState.NOT_CONFIGURED


def detail_of(refresh: Refresh, past: RefreshRows | None, log_state: RunLogState, now: datetime) -> RefreshDetail:
    """Return the detail; without the log tables (`past` is None) from the status alone."""
    status, wanted = refresh.status, refresh.spec
    told = past or RefreshRows()
    run = status.run
    order = {name: number for number, name in enumerate(step.name for step in (run.steps if run else []))}
    return RefreshDetail(
        refresh=summary_of(refresh, now),
        schedule=wanted.schedule,
        time_zone=wanted.time_zone,
        max_staleness=wanted.freshness.max_staleness if wanted.freshness else None,
        next_runs=tuple(status.next_runs),
        conditions=condition_views(status.conditions),
        missed=MissedRuns(count=status.missed_runs, last_time=status.last_missed_time, last_reason=status.last_missed_reason),
        consecutive_failures=status.consecutive_failures,
        marts=tuple(run.validation) if run else (),
        tests=run.tests if run else None,
        runs=_runs(refresh, told),
        steps=_steps(told, order),
        mart_series=_marts(told),
        log_state=log_state,
    )


def run_line(run: FinishedRun) -> RunSummary:
    """Return a run of the status' history."""
    took = run.completion_time - run.start_time if run.start_time else None
    return RunSummary(
        run=run.id,
        outcome=run.outcome.value,
        reason=run.reason.value,
        message=run.message,
        trigger=run.trigger.value,
        mode=run.mode,
        marts=run.marts,
        attempts=run.attempts,
        start_time=run.start_time,
        completion_time=run.completion_time,
        seconds=took.total_seconds() if took is not None else None,
    )


def row_line(row: RunRow) -> RunSummary:
    """Return a run of the log tables."""
    return RunSummary(
        run=row.run,
        outcome=row.outcome,
        phase=row.phase,
        reason=row.reason,
        message=row.message,
        mode=row.mode if row.mode != "refresh" else None,
        marts=row.marts,
        attempts=row.attempt,
        start_time=row.started_at,
        completion_time=row.ended_at,
        seconds=(row.ended_at - row.started_at).total_seconds() if row.ended_at else None,
    )


def _runs(refresh: Refresh, past: RefreshRows) -> tuple[RunSummary, ...]:
    """Both sources together: the operator knows runs that died without a word, the log those of long ago."""
    found = {row.run: row_line(row) for row in past.runs}
    found |= {run.id: run_line(run) for run in refresh.status.history}
    for active in refresh.status.active:
        found[active.id] = RunSummary(
            run=active.id, phase="Running", trigger=active.trigger.value, mode=active.mode, start_time=active.start_time
        )
    return tuple(sorted(found.values(), key=_age, reverse=True))


def _age(run: RunSummary) -> datetime:
    moment = run.start_time or run.completion_time
    if moment is None:
        raise ValueError("a run without a time")
    return moment


def _steps(past: RefreshRows, order: Mapping[str, int]) -> tuple[StepSeries, ...]:
    of_run: dict[str, dict[str, StepRow]] = defaultdict(dict)
    for row in past.steps:
        of_run[row.run][row.step] = row
    runs = [run.run for run in reversed(past.runs) if run.run in of_run][-MAX_POINTS:]
    names = sorted({row.step: (order.get(row.step, row.position), row.step) for row in past.steps}.items(), key=lambda each: each[1])
    return tuple(_step_series(name, [(run, of_run[run].get(name)) for run in runs]) for name, _ in names)


def _step_series(name: str, rows: Iterable[tuple[str, StepRow | None]]) -> StepSeries:
    points = tuple(StepPoint(run=run, state=row.state if row else "Pending", seconds=row.seconds if row else None) for run, row in rows)
    good = [point.seconds for point in points if point.seconds is not None and point.state in _SUCCESSFUL]
    return StepSeries(step=name, median=median(good) if good else None, points=points)


def _marts(past: RefreshRows) -> tuple[MartSeries, ...]:
    of_run: dict[str, dict[str, MartRow]] = defaultdict(dict)
    for row in past.marts:
        of_run[row.run][row.relation] = row
    runs = [run.run for run in reversed(past.runs) if run.run in of_run][-MAX_POINTS:]
    relations = sorted({row.relation for row in past.marts})
    return tuple(
        MartSeries(
            relation=relation,
            points=tuple(_mart_point(run, of_run[run][relation]) for run in runs if relation in of_run[run]),
        )
        for relation in relations
    )


def _mart_point(run: str, row: MartRow) -> MartPoint:
    share = max(row.nulls.values(), default=0) / row.rows if row.rows else None
    return MartPoint(run=run, verdict=row.verdict, rows=row.rows, null_share=share)
