"""Executes the step `tests`, and stores a sample of the failing rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import psycopg

from refresh_runner.model.step_results import Node, StepResult, conclude_tests, with_command_error
from refresh_runner.model.steps import TestsStep
from refresh_runner.run.cancellation import CancelledError, Cause
from refresh_runner.run.services import GRACE, AttemptContext
from refresh_runner.run.steps import dbt_command
from refresh_runner.run.steps.base import StepExecutor
from refresh_runner.validation.samples import MAX_LENGTH, Rows, SampleOptions, describe_error, sample

log = logging.getLogger(__name__)

_SAMPLE_TIMEOUT: Final = timedelta(seconds=30)
"""Timeout for all samples: the tests are finished, and samples are not worth a much longer run."""


@dataclass(frozen=True)
class TestsExecutor(StepExecutor):
    """Runs dbt's tests."""

    step: TestsStep
    context: AttemptContext

    def before(self) -> None:
        """Run on-run-start if no layer did."""
        self.context.begin_hooks()

    def execute(self) -> StepResult:
        """Run the tests, with retries."""
        label = self.context.plan.label(self.step.name)
        result = dbt_command.with_retries(self.context, self.step, self.context.services.dbt.test)
        return with_command_error(conclude_tests(self.step, result.nodes, label), result.error, label)

    def after(self, result: StepResult, /) -> None:
        """Store a sample of the failing rows."""
        if self.step.failed_rows_limit and result.tests_with_rows:
            self._store_samples(result.tests_with_rows)

    def _store_samples(self, tests: Sequence[Node]) -> None:
        """Store samples. A test whose rows cannot be read affects neither the other samples nor the run's result."""
        services = self.context.services
        limit = min(_SAMPLE_TIMEOUT, self.context.time_left() / 4)
        found: dict[str, Rows] = {}
        try:
            with services.cancellation.timeout(limit + GRACE, Cause.STEP_TIMEOUT):
                # On a separate connection: a query from the project could break the one that holds the warehouse lock.
                with closing(services.warehouse.new_connection("rows")) as connection:
                    self._sample(connection, tests, limit, found)
                services.cancellation.raise_if_cancelled()
        except CancelledError as cancelled:
            if cancelled.cause is not Cause.STEP_TIMEOUT:
                raise
            services.end_sessions()
        except Exception:
            log.warning("cannot sample the failing rows", exc_info=True)
        if without := [test.name for test in tests if not found.get(test.name)]:
            log.warning("no rows are stored for %s", ", ".join(without))
        services.run_log.store_failed_rows(found)

    def _sample(self, connection: psycopg.Connection, tests: Sequence[Node], limit: timedelta, found: dict[str, Rows]) -> None:
        services = self.context.services
        ends = services.clock.elapsed() + limit.total_seconds()
        statements = services.dbt.statements(tests, limit)
        for test in tests:
            left = timedelta(seconds=ends - services.clock.elapsed())
            if test.id not in statements or left <= timedelta(0) or sum(len(str(rows)) for rows in found.values()) > MAX_LENGTH:
                continue
            options = SampleOptions(self.step.failed_rows_limit, min(left, limit / 3), services.redact.longest)
            try:
                found[test.name] = sample(connection, statements[test.id], options)
            except psycopg.Error as error:
                log.warning("cannot sample the rows of %s: %s", test.name, describe_error(error))
