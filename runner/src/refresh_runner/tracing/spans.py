"""The spans of one attempt of a run: of the attempt, of its steps, and of the nodes that dbt executed; pure.

Names and attributes follow OpenTelemetry's semantic conventions where they have one: db.*, error.type, k8s.*, server.*, service.*, vcs.*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from refresh_api.model import in_utc
from refresh_api.status import Outcome, Run, StepState
from refresh_runner.dbt.timings import TimedNode

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAME: Final = "refresh-runner"
_FAILED: Final = frozenset({"error", "fail", "runtime error"})
"""dbt's statuses of nodes that failed."""

Value = str | int | None


@dataclass(frozen=True)
class Warehouse:
    """The database in which nodes were executed."""

    host: str
    port: int
    database: str


@dataclass(frozen=True)
class TracedRun:
    """Everything that the spans of an attempt say."""

    namespace: str
    refresh: str
    uid: str
    run: Run
    steps: Mapping[str, tuple[datetime, datetime]]
    """When each step that ran started and ended, by name. The status has only seconds."""
    nodes: Sequence[TimedNode] = ()
    warehouse: Warehouse | None = None
    attributes: Mapping[str, str] | None = None
    """Attributes of the resource that the variables set."""
    product: str = "0"
    """Version of the runner."""
    redact: Callable[[str], str] = str

    @property
    def trace_id(self) -> int:
        """The id of the trace, derived from the run: the spans of all its attempts are in one trace."""
        return self._hash("", 16)

    def spans(self) -> Iterator[ReadableSpan]:
        """Yield the span of the attempt, and those of its steps and nodes."""
        yield self._of_attempt()
        yield from self._of_steps()
        for node in self.nodes:
            yield self._of_node(node)

    def _of_attempt(self) -> ReadableSpan:
        run = self.run
        # An attempt that another one follows has no outcome.
        failed = run.outcome is Outcome.FAILED or run.outcome is None
        attributes: dict[str, Value] = {
            "dashboard_refresh.run.id": run.id,
            "dashboard_refresh.run.attempt": run.attempt,
            "dashboard_refresh.run.attempts": run.attempts,
            "dashboard_refresh.run.outcome": run.outcome and run.outcome.value,
            "dashboard_refresh.run.reason": run.reason and run.reason.value,
            "dashboard_refresh.data_version": run.version,
            "vcs.ref.head.revision": run.revision,
        }
        error = (run.reason.value if run.reason else "_OTHER") if failed else None
        return self._span(f"run {self.refresh}", "attempt", run.start_time, run.completion_time or run.heartbeat_time, attributes, error)

    def _of_steps(self) -> Iterator[ReadableSpan]:
        for step in self.run.steps:
            if step.name in self.steps:
                attributes: dict[str, Value] = {
                    "dashboard_refresh.step.name": step.name,
                    "dashboard_refresh.step.state": step.state.value,
                    "dashboard_refresh.step.tries": step.tries,
                }
                error = step.state.value if step.state is StepState.FAILED else None
                yield self._span(f"step {step.name}", f"step/{step.name}", *self.steps[step.name], attributes, error, "attempt")

    def _of_node(self, node: TimedNode) -> ReadableSpan:
        attributes: dict[str, Value] = {
            "dbt.node.id": node.id,
            "dbt.node.resource_type": node.kind,
            "dbt.node.status": node.status,
            "dbt.node.rows_affected": node.rows,
            "db.collection.name": str(node.relation) if node.relation else None,
        }
        if self.warehouse:
            attributes |= {
                "db.system.name": "postgresql",
                "db.namespace": self.warehouse.database,
                "server.address": self.warehouse.host,
                "server.port": self.warehouse.port,
            }
        error = node.status if node.status in _FAILED else None
        begun = [(start, name) for name, (start, _) in self.steps.items() if start <= node.started]
        parent = f"step/{max(begun)[1]}" if begun else "attempt"
        return self._span(f"{node.kind} {node.name}", f"node/{node.id}", node.started, node.ended, attributes, error, parent)

    def _span(
        self,
        name: str,
        key: str,
        start: datetime,
        end: datetime,
        attributes: Mapping[str, Value],
        error: str | None,
        parent: str | None = None,
    ) -> ReadableSpan:
        told = {**attributes, "dashboard_refresh.name": self.refresh, "error.type": error}
        return ReadableSpan(
            name=self.redact(name),
            context=self._context(key),
            parent=self._context(parent) if parent else None,
            resource=self._resource(),
            attributes={key: self.redact(value) if isinstance(value, str) else value for key, value in told.items() if value is not None},
            status=Status(StatusCode.ERROR if error else StatusCode.UNSET, error),
            start_time=_nanoseconds(start),
            end_time=_nanoseconds(max(start, end)),
            instrumentation_scope=InstrumentationScope(_NAME, self.product),
        )

    def _resource(self) -> Resource:
        own = {
            "service.name": _NAME,
            "service.version": self.product,
            "k8s.namespace.name": self.namespace,
            **({"k8s.job.name": self.run.id, "k8s.pod.name": self.run.pod} if self.run.pod else {}),
        }
        return Resource({key: self.redact(value) for key, value in {**own, **(self.attributes or {})}.items()})

    def _context(self, key: str) -> SpanContext:
        # A pod that was interrupted is followed by one with the same number of the attempt.
        span = self._hash(f"{in_utc(self.run.start_time).isoformat()}/{self.run.attempt}/{key}", 8)
        return SpanContext(self.trace_id, span, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    def _hash(self, key: str, length: int) -> int:
        """Return a number of so many bytes, which is never 0."""
        whole = f"{self.uid}/{self.namespace}/{self.refresh}/{self.run.id}/{key}"
        return int.from_bytes(sha256(whole.encode()).digest()[:length], "big") or 1


def _nanoseconds(moment: datetime) -> int:
    return (in_utc(moment) - _EPOCH) // timedelta(microseconds=1) * 1000
