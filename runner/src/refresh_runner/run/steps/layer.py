"""Executes a layer: dbt builds its models."""

from __future__ import annotations

from dataclasses import dataclass

from refresh_runner.model.step_results import StepResult, conclude_layer, with_command_error
from refresh_runner.model.steps import LayerStep
from refresh_runner.run.services import AttemptContext
from refresh_runner.run.steps import dbt_command
from refresh_runner.run.steps.base import StepExecutor


@dataclass(frozen=True)
class LayerExecutor(StepExecutor):
    """Builds the models of a layer."""

    step: LayerStep
    context: AttemptContext

    def before(self) -> None:
        """Run on-run-start before the first layer."""
        self.context.begin_hooks()

    def execute(self) -> StepResult:
        """Build the models, with retries."""
        label = self.context.plan.label(self.step.name)
        result = dbt_command.with_retries(self.context, self.step, self.context.services.dbt.run)
        return with_command_error(conclude_layer(result.nodes, label), result.error, label)
