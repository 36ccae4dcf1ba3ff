"""The operator's figures, for Prometheus: made from the statuses at each request, so that a restart changes none of them."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from refresh_api.status import ConditionStatus, StepStatus
from refresh_api.values import duration
from refresh_operator.observability.work_metrics import OperatorMetrics
from refresh_operator.state.refresh import InvalidSpec, Refresh
from refresh_operator.status.conditions import condition_of

_LABELS = ["namespace", "refresh"]


def render(refreshes: Iterable[Refresh], now: datetime, works: bool = True, meters: OperatorMetrics | None = None) -> str:
    """Return all figures as Prometheus reads them; `works` is false for an operator that waits for the Lease."""
    registry = CollectorRegistry()
    registry.register(RefreshCollector(list(refreshes), now))
    Gauge("dashboardrefresh_operator_works", "Whether this operator holds the Lease, and keeps refreshes.", registry=registry).set(works)
    return (generate_latest(registry) + generate_latest((meters or OperatorMetrics()).registry)).decode()


class RefreshCollector(Collector):
    def __init__(self, refreshes: list[Refresh], now: datetime) -> None:
        self._refreshes = refreshes
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """One metric after the other, with a value a refresh that has one."""
        yield self._gauge("ready", "Whether the refresh is configured well (condition Ready).", _ready)
        yield self._gauge("suspended", "Whether scheduled runs are off.", lambda seen: float(seen.status.suspended_since is not None))
        yield self._gauge("suspended_since_timestamp_seconds", "Since when.", lambda seen: _seconds(seen.status.suspended_since))
        yield self._gauge("active_runs", "Runs under way.", lambda seen: float(len(seen.status.active)))
        yield self._gauge("last_run_success", "Whether the last finished run succeeded (with warnings, too).", _last_success)
        yield self._gauge(
            "last_success_timestamp_seconds", "When the last successful run ended.", lambda seen: _seconds(seen.status.last_success_time)
        )
        yield self._gauge("next_run_timestamp_seconds", "When the next scheduled run starts.", lambda seen: _seconds(seen.status.next_run))
        yield self._gauge("staleness_seconds", "Age of the data: time since the last successful run.", self._staleness)
        yield self._gauge("max_staleness_seconds", "How old the data may become (spec.freshness).", _max_staleness)
        yield self._gauge(
            "consecutive_failures", "Failed runs since the last successful one.", lambda seen: float(seen.status.consecutive_failures)
        )
        yield self._gauge("run_duration_seconds", "Duration of the last finished run.", _run_duration)
        missed = CounterMetricFamily("dashboardrefresh_missed_runs", "Slots of the schedule at which no run started.", labels=_LABELS)
        for seen in self._refreshes:
            missed.add_metric(_labels(seen), seen.status.missed_runs)
        yield missed
        yield self._steps()

    def _gauge(self, name: str, says: str, value: "Value") -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"dashboardrefresh_{name}", says, labels=_LABELS)
        for seen in self._refreshes:
            number = value(seen)
            if number is not None:
                family.add_metric(_labels(seen), number)
        return family

    def _staleness(self, seen: Refresh) -> float | None:
        success = seen.status.last_success_time
        return None if success is None else max(0.0, (self._now - success).total_seconds())

    def _steps(self) -> GaugeMetricFamily:
        says = "Duration of each step of the current or last run."
        family = GaugeMetricFamily("dashboardrefresh_step_duration_seconds", says, labels=[*_LABELS, "step"])
        for seen in self._refreshes:
            for step in seen.run.steps if seen.run else ():
                seconds = _step_seconds(step)
                if seconds is not None:
                    family.add_metric([*_labels(seen), step.name], seconds)
        return family


Value = Callable[[Refresh], float | None]


def _labels(seen: Refresh) -> list[str]:
    return [seen.ref.namespace, seen.ref.name]


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None


def _ready(seen: Refresh) -> float | None:
    found = condition_of(seen.status, "Ready")
    return float(found.status is ConditionStatus.TRUE) if found else None


def _last_success(seen: Refresh) -> float | None:
    found = condition_of(seen.status, "LastRunSucceeded")
    return None if found is None or found.status is ConditionStatus.UNKNOWN else float(found.status is ConditionStatus.TRUE)


def _max_staleness(seen: Refresh) -> float | None:
    if isinstance(seen.spec, InvalidSpec) or seen.spec.freshness is None:
        return None
    return duration(seen.spec.freshness.max_staleness).total_seconds()


def _run_duration(seen: Refresh) -> float | None:
    last = seen.status.last_run
    return (last.completion_time - last.start_time).total_seconds() if last and last.start_time else None


def _step_seconds(step: StepStatus) -> float | None:
    try:
        return duration(step.duration).total_seconds() if step.duration else None
    except ValueError:
        return 0.0  # under a second
