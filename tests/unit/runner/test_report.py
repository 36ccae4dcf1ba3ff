"""The outcome of a run, by the table of outcomes, and its messages."""

from dataclasses import dataclass, replace

import pytest

from refresh_api.run_request import ExitCode, RunMode
from refresh_api.spec import Publish
from refresh_api.status import EndpointStatus, MartStatus, Outcome, Reason, RunPhase, StepState, Verdict
from refresh_api.steps import FailurePolicy
from refresh_runner.core.errors import Failure
from refresh_runner.model.plan import Attempt
from refresh_runner.model.step_results import (
    Node,
    NodeResult,
    NodeState,
    StepResult,
    conclude_cache,
    conclude_layer,
    conclude_tests,
    conclude_validation,
)
from refresh_runner.model.steps import LayerStep, TestsStep, ValidationStep
from refresh_runner.report.outcome import Report, report_of
from support.plans import plan


def step(kind):
    return next(step for step in plan().steps if isinstance(step, kind))


def node(name: str) -> Node:
    return Node(f"model.sigeti.{name}", name)


def ok(*names: str) -> list[NodeResult]:
    return [NodeResult(node(name), NodeState.OK) for name in names]


def marts(*verdicts: Verdict, version: str | None = "phase2-1") -> StepResult:
    found = [MartStatus(relation=f"a.m{number}", verdict=verdict, message=None) for number, verdict in enumerate(verdicts)]
    return replace(conclude_validation(step(ValidationStep), found, "5/6 validation"), version=version)


UNPUBLISHED = marts(*[Verdict.VALID] * 4, version=None)


def endpoints(state: StepState) -> StepResult:
    return conclude_cache([EndpointStatus(path="/a", state=state, message="answered 500")])


def checks(state: NodeState, failure_policy: FailurePolicy = FailurePolicy.WARN) -> StepResult:
    return conclude_tests(
        replace(step(TestsStep), failure_policy=failure_policy), [NodeResult(node("t"), state, "Got 3 results")], "4/6 tests"
    )


def layers() -> dict[str, StepResult]:
    return {name: conclude_layer(ok("a", "b"), f"x {name}") for name in ("staging", "facts", "marts")}


WELL = {
    **layers(),
    "tests": checks(NodeState.OK),
    "validation": marts(*[Verdict.VALID] * 4),
    "cache": endpoints(StepState.SUCCEEDED),
}
BROKEN = conclude_layer([NodeResult(node("m"), NodeState.BROKEN, 'column "x" does not exist', "42703")], "3/6 marts")
SKIPPED = StepResult(StepState.SKIPPED)


@dataclass(frozen=True)
class Case:
    """A row of the table."""

    results: dict[str, StepResult]
    failure: Failure | None
    outcome: Outcome
    reason: Reason
    success: bool | None
    marts: str | None
    published: int = 0
    """Marts that readers see afterwards, with `publish: Swap`."""
    code: ExitCode = ExitCode.OK


UNREACHABLE = Failure(Reason.WAREHOUSE_UNREACHABLE, "no route", retryable=True)
TABLE = {
    "all well": Case(WELL, None, Outcome.SUCCEEDED, Reason.SUCCEEDED, True, "4/4", 4),
    "a P2 test fails, Warn": Case(
        WELL | {"tests": checks(NodeState.FAILED)}, None, Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS, True, "4/4", 4
    ),
    "a test errors, Warn": Case(
        WELL | {"tests": checks(NodeState.BROKEN)}, None, Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS, True, "4/4", 4
    ),
    "a test warns by its severity, Fail": Case(
        WELL | {"tests": checks(NodeState.WARNED, FailurePolicy.FAIL)}, None, Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS, True, "4/4", 4
    ),
    "a test fails, Fail": Case(
        WELL | {"tests": checks(NodeState.FAILED, FailurePolicy.FAIL), "validation": UNPUBLISHED, "cache": SKIPPED},
        None,
        Outcome.FAILED,
        Reason.TESTS_FAILED,
        False,
        "4/4",
        code=ExitCode.FAILED,
    ),
    "a mart WARNING": Case(
        WELL | {"validation": marts(Verdict.VALID, Verdict.WARNING, Verdict.VALID, Verdict.VALID)},
        None,
        Outcome.WARNED,
        Reason.SUCCEEDED_WITH_WARNINGS,
        True,
        "3/4",
        4,
    ),
    "a mart FAILED": Case(
        WELL | {"validation": marts(Verdict.VALID, Verdict.FAILED, Verdict.VALID, Verdict.VALID, version=None), "cache": SKIPPED},
        None,
        Outcome.FAILED,
        Reason.VALIDATION_FAILED,
        False,
        "3/4",
        code=ExitCode.FAILED,
    ),
    "a layer fails": Case(
        layers() | {"marts": BROKEN, "tests": SKIPPED, "validation": SKIPPED, "cache": SKIPPED},
        None,
        Outcome.FAILED,
        Reason.LAYER_FAILED,
        False,
        "0/4",
        code=ExitCode.FAILED,
    ),
    "the API is away": Case(
        WELL | {"cache": endpoints(StepState.WARNED)}, None, Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS, True, "4/4", 4
    ),
    "the warehouse is away": Case({}, UNREACHABLE, Outcome.FAILED, Reason.WAREHOUSE_UNREACHABLE, None, None, code=ExitCode.FAILED),
    "the lock is held too long": Case({}, Failure(Reason.LOCK_HELD, "held", skips_run=True), Outcome.SKIPPED, Reason.LOCK_HELD, None, None),
    "the lock is held, Fail": Case(
        {}, Failure(Reason.LOCK_HELD, "held"), Outcome.FAILED, Reason.LOCK_HELD, False, None, code=ExitCode.FAILED
    ),
}


