"""Progress of a run: the single value from which the status, the terminal and the run log are written."""

import threading
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from refresh_api.redaction import Redactor
from refresh_api.status import (
    EndpointStatus,
    MartStatus,
    NotificationStatus,
    ProjectStatus,
    Run,
    RunPhase,
    StepState,
    StepStatus,
    TestCounts,
)
from refresh_api.values import duration_text
from refresh_runner.core.clock import Clock
from refresh_runner.model.plan import Plan
from refresh_runner.model.step_results import StepResult
from refresh_runner.report.outcome import Report

Listener = Callable[[Run], None]
Changes = Mapping[str, object]


class RunProgress:
    """Keeps the current `Run` and passes every change to its listeners.

    All texts of a run pass through here. Inputs are complete; texts in `run` are first redacted and then truncated.
    """

    def __init__(
        self, plan: Plan, clock: Clock, listeners: Sequence[Listener], redact: Redactor | None = None, project: ProjectStatus | None = None
    ) -> None:
        self._plan = plan
        self._clock = clock
        self._listeners = list(listeners)
        self._redact = redact or Redactor()
        self._lock = threading.Lock()
        self._steps = {step.name: StepStatus(name=step.name) for step in plan.steps}
        now = clock.now()
        self.results: dict[str, StepResult] = {}
        self.run = Run(
            id=plan.attempt.run_id,
            generation=plan.run_request.generation,
            phase=RunPhase.RUNNING,
            attempt=plan.attempt.number,
            attempts=plan.attempt.of,
            pod=plan.attempt.pod,
            project=project,
            start_time=now,
            heartbeat_time=now,
            steps=list(self._steps.values()),
        )

    def subscribe(self, listener: Listener) -> None:
        """Add a listener, which gets every later change."""
        self._listeners.append(listener)

    def waiting_for_lock(self, message: str) -> None:
        """Another run holds the warehouse."""
        self._change(phase=RunPhase.WAITING, message=self._redact.clipped(message))

    def lock_acquired(self) -> None:
        """This run holds the warehouse."""
        self._change(phase=RunPhase.RUNNING, message=None)

    def step_started(self, name: str, attempt: int) -> None:
        """A try of a step has begun."""
        before = self._steps[name]
        state = {"state": StepState.RUNNING, "tries": attempt, "start_time": before.start_time or self._clock.now()}
        self._change({name: state}, step=self._plan.label(name))

    def step_blocked(self, message: str) -> None:
        """Another session blocks the running step; an empty message means that it no longer does. Callable from any thread."""
        with self._lock:
            running = [name for name, step in self._steps.items() if step.state is StepState.RUNNING]
            self._publish({name: {"message": self._redact.clipped(message) or None} for name in running})

    def step_ended(self, name: str, result: StepResult) -> None:
        """A step has ended or has been skipped."""
        self.results[name] = result
        before = self._steps[name]
        took = self._clock.now() - before.start_time if before.start_time else None
        state = {
            "state": result.state,
            "duration": duration_text(took) if took else None,
            "message": self._redact.clipped(result.message) or None,
            "nodes": result.nodes,
        }
        found = {
            "validation": [self._mart(mart) for mart in result.validation] or self.run.validation,
            "tests": self._tests(result.tests) if result.tests else self.run.tests,
            "version": result.version or self.run.version,
            "endpoints": [self._endpoint(endpoint) for endpoint in result.endpoints] or self.run.endpoints,
        }
        self._change({name: state}, **found)

    def concluded(self, report: Report) -> None:
        """The attempt has ended. After a failure, the run keeps the name of its last step."""
        failed = report.outcome is None or report.is_failed
        self._change(
            phase=report.phase,
            completion_time=self._clock.now(),
            outcome=report.outcome,
            reason=report.reason,
            message=self._redact.clipped(report.message),
            marts=report.marts,
            step=self.run.step if failed else None,
        )

    def left_to_operator(self) -> None:
        """The operator notifies chats and mail."""
        self._change(left_to_operator=True)

    def notified(self, sent: Sequence[NotificationStatus]) -> None:
        """Notifications were sent, or could not be sent."""
        self._change(notifications=list(sent))

    def _mart(self, mart: MartStatus) -> MartStatus:
        return mart.model_copy(update={"message": self._text(mart.message)})

    def _tests(self, tests: TestCounts) -> TestCounts:
        return tests.model_copy(update={"failures": [self._redact.clipped(name) for name in tests.failures]})

    def _endpoint(self, endpoint: EndpointStatus) -> EndpointStatus:
        shown = {"path": self._redact.clipped(endpoint.path), "message": self._text(endpoint.message)}
        return endpoint.model_copy(update={**shown, "version": self._text(endpoint.version)})

    def _text(self, text: str | None) -> str | None:
        return None if text is None else self._redact.clipped(text)

    def _change(self, steps: Mapping[str, Changes] = MappingProxyType({}), **fields: object) -> None:
        with self._lock:
            self._publish(steps, **fields)

    def _publish(self, steps: Mapping[str, Changes], **fields: object) -> None:
        self._steps |= {name: self._steps[name].model_copy(update=changes) for name, changes in steps.items()}
        fields = {**fields, "steps": list(self._steps.values()), "heartbeat_time": self._clock.now()}
        self.run = self.run.model_copy(update=fields)
        for listener in self._listeners:
            listener(self.run)
