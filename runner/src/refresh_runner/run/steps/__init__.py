"""One executor for each kind of step."""

from contextlib import ExitStack

from refresh_runner.model.steps import CacheStep, LayerStep, SourcesStep, Step, TestsStep, ValidationStep
from refresh_runner.run.services import AttemptContext
from refresh_runner.run.steps.base import StepExecutor
from refresh_runner.run.steps.cache import CacheExecutor
from refresh_runner.run.steps.layer import LayerExecutor
from refresh_runner.run.steps.sources import SourcesExecutor
from refresh_runner.run.steps.tests import TestsExecutor
from refresh_runner.run.steps.validation import ValidationExecutor


def executor_of(step: Step, context: AttemptContext, until_reported: ExitStack) -> StepExecutor:
    """Return the executor of a step. Close `until_reported` once its result is recorded."""
    match step:
        case SourcesStep():
            return SourcesExecutor(step, context)
        case LayerStep():
            return LayerExecutor(step, context)
        case TestsStep():
            return TestsExecutor(step, context)
        case ValidationStep():
            return ValidationExecutor(step, context, until_reported)
        case CacheStep():
            return CacheExecutor(step, context)
