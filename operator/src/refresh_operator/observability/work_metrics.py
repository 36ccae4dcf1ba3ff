"""What the operator counts of its own work; begins anew with each start, as Prometheus expects of counters."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram

from refresh_operator.names import Ref


class OperatorMetrics:
    """The counters of one operator."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._corrections = Counter(
            "dashboardrefresh_drift_corrections",
            "Objects of ours that were changed or deleted by hand, and put right, since the operator's start.",
            ["namespace", "refresh", "kind"],
            registry=self.registry,
        )
        self._looks = Histogram(
            "dashboardrefresh_reconcile_duration_seconds",
            "How long a look at one refresh took, with all that it wrote.",
            registry=self.registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self._failures = Counter(
            "dashboardrefresh_reconcile_failures",
            "Looks that failed and were tried again, since the operator's start.",
            registry=self.registry,
        )
        self._kinds: dict[Ref, set[str]] = {}

    @contextmanager
    def time_reconcile(self) -> Iterator[None]:
        """Measure one look."""
        with self._looks.time():
            yield

    def count_failure(self) -> None:
        """Count a look that failed."""
        self._failures.inc()

    def count_drift(self, ref: Ref, kind: str) -> None:
        """Count an object that was put right."""
        self._kinds.setdefault(ref, set()).add(kind)
        self._corrections.labels(ref.namespace, ref.name, kind).inc()

    def forget(self, ref: Ref) -> None:
        """Drop what was counted of a refresh that is gone."""
        for kind in self._kinds.pop(ref, ()):
            self._corrections.remove(ref.namespace, ref.name, kind)
