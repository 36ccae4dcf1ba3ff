"""What a run's mode changes: the steps and models that the run skips, and what it publishes and records."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from refresh_api.run_request import ModeKind, RunMode
from refresh_api.spec import UnchangedPolicy
from refresh_runner.model.steps import CacheStep, LayerStep, Selection, SourcesStep, Step, TestsStep, ValidationStep


@dataclass(frozen=True)
class ModePolicy:
    """Answers every question about a run that depends on its mode."""

    mode: RunMode
    steps: Sequence[Step]
    unchanged_policy: UnchangedPolicy
    is_scheduled: bool
    """Whether a schedule, not a person, started the run."""

    @cached_property
    def skipped_steps(self) -> dict[str, str]:
        """The steps that the mode skips, by name, each with the reason."""
        names = [step.name for step in self.steps]
        match self.mode.kind:
            case ModeKind.FROM:
                skipped = names[: names.index(self.mode.of)]
            case ModeKind.ONLY:
                skipped = [name for name in names if name != self.mode.of]
            case ModeKind.NOTIFY:
                skipped = names
            case ModeKind.ROLLBACK:
                skipped = [step.name for step in self.steps if isinstance(step, SourcesStep | LayerStep | TestsStep)]
            case _:
                skipped = []
        return dict.fromkeys(skipped, f"left out by the run's mode {self.mode}")

    @property
    def model_selector(self) -> Selection | None:
        """The selector of the layers' models that the run builds; None for all."""
        return Selection(tuple(self.mode.of.split())) if self.mode.kind is ModeKind.SELECT else None

    @property
    def is_rollback(self) -> bool:
        """Whether the run publishes the previous version instead of building a new one."""
        return self.mode.kind is ModeKind.ROLLBACK

    @property
    def only_notifies(self) -> bool:
        """Whether the run only sends test messages."""
        return self.mode.kind is ModeKind.NOTIFY

    @property
    def is_plain(self) -> bool:
        """Whether the run has no special mode."""
        return self.mode.kind is ModeKind.REFRESH

    @property
    def needs_dbt(self) -> bool:
        """Whether any step of the run reads the dbt project."""
        return any(
            not isinstance(step, ValidationStep) and not (isinstance(step, CacheStep) and not step.from_exposures)
            for step in self._steps_to_run
        )

    @property
    def publishes(self) -> bool:
        """Whether the run builds marts and publishes them."""
        kinds = {type(step) for step in self._steps_to_run}
        return {LayerStep, ValidationStep} <= kinds

    @property
    def records_inputs(self) -> bool:
        """Whether the run records what it has read and built, so that a later run can detect that nothing has changed."""
        match self.unchanged_policy:
            case UnchangedPolicy.RUN:
                return False
            case UnchangedPolicy.SKIP:
                return self.is_plain
            case UnchangedPolicy.REUSE:
                return self.is_plain and all(step.reuses_verdicts for step in self.steps if isinstance(step, TestsStep))

    @property
    def may_skip_unchanged(self) -> bool:
        """Whether the run builds nothing if nothing has changed. A requested run always builds."""
        return self.records_inputs and self.is_scheduled

    @property
    def reuses_nodes(self) -> bool:
        """Whether the run decides for each node if its earlier result is reused, and records results for later runs."""
        return self.unchanged_policy is UnchangedPolicy.REUSE and self.needs_dbt

    @property
    def builds_all(self) -> bool:
        """Whether the run builds each node in any case."""
        return self.mode.kind is ModeKind.FULL_REFRESH

    @property
    def _steps_to_run(self) -> list[Step]:
        return [step for step in self.steps if step.name not in self.skipped_steps]
