"""Builds the page of one refresh: its schedule, conditions, runs, and the history of its steps and marts."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from statistics import median
from typing import Final

from refresh_api.model import Model, Time
from refresh_api.status import MartStatus, MissedReason, ProjectCheck, TestCounts
from refresh_page.kube.models import Refresh
from refresh_page.kube.previews import Preview
from refresh_page.runlog.models import MartRow, RefreshRows, RunLogState, StepRow
from refresh_page.views.affected import Affected
from refresh_page.views.conditions import ConditionView, condition_views
from refresh_page.views.overview import RefreshSummary, summary_of
from refresh_page.views.preview import PreviewSummary, preview_summaries
from refresh_page.views.run_models import RunSummary
from refresh_page.views.run_source import RunSource

_SUCCESSFUL: Final = frozenset({"Succeeded", "Warned"})
MAX_POINTS: Final = 40
"""Runs in a plot."""


class StepPoint(Model):
    """The duration of a step in one run."""

    run: str
    state: str
    seconds: float | None = None


class StepSeries(Model):
    """The durations of a step, oldest run first."""

    step: str
    median: float | None = None
    """Over the runs in which the step succeeded, in seconds."""
    points: tuple[StepPoint, ...] = ()


class MartPoint(Model):
    """The contents of a mart after one run."""

    run: str
    verdict: str
    rows: int | None = None
    null_share: float | None = None
    """The largest share of NULL among its key columns, between 0 and 1."""


class MartSeries(Model):
    """A mart over time, oldest run first."""

    relation: str
    points: tuple[MartPoint, ...] = ()


class MissedRuns(Model):
    """Scheduled times at which no run started."""

    count: int = 0
    last_time: Time | None = None
    last_reason: MissedReason | None = None


class ProjectCheckView(Model):
    """The last check of the repository for a new commit."""

    time: Time | None = None
    revision: str | None = None
    """The newest revision that a check has seen."""
    error: str | None = None
    """Why the last check has seen no revision; unset if it has."""


class RefreshDetail(Model):
    """The page of a refresh."""

    refresh: RefreshSummary
    schedule: str
    time_zone: str
    max_staleness: str | None = None
    project: str | None = None
    """What names its dbt project; unset for the project in the chart's image of the runner."""
    project_check: ProjectCheckView | None = None
    next_runs: tuple[str, ...] = ()
    conditions: tuple[ConditionView, ...] = ()
    missed: MissedRuns = MissedRuns()
    consecutive_failures: int = 0
    marts: tuple[MartStatus, ...] = ()
    tests: TestCounts | None = None
    runs: tuple[RunSummary, ...] = ()
    """Recency first."""
    steps: tuple[StepSeries, ...] = ()
    mart_series: tuple[MartSeries, ...] = ()
    previews: tuple[PreviewSummary, ...] = ()
    """Newest first."""
    affected: tuple[Affected, ...] = ()
    """Exposures of the dbt project that depend on outdated data."""
    log_state: RunLogState = RunLogState.NOT_CONFIGURED


def detail_of(
    refresh: Refresh, previews: Iterable[Preview], rows: RefreshRows | None, log_state: RunLogState, now: datetime
) -> RefreshDetail:
    """Return the page of a refresh; if `rows` is None, from the status alone."""
    status, spec, run = refresh.status, refresh.spec, refresh.status.run
    history = rows or RefreshRows()
    return RefreshDetail(
        refresh=summary_of(refresh, now),
        schedule=spec.schedule,
        time_zone=spec.time_zone,
        max_staleness=spec.freshness.max_staleness if spec.freshness else None,
        project=refresh.project or None,
        project_check=_project_check(status.project_check),
        next_runs=tuple(status.next_schedule_times),
        conditions=condition_views(status.conditions),
        missed=MissedRuns(count=status.missed_runs, last_time=status.last_missed_time, last_reason=status.last_missed_reason),
        consecutive_failures=status.consecutive_failures,
        marts=tuple(run.validation) if run else (),
        tests=run.tests if run else None,
        runs=RunSource(refresh).summaries(rows),
        steps=_step_series(history, {step.name: number for number, step in enumerate(run.steps)} if run else {}),
        mart_series=_mart_series(history),
        previews=preview_summaries(previews),
        log_state=log_state,
    )


def _project_check(check: ProjectCheck | None) -> ProjectCheckView | None:
    if check is None or check.last_check_time is None:
        return None
    return ProjectCheckView(time=check.last_check_time, revision=check.revision, error=check.error)


def _step_series(history: RefreshRows, positions: Mapping[str, int]) -> tuple[StepSeries, ...]:
    """Return a series for each step, in the order of the current plan (`positions`), or else of the run log."""
    by_run: dict[str, dict[str, StepRow]] = defaultdict(dict)
    for row in history.steps:
        by_run[row.run][row.step] = row
    runs = _plotted(history, by_run)
    order = {row.step: (positions.get(row.step, row.position), row.step) for row in history.steps}
    return tuple(_one_step_series(name, ((run, by_run[run].get(name)) for run in runs)) for name in sorted(order, key=order.__getitem__))


def _one_step_series(name: str, rows: Iterable[tuple[str, StepRow | None]]) -> StepSeries:
    points = tuple(StepPoint(run=run, state=row.state if row else "Pending", seconds=row.seconds if row else None) for run, row in rows)
    successful = [point.seconds for point in points if point.seconds is not None and point.state in _SUCCESSFUL]
    return StepSeries(step=name, median=median(successful) if successful else None, points=points)


def _mart_series(history: RefreshRows) -> tuple[MartSeries, ...]:
    by_run: dict[str, dict[str, MartRow]] = defaultdict(dict)
    for row in history.marts:
        by_run[row.run][row.relation] = row
    runs = _plotted(history, by_run)
    return tuple(
        MartSeries(relation=relation, points=tuple(_mart_point(run, by_run[run][relation]) for run in runs if relation in by_run[run]))
        for relation in sorted({row.relation for row in history.marts})
    )


def _plotted(history: RefreshRows, by_run: Mapping[str, object]) -> list[str]:
    """Return the last runs that have rows, oldest first."""
    return [run.run for run in reversed(history.runs) if run.run in by_run][-MAX_POINTS:]


def _mart_point(run: str, row: MartRow) -> MartPoint:
    share = max(row.nulls.values(), default=0) / row.rows if row.rows else None
    return MartPoint(run=run, verdict=row.verdict, rows=row.rows, null_share=share)
