"""The interface of step executors."""

from __future__ import annotations

from abc import ABC, abstractmethod

from refresh_runner.model.step_results import StepResult


class StepExecutor(ABC):
    """Executes one step of one attempt."""

    def before(self) -> None:  # noqa: B027 - optional
        """Do what must happen before the step is shown as running. RunFailedError ends the attempt."""

    @abstractmethod
    def execute(self) -> StepResult:
        """Execute the step. RunFailedError ends the attempt."""

    def after(self, result: StepResult, /) -> None:  # noqa: B027 - optional
        """Do what happens after the result is recorded, and can no longer change it."""
