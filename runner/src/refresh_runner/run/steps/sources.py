"""Executes the step `sources`: the freshness of the sources that the layers read."""

from __future__ import annotations

from dataclasses import dataclass

from refresh_runner.model.step_results import StepResult, conclude_sources, with_command_error
from refresh_runner.model.steps import SourcesStep
from refresh_runner.run.services import AttemptContext
from refresh_runner.run.steps import dbt_command
from refresh_runner.run.steps.base import StepExecutor


@dataclass(frozen=True)
class SourcesExecutor(StepExecutor):
    """Checks the freshness of sources, without retries, because a stale source stays stale."""

    step: SourcesStep
    context: AttemptContext

    def execute(self) -> StepResult:
        """Check the sources once."""
        context, name = self.context, self.step.name
        label = context.plan.label(name)
        context.progress.step_started(name, 1)
        result = dbt_command.execute(context, self.step, context.resolved.nodes[name], context.services.dbt.source_ages)
        return with_command_error(conclude_sources(self.step, result.nodes, label), result.error, label)
