"""Selects the models that a run builds if its mode names some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from refresh_api.status import Reason
from refresh_runner.core.errors import Failure, RunFailedError
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.plan import Plan
from refresh_runner.model.step_results import Node


@dataclass(frozen=True)
class ModelSelection:
    """The models that a run's mode selects."""

    ids: frozenset[str] | None
    skip_reason: str
    """Why a layer with none of them is skipped."""

    @property
    def is_restricted(self) -> bool:
        """Whether the mode selects only some models."""
        return self.ids is not None

    def of(self, models: Sequence[Node]) -> tuple[Node, ...]:
        """Return those of these models that are selected."""
        return tuple(model for model in models if self.ids is None or model.id in self.ids)


def models_of_layers(plan: Plan, dbt: Dbt) -> list[Node]:
    """Return the models of all layers, in the order of the layers. Raise RunFailedError if a selector matches none."""
    return [model for layer in plan.layers for model in dbt.graph.models(layer.selection)]


def model_selection(plan: Plan, dbt: Dbt) -> ModelSelection:
    """Return the models that the plan's mode selects. Raise RunFailedError if no layer of the refresh builds any of them.

    Selected models of other refreshes are not built, because those refreshes would not know of the change.
    """
    if plan.policy.model_selector is None:
        return ModelSelection(None, "")
    requested = {model.id for model in dbt.graph.models(plan.policy.model_selector)}
    ours = {model.id for model in models_of_layers(plan, dbt)}
    if not requested & ours:
        message = f"{plan.mode}: selects no model that a layer of {plan.run_request.refresh.name} builds"
        raise RunFailedError(Failure(Reason.INVALID_RUN_REQUEST, message, hint="refresh-runner plan FILE says what the layers build"))
    return ModelSelection(frozenset(requested), f"left out by the run's mode {plan.mode}, which selects none of its models")
