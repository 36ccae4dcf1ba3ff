"""Metrics for Prometheus: of each refresh, computed from its status at each scrape, and of the operator's own work."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from refresh_api.status import ConditionStatus, StepStatus
from refresh_api.values import duration
from refresh_operator.names import Ref
from refresh_operator.state.refresh import InvalidSpec, Refresh

_LABELS = ["namespace", "refresh"]
Value = Callable[[Refresh], float | None]
PreviewNumbers = Mapping[tuple[str, str, str], int]
"""Number of previews by namespace, refresh and state."""


class OperatorMetrics:
    """Counters of one operator process. They start at zero, as Prometheus expects."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._corrections = Counter(
            "dashboardrefresh_drift_corrections",
            "Managed objects whose drift was corrected since the operator started.",
            ["namespace", "refresh", "kind"],
            registry=self.registry,
        )
        self._durations = Histogram(
            "dashboardrefresh_reconcile_duration_seconds",
            "Duration of one reconciliation, including all writes.",
            registry=self.registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self._failures = Counter(
            "dashboardrefresh_reconcile_failures",
            "Failed reconciliations since the operator started; each is retried.",
            registry=self.registry,
        )
        self._previews = Counter(
            "dashboardrefresh_finished_previews",
            "Previews that have ended since the operator started, by their outcome: Same, Differs or Failed.",
            [*_LABELS, "outcome"],
            registry=self.registry,
        )
        self._preview_durations = Histogram(
            "dashboardrefresh_preview_duration_seconds",
            "Duration of previews that have ended since the operator started, from the creation of the Job.",
            _LABELS,
            registry=self.registry,
            buckets=(10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200),
        )
        self._kinds: dict[Ref, set[str]] = {}
        self._outcomes: dict[Ref, set[str]] = {}

    @contextmanager
    def time_reconcile(self) -> Iterator[None]:
        """Measure the duration of one reconciliation."""
        with self._durations.time():
            yield

    def count_failure(self) -> None:
        """Count a failed reconciliation."""
        self._failures.inc()

    def count_drift(self, ref: Ref, kind: str) -> None:
        """Count an object whose drift was corrected."""
        self._kinds.setdefault(ref, set()).add(kind)
        self._corrections.labels(ref.namespace, ref.name, kind).inc()

    def count_preview(self, refresh: Ref, outcome: str, seconds: float | None) -> None:
        """Count a preview of a refresh that has ended; without a Job, it has no duration."""
        self._outcomes.setdefault(refresh, set()).add(outcome)
        self._previews.labels(refresh.namespace, refresh.name, outcome).inc()
        if seconds is not None:
            self._preview_durations.labels(refresh.namespace, refresh.name).observe(seconds)

    def forget(self, ref: Ref) -> None:
        """Remove the counters of a deleted refresh."""
        for kind in self._kinds.pop(ref, ()):
            self._corrections.remove(ref.namespace, ref.name, kind)
        for outcome in self._outcomes.pop(ref, ()):
            self._previews.remove(ref.namespace, ref.name, outcome)
        self._preview_durations.remove(ref.namespace, ref.name)


def render(
    refreshes: Iterable[Refresh],
    now: datetime,
    works: bool = True,
    metrics: OperatorMetrics | None = None,
    previews: PreviewNumbers | None = None,
) -> str:
    """Return all metrics in the text format. `works` is False while the operator waits for the Lease."""
    registry = CollectorRegistry()
    registry.register(RefreshCollector(list(refreshes), now))
    numbers = Gauge("dashboardrefresh_previews", "Number of previews that exist, by state.", [*_LABELS, "state"], registry=registry)
    for of, number in (previews or {}).items():
        numbers.labels(*of).set(number)
    Gauge("dashboardrefresh_operator_works", "Whether this operator holds the Lease and reconciles refreshes.", registry=registry).set(
        works
    )
    return (generate_latest(registry) + generate_latest((metrics or OperatorMetrics()).registry)).decode()


class RefreshCollector(Collector):
    """Computes the metrics of all refreshes from their statuses, so that they survive a restart of the operator."""

    def __init__(self, refreshes: list[Refresh], now: datetime) -> None:
        self._refreshes = refreshes
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, each with one value for each refresh that has one."""
        for name, description, value in _GAUGES:
            yield self._gauge(name, description, value)
        yield self._gauge("staleness_seconds", "Age of the data: time since the last successful run.", self._staleness)
        missed = CounterMetricFamily("dashboardrefresh_missed_runs", "Scheduled times at which no run started.", labels=_LABELS)
        for refresh in self._refreshes:
            missed.add_metric(_labels(refresh), refresh.status.missed_runs)
        yield missed
        yield self._steps()
        yield self._nodes()
        yield self._projects()

    def _gauge(self, name: str, description: str, value: Value) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"dashboardrefresh_{name}", description, labels=_LABELS)
        for refresh in self._refreshes:
            number = value(refresh)
            if number is not None:
                family.add_metric(_labels(refresh), number)
        return family

    def _staleness(self, refresh: Refresh) -> float | None:
        success = refresh.status.last_success_time
        return None if success is None else max(0.0, (self._now - success).total_seconds())

    def _steps(self) -> GaugeMetricFamily:
        description = "Duration of each step of the current or last run."
        family = GaugeMetricFamily("dashboardrefresh_step_duration_seconds", description, labels=[*_LABELS, "step"])
        for refresh in self._refreshes:
            for step in refresh.run.steps if refresh.run else ():
                seconds = _step_seconds(step)
                if seconds is not None:
                    family.add_metric([*_labels(refresh), step.name], seconds)
        return family

    def _nodes(self) -> GaugeMetricFamily:
        description = "Models and tests of the current or last run, by result: built, unchanged (built with the same rows) or reused."
        family = GaugeMetricFamily("dashboardrefresh_nodes", description, labels=[*_LABELS, "step", "result"])
        for refresh in self._refreshes:
            for step in refresh.run.steps if refresh.run else ():
                if step.nodes:
                    counts = {
                        "built": step.nodes.built - step.nodes.unchanged,
                        "unchanged": step.nodes.unchanged,
                        "reused": step.nodes.reused,
                    }
                    for result, number in counts.items():
                        family.add_metric([*_labels(refresh), step.name, result], number)
        return family

    def _projects(self) -> GaugeMetricFamily:
        description = "The revision of the dbt project that the current or last run fetched, as a label; always 1."
        family = GaugeMetricFamily("dashboardrefresh_project_info", description, labels=[*_LABELS, "revision"])
        for refresh in self._refreshes:
            last = refresh.status.last_run
            revision = (refresh.run.revision if refresh.run else None) or (last.revision if last else None)
            if revision:
                family.add_metric([*_labels(refresh), revision], 1)
        return family


def _labels(refresh: Refresh) -> list[str]:
    return [refresh.ref.namespace, refresh.ref.name]


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None


def _ready(refresh: Refresh) -> float | None:
    found = refresh.status.condition("Ready")
    return float(found.status is ConditionStatus.TRUE) if found else None


def _last_success(refresh: Refresh) -> float | None:
    found = refresh.status.condition("LastRunSucceeded")
    return None if found is None or found.status is ConditionStatus.UNKNOWN else float(found.status is ConditionStatus.TRUE)


def _max_staleness(refresh: Refresh) -> float | None:
    if isinstance(refresh.spec, InvalidSpec) or refresh.spec.freshness is None:
        return None
    return duration(refresh.spec.freshness.max_staleness).total_seconds()


def _run_duration(refresh: Refresh) -> float | None:
    last = refresh.status.last_run
    return (last.completion_time - last.start_time).total_seconds() if last and last.start_time else None


def _step_seconds(step: StepStatus) -> float | None:
    try:
        return duration(step.duration).total_seconds() if step.duration else None
    except ValueError:
        return 0.0  # less than a second


_GAUGES: Final[tuple[tuple[str, str, Value], ...]] = (
    ("ready", "Whether the refresh is ready (condition Ready).", _ready),
    ("suspended", "Whether scheduled runs are suspended.", lambda each: float(each.status.suspended_since is not None)),
    (
        "suspended_since_timestamp_seconds",
        "Since when scheduled runs are suspended.",
        lambda each: _seconds(each.status.suspended_since),
    ),
    ("active_runs", "Number of active runs.", lambda each: float(len(each.status.active))),
    ("last_run_success", "Whether the last finished run succeeded, with or without warnings.", _last_success),
    ("last_success_timestamp_seconds", "When the last successful run finished.", lambda each: _seconds(each.status.last_success_time)),
    ("next_run_timestamp_seconds", "When the next scheduled run starts.", lambda each: _seconds(each.status.next_schedule_time)),
    ("max_staleness_seconds", "Maximum age of the data (spec.freshness).", _max_staleness),
    (
        "consecutive_failures",
        "Number of failed runs since the last successful one.",
        lambda each: float(each.status.consecutive_failures),
    ),
    ("run_duration_seconds", "Duration of the last finished run.", _run_duration),
)
