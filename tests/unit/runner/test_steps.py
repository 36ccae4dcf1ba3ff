"""Verdicts, retries and plans: pure decisions of a run."""

from dataclasses import replace

from refresh_api.status import NodeCounts, Reason, StepState
from refresh_api.steps import FailurePolicy
from refresh_runner.core.errors import Failure
from refresh_runner.model.plan import plan_for
from refresh_runner.model.step_results import (
    CommandError,
    Node,
    NodeResult,
    NodeState,
    StepResult,
    conclude_layer,
    conclude_tests,
    count_by_kind,
    nodes_to_retry,
    with_command_error,
)
from refresh_runner.model.steps import CacheStep, TestsStep
from support.plans import LAST, TODAY, plan, run_request


def result(name: str, state: NodeState, sqlstate: str | None = None) -> NodeResult:
    return NodeResult(Node(name, name), state, "", sqlstate)


def test_only_the_nodes_that_failed_are_tried_again():
    """Together with nodes that were skipped because of them."""
    results = [result("a", NodeState.OK), result("b", NodeState.BROKEN, "40P01"), result("c", NodeState.SKIPPED)]
    assert [node.name for node in nodes_to_retry(results)] == ["b", "c"]


def test_broken_sql_is_not_tried_again():
    """Even if another node has a transient error: the step would fail anyway."""
    assert nodes_to_retry([result("a", NodeState.BROKEN, "42703"), result("b", NodeState.BROKEN, "40P01")]) == ()


def test_a_test_that_found_something_is_not_tried_again():
    """It would fail again."""
    assert nodes_to_retry([result("a", NodeState.FAILED)]) == ()


def test_what_a_layer_has_built_is_counted_by_its_kind():
    """Seeds, snapshots and functions are not counted as models; nodes that an earlier attempt built are counted separately."""
    results = [result(id_, NodeState.OK) for id_ in ("model.p.a", "model.p.b", "seed.p.c", "snapshot.p.d", "function.p.e")]
    assert conclude_layer(results, "1/2 a").message == "2 models, 1 seed, 1 snapshot, 1 function built"
    kept = [replace(results[0], kept=True), *results[1:3]]
    assert conclude_layer(kept, "1/2 a").message == "1 model, 1 seed built, 1 kept from an earlier attempt"
    assert count_by_kind([]) == "0 models"


def test_what_a_step_has_built_and_reused_is_counted():
    """Kept nodes were built by the run; skipped ones were not. Models of the tests' step are none."""
    results = [result(id_, NodeState.OK) for id_ in ("model.p.a", "model.p.b", "model.p.c")]
    results = [replace(results[0], unchanged=True), results[1], replace(results[2], kept=True), result("model.p.d", NodeState.REUSED)]
    layer = conclude_layer(results, "1/2 a")
    assert layer.message == "2 models built, 1 of them unchanged, 1 kept from an earlier attempt, 1 reused"
    assert layer.nodes == layer.models == NodeCounts(built=3, unchanged=1, reused=1)
    states = (NodeState.OK, NodeState.FAILED, NodeState.REUSED, NodeState.SKIPPED)
    step = next(step for step in plan().steps if isinstance(step, TestsStep))
    tests = conclude_tests(step, [result(state.value, state) for state in states], "2/2 tests")
    assert (tests.nodes, tests.models) == (NodeCounts(built=2, reused=1), NodeCounts())


def test_phase2_is_six_steps():
    """As users count them."""
    steps = plan().steps
    assert [plan().label(step.name) for step in steps] == [
        "1/6 staging",
        "2/6 facts",
        "3/6 marts",
        "4/6 tests",
        "5/6 validation",
        "6/6 cache",
    ]


def test_the_runs_date_is_dbts_as_of_unless_the_order_names_one():
    """The age of receivables depends on it."""
    assert plan().dbt.variables == {"as_of": "2026-11-23"}
    spec = run_request().spec
    dated = spec.model_copy(update={"dbt": spec.dbt.model_copy(update={"vars": {"as_of": "2025-01-01"}})})
    given = run_request().model_copy(update={"spec": dated})
    assert plan_for(given, LAST, TODAY).dbt.variables == {"as_of": "2025-01-01"}


def test_the_variable_api_base_url_goes_before_the_run_request():
    """On a laptop, the API has another address than in the cluster."""
    cache = plan_for(run_request(), LAST, TODAY, "http://localhost:9000/").steps[-1]
    assert isinstance(cache, CacheStep)
    assert cache.base_url == "http://localhost:9000"


def test_a_command_that_failed_otherwise_fails_its_step():
    """Even if all nodes succeeded, or their failures are only warnings: it is unknown what else dbt has left undone."""
    step = next(step for step in plan().steps if isinstance(step, TestsStep))
    assert step.failure_policy is FailurePolicy.WARN
    warned = conclude_tests(step, [result("a", NodeState.FAILED)], "4/6 tests")
    assert warned.state is StepState.WARNED
    assert with_command_error(warned, None, "4/6 tests") is warned
    found = with_command_error(warned, CommandError("a warning is an error", retryable=True), "4/6 tests")
    assert (found.state, found.tests) == (StepState.FAILED, warned.tests)
    assert found.failure is not None
    assert (found.failure.reason, found.failure.message, found.failure.retryable) == (
        Reason.DBT_FAILED,
        "4/6 tests: a warning is an error",
        True,
    )


def test_a_step_that_failed_keeps_its_own_reason_and_one_that_gives_way_does_not():
    """A run is not skipped for stale sources if dbt could not check them."""
    own = StepResult.failed(Failure(Reason.LAYER_FAILED, "a: bad"))
    assert with_command_error(own, CommandError("more"), "1/6 staging") is own
    skips = StepResult(StepState.WARNED, "late", Failure(Reason.SOURCES_STALE, "late", skips_run=True))
    found = with_command_error(skips, CommandError("no connection"), "1/6 sources")
    assert found.failure is not None
    assert (found.failure.reason, found.failure.skips_run) == (Reason.DBT_FAILED, False)
