"""The outcome of an attempt: phase, outcome, exit code and log row, determined from the results of its steps."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from refresh_api.notifications import NotifyWhen
from refresh_api.run_request import ExitCode
from refresh_api.spec import Publish
from refresh_api.status import GOOD, Outcome, Reason, RunPhase, StepState, Verdict
from refresh_runner.core.errors import Failure
from refresh_runner.model.plan import Plan
from refresh_runner.model.step_results import StepResult


@dataclass(frozen=True)
class LogEntry:
    """The row of a finished run in dbt_refresh_log."""

    success: bool
    models_updated: int
    notes: str
    refresh: str
    run_id: str


@dataclass(frozen=True)
class Report:
    """The end of one attempt."""

    phase: RunPhase
    outcome: Outcome | None
    """None if another attempt follows."""
    reason: Reason
    message: str
    hint: str
    marts: str | None
    """Valid marts and all marts, such as `4/5`; None if unknown."""
    exit_code: ExitCode
    log_entry: LogEntry | None
    """The row in dbt_refresh_log; None if another attempt certainly follows, or if no row can be written.

    An attempt that was interrupted by SIGTERM may be the last: its Job may have ended or been deleted. If another attempt follows, it
    overwrites the row.
    """

    @property
    def line(self) -> str:
        """The last line of the log."""
        ended = str(self.outcome or self.phase)
        return f"{ended}{f' ({self.reason})' if self.reason != ended else ''}: {self.message}"

    @property
    def is_failed(self) -> bool:
        """Whether the run has failed."""
        return self.outcome is Outcome.FAILED

    @property
    def notify_when(self) -> NotifyWhen | None:
        """Why people are notified of this run; None if they are not. The operator notifies of recoveries: it knows all earlier runs."""
        if self.outcome is Outcome.SUCCEEDED:
            return None if self.reason is Reason.NOTHING_CHANGED else NotifyWhen.SUCCEEDED
        return {Outcome.FAILED: NotifyWhen.FAILED, Outcome.WARNED: NotifyWhen.WARNED}.get(self.outcome) if self.outcome else None

    def without_log_entry(self, why: str) -> Self:
        """Return the report of a run whose row could not be written. A success becomes a warning."""
        message = f"{self.message}; {why}"
        if self.outcome not in GOOD:
            return replace(self, message=message)
        return replace(self, outcome=Outcome.WARNED, reason=Reason.SUCCEEDED_WITH_WARNINGS, message=message)


def report_of(
    plan: Plan, results: Mapping[str, StepResult], failure: Failure | None, unchanged: str | None = None, warning: str = ""
) -> Report:
    """Conclude an attempt from the results of its steps, the failure that ended it, or why it had nothing to do.

    `warning` says why a run ends as Warned even if all of its steps succeed; usually empty.
    """
    found = failure or next((result.failure for result in results.values() if result.failure), None)
    if found is None:
        return _succeeded(plan, results, unchanged, warning)
    if found.skips_run:
        return _report(plan, results, found, RunPhase.FINISHED, Outcome.SKIPPED, ExitCode.OK)
    if found.reason is Reason.INTERRUPTED:
        return _report(plan, results, found, RunPhase.INTERRUPTED, None, ExitCode.INTERRUPTED)
    if found.retryable and not plan.attempt.is_last:
        return _report(plan, results, found, RunPhase.RETRYING, None, ExitCode.RETRY)
    return _report(plan, results, found, RunPhase.FINISHED, Outcome.FAILED, ExitCode.FAILED)


def _succeeded(plan: Plan, results: Mapping[str, StepResult], unchanged: str | None, warning: str) -> Report:
    warned = [*([warning] if warning else []), *_warnings(plan, results)]
    valid = None if unchanged else _valid_marts(plan, results)
    if warned:
        outcome, reason, message = Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS, "; ".join(warned)
    elif unchanged:
        outcome, reason, message = Outcome.SUCCEEDED, Reason.NOTHING_CHANGED, unchanged
    else:
        outcome, reason = Outcome.SUCCEEDED, Reason.ROLLED_BACK if plan.policy.is_rollback else Reason.SUCCEEDED
        built = sum(result.models.built for result in results.values())
        done = [result for result in results.values() if result.state is StepState.SUCCEEDED]
        reused = sum(result.models.reused for result in results.values())
        further = [result.message for result in done if result.message and not result.models.built and not result.models.reused]
        models = [f"{built} models built"] if built else []
        models += [f"{reused} {'' if built else 'models '}reused"] if reused else []
        message = ", ".join([*models, *further])
    entry = _log_entry(plan, results, None, unchanged)
    return Report(RunPhase.FINISHED, outcome, reason, message, "", valid, ExitCode.OK, entry)


def _warnings(plan: Plan, results: Mapping[str, StepResult]) -> list[str]:
    return [f"{plan.label(name)}: {result.message}" for name, result in results.items() if result.state is StepState.WARNED]


def _report(
    plan: Plan, results: Mapping[str, StepResult], failure: Failure, phase: RunPhase, outcome: Outcome | None, code: ExitCode
) -> Report:
    unreachable = failure.reason is Reason.WAREHOUSE_UNREACHABLE
    may_be_over = outcome is Outcome.FAILED or phase is RunPhase.INTERRUPTED
    silent = unreachable or failure.skips_run or (failure.reason is Reason.LOCK_HELD)
    return Report(
        phase=phase,
        outcome=outcome,
        reason=failure.reason,
        message=failure.message,
        hint=failure.hint,
        marts=None if silent else _valid_marts(plan, results),
        exit_code=code,
        log_entry=_log_entry(plan, results, failure) if may_be_over and not unreachable else None,
    )


def _log_entry(plan: Plan, results: Mapping[str, StepResult], failure: Failure | None, unchanged: str | None = None) -> LogEntry:
    built = sum(result.models.built for result in results.values())
    if unchanged:
        updated, notes = 0, unchanged
    elif plan.mart_count:
        updated = _mart_count(plan, results) if are_live(plan, results) else 0
        notes = f"{_valid_marts(plan, results)} marts validated"
    else:
        updated = built
        notes = f"{built} models built"
    if not plan.policy.is_plain:
        notes += f" ({plan.mode})"
    if failure and failure.reason is Reason.INTERRUPTED:
        notes += f" ({failure.message})"
    return LogEntry(
        failure is None, updated, f"{plan.run_request.display_name} refresh - {notes}", plan.run_request.refresh.name, plan.attempt.run_id
    )


def are_live(plan: Plan, results: Mapping[str, StepResult]) -> bool:
    """Return whether the run's marts are live. With `publish: Direct`, they are live as soon as they are built."""
    if plan.publish is Publish.SWAP or plan.policy.is_rollback:
        return any(result.version for result in results.values())
    layers = [results[layer.name] for layer in plan.layers if layer.name in results]
    done = [layer for layer in layers if layer.state is not StepState.SKIPPED]
    return bool(done) and all(layer.state is StepState.SUCCEEDED for layer in done)


def _mart_count(plan: Plan, results: Mapping[str, StepResult]) -> int:
    return next((result.marts for result in results.values() if result.marts is not None), plan.mart_count)


def _valid_marts(plan: Plan, results: Mapping[str, StepResult]) -> str | None:
    if not plan.mart_count:
        return None
    verdicts = [mart.verdict for result in results.values() for mart in result.validation]
    return f"{verdicts.count(Verdict.VALID)}/{plan.mart_count}"
