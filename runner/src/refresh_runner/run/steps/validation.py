"""Executes the step `validation`: counts the marts, gives verdicts, and publishes unless something has failed."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass, replace

from refresh_api.status import MartStatus, StepState, Verdict
from refresh_runner.core.errors import Failure, RunFailedError
from refresh_runner.model.step_results import StepResult, conclude_validation
from refresh_runner.model.steps import ValidationStep
from refresh_runner.postgres.blocking import HELD_BY
from refresh_runner.publish.options import PublishOptions
from refresh_runner.run.services import GRACE, AttemptContext
from refresh_runner.run.steps.base import StepExecutor
from refresh_runner.validation import counting
from refresh_runner.validation.checks import mart_status

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ValidationExecutor(StepExecutor):
    """Validates the marts and publishes them."""

    step: ValidationStep
    context: AttemptContext
    until_reported: ExitStack
    """Closed once the result is recorded. Until then cancellation is masked, because what is published must also be reported."""

    def execute(self) -> StepResult:
        """Validate and publish."""
        self.context.progress.step_started(self.step.name, 1)
        try:
            return self._validate()
        except RunFailedError as error:
            raise RunFailedError(self._with_blocker(error.failure), error.step) from error

    def after(self, _result: StepResult, /) -> None:
        """Vacuum the published marts."""
        self.context.marts.vacuum_analyze()

    def _validate(self) -> StepResult:
        context, marts = self.context, self.context.marts
        restored = None
        if context.plan.policy.is_rollback:
            # Counting the marts that are live again may take long, so cancellation is only masked during the rollback.
            with ExitStack() as committing:
                restored = marts.rollback(self._publish_options(committing))
        result = conclude_validation(self.step, self._verdicts(), context.plan.label(self.step.name))
        result = replace(result, marts=marts.mart_count)
        if restored:
            return replace(result, version=restored, message=f"{result.message}; {restored} is live again, and publishing is held")
        if result.failure or any(earlier.failure for earlier in context.progress.results.values()):
            return result
        rows = {mart.relation: mart.rows or 0 for mart in result.validation}
        try:
            return replace(result, version=marts.publish(rows, self._publish_options(self.until_reported)))
        except RunFailedError as error:
            failure = self._with_blocker(error.failure)
            return replace(result, state=StepState.FAILED, message=failure.message, failure=failure)

    def _publish_options(self, masked: ExitStack) -> PublishOptions:
        cancellation = self.context.services.cancellation
        return PublishOptions(
            self.context.time_for_statements(), lambda: masked.enter_context(cancellation.masked()), self.context.plan.vacuum
        )

    def _with_blocker(self, failure: Failure) -> Failure:
        """Add the session that blocks validation or publishing to a transient failure, unless its message already names it."""
        blocker = self.context.monitor.current_blocker
        if not failure.retryable or not blocker or HELD_BY in failure.message:
            return failure
        return replace(failure, message=f"{failure.message}; it waited for {blocker}")

    def _verdicts(self) -> list[MartStatus]:
        context, run_log = self.context, self.context.services.run_log
        found = []
        medians = run_log.median_rows() if any(check.max_row_count_change is not None for check in self.step.marts) else {}
        for check in self.step.marts:
            counts = counting.count(context.services.warehouse, context.marts.staged(check), context.time_left() + GRACE)
            status = mart_status(check, counts, self.step.as_of, medians.get(check.relation))
            run_log.record_mart(counts, status)
            level = logging.INFO if status.verdict is Verdict.VALID else logging.WARNING
            log.log(level, "%s %s: %s", status.relation, status.verdict, status.message or f"{status.rows} rows")
            found.append(status)
        return found