@pytest.mark.parametrize("case", TABLE.values(), ids=TABLE.keys())
def test_the_table_of_outcomes(case: Case):
    """Outcome, reason, log row, valid marts and exit code of each row."""
    report = report_of(plan(), case.results, case.failure)
    assert (report.phase, report.outcome, report.reason) == (RunPhase.FINISHED, case.outcome, case.reason)
    assert (report.log_entry.success if report.log_entry else None) == case.success
    assert (report.log_entry.models_updated if report.log_entry else 0) == case.published
    assert (report.marts, report.exit_code) == (case.marts, case.code)


def test_marts_that_are_not_swapped_are_live_as_soon_as_they_are_built():
    """As in the old flow, whatever the results of the tests and the validation."""
    direct = replace(plan(), publish=Publish.DIRECT)
    entry = report_of(direct, TABLE["a test fails, Fail"].results, None).log_entry
    assert entry is not None
    assert (entry.success, entry.models_updated) == (False, 4)
    broken = report_of(direct, TABLE["a layer fails"].results, None).log_entry
    assert broken is not None
    assert broken.models_updated == 0


def test_a_roll_back_says_so():
    """In its reason and its row, and the restored marts are counted."""
    back = replace(plan(), mode=RunMode.parse("rollback"))
    left_out = dict.fromkeys(back.policy.skipped_steps, SKIPPED)
    report = report_of(back, left_out | {"validation": WELL["validation"], "cache": WELL["cache"]}, None)
    assert (report.outcome, report.reason, report.marts) == (Outcome.SUCCEEDED, Reason.ROLLED_BACK, "4/4")
    assert report.log_entry is not None
    assert (report.log_entry.models_updated, report.log_entry.notes) == (4, "Phase 2 refresh - 4/4 marts validated (rollback)")


def test_a_run_that_had_nothing_to_do_says_so():
    """It succeeds and reports no marts; with stale sources it succeeds with warnings."""
    left = dict.fromkeys(layers(), SKIPPED)
    report = report_of(plan(), left, None, "nothing has changed since phase2-0")
    assert (report.outcome, report.reason, report.marts) == (Outcome.SUCCEEDED, Reason.NOTHING_CHANGED, None)
    assert report.log_entry is not None
    assert (report.log_entry.success, report.log_entry.models_updated) == (True, 0)
    assert report.log_entry.notes.endswith("nothing has changed since phase2-0")
    first = next(iter(left))
    late = report_of(plan(), left | {first: StepResult(StepState.WARNED, "old")}, None, "nothing has changed since phase2-0")
    assert (late.outcome, late.reason) == (Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS)


def test_the_notes_are_those_of_the_old_flow():
    """Word for word, since users search for them."""
    report = report_of(plan(), WELL, None)
    assert report.log_entry is not None
    assert report.log_entry.notes == "Phase 2 refresh - 4/4 marts validated"
    assert (report.log_entry.models_updated, report.log_entry.run_id, report.log_entry.refresh) == (
        4,
        "phase2-1",
        "phase2-dashboards-refresh",
    )


def test_a_run_without_validation_counts_its_models():
    """The main pipeline validates nothing, but its row must say what was done."""
    report = report_of(plan(name="main"), {"models": conclude_layer(ok("a", "b", "c"), "1/2 models")}, None)
    assert report.log_entry is not None
    assert (report.log_entry.notes, report.log_entry.models_updated, report.marts) == ("Main refresh - 3 models built", 3, None)


def attempted(number: int, failure: Failure) -> Report:
    return report_of(plan(Attempt("phase2-1", number, of=3)), {}, failure)


def test_a_failure_that_can_pass_is_tried_again_until_the_last_attempt():
    """Until then no notification is sent and no row is written."""
    first, last = attempted(1, UNREACHABLE), attempted(3, UNREACHABLE)
    assert (first.phase, first.outcome, first.log_entry, first.exit_code) == (RunPhase.RETRYING, None, None, ExitCode.RETRY)
    assert (last.phase, last.outcome, last.exit_code) == (RunPhase.FINISHED, Outcome.FAILED, ExitCode.FAILED)


def test_a_failure_that_stays_is_final_at_once():
    """A broken model would fail again a minute later."""
    assert attempted(1, Failure(Reason.LAYER_FAILED, "broken")).exit_code is ExitCode.FAILED


def test_an_interrupted_attempt_costs_nothing():
    """Another attempt follows, even after the last one. It cannot know whether its Job has ended, so it writes a row."""
    report = attempted(3, Failure(Reason.INTERRUPTED, "interrupted by SIGTERM during 1/6 staging"))
    assert (report.phase, report.outcome, report.exit_code) == (RunPhase.INTERRUPTED, None, ExitCode.INTERRUPTED)
    assert report.log_entry is not None
    assert (report.log_entry.success, report.log_entry.models_updated) == (False, 0)
    assert report.log_entry.notes == "Phase 2 refresh - 0/4 marts validated (interrupted by SIGTERM during 1/6 staging)"
    unwritten = report.without_log_entry("cannot write dbt_refresh_log")
    assert (unwritten.outcome, unwritten.phase) == (None, RunPhase.INTERRUPTED)


def test_a_success_without_its_row_is_a_warning():
    """The marts are live, but the log has no row for them."""
    report = report_of(plan(), WELL, None).without_log_entry("cannot write dbt_refresh_log")
    assert (report.outcome, report.exit_code) == (Outcome.WARNED, ExitCode.OK)
    assert "cannot write dbt_refresh_log" in report.message


def test_a_failed_layer_names_step_model_and_error():
    """The person on call needs these first."""
    assert BROKEN.failure is not None
    assert BROKEN.failure.message == '3/6 marts: m: column "x" does not exist'
    assert step(LayerStep).name == "staging"
