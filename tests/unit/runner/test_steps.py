"""Verdicts, retries and plans: the pure decisions inside a run."""

from decimal import Decimal

import pytest

from refresh_api.status import Verdict
from refresh_runner.plan import CacheStep, MartCheck, plan_for
from refresh_runner.steps import MartCounts, Node, NodeResult, NodeState, mart_status, unfinished
from support.plans import LAST, TODAY, order, plan

CHECK = MartCheck("dwh", "mart", ("zone_id", "mois"))
TENTH = Decimal("0.1")


def verdict(rows: int, nulls: int, limit: Decimal = TENTH) -> Verdict:
    return mart_status(CHECK, MartCounts(rows, {"zone_id": nulls, "mois": 0}), limit).verdict


@pytest.mark.parametrize(
    ("rows", "nulls", "expected"),
    [
        (10, 0, Verdict.VALID),
        (10, 1, Verdict.WARNING),
        (10_000, 999, Verdict.VALID),
        (10_000, 1_000, Verdict.WARNING),
        (10_000, 1_200, Verdict.WARNING),
        (3, 3, Verdict.WARNING),
        # A float's tenth of this is below the number of NULLs, the exact one is not.
        (9_007_199_254_740_993 * 10, 9_007_199_254_740_992, Verdict.VALID),
    ],
)
def test_exactly_ten_percent_is_a_warning_and_just_below_is_not(rows: int, nulls: int, expected: Verdict):
    """By integers, so that no rounding decides."""
    assert verdict(rows, nulls) is expected


def test_a_limit_of_zero_allows_no_null_and_wants_none():
    """No NULL is never too many."""
    assert verdict(10, 0, Decimal(0)) is Verdict.VALID
    assert verdict(10, 1, Decimal(0)) is Verdict.WARNING


def test_a_mart_without_rows_or_table_failed():
    """And says which of both."""
    empty = mart_status(CHECK, MartCounts(0, {"zone_id": 0, "mois": 0}), TENTH)
    gone = mart_status(CHECK, MartCounts(error="there is no such table"), TENTH)
    assert (empty.verdict, empty.rows, empty.message) == (Verdict.FAILED, 0, "it has no rows")
    assert (gone.verdict, gone.rows, gone.message) == (Verdict.FAILED, None, "there is no such table")


def test_a_share_below_the_limit_never_reads_as_the_limit():
    """9.9999 % is printed as 9.99 %."""
    status = mart_status(CHECK, MartCounts(1_000_000, {"zone_id": 99_999, "mois": 0}), TENTH)
    assert [share.share for share in status.null_shares] == ["9.99%", "0%"]


def result(name: str, state: NodeState, sqlstate: str | None = None) -> NodeResult:
    return NodeResult(Node(name, name, name), state, "", sqlstate)


def test_only_the_nodes_that_failed_are_tried_again():
    """And those that were skipped because of them."""
    results = [result("a", NodeState.OK), result("b", NodeState.BROKEN, "40P01"), result("c", NodeState.SKIPPED)]
    assert [node.name for node in unfinished(results)] == ["b", "c"]


def test_broken_sql_is_not_tried_again():
    """Not even beside an error that can pass: the step would fail all the same."""
    assert unfinished([result("a", NodeState.BROKEN, "42703"), result("b", NodeState.BROKEN, "40P01")]) == ()


def test_a_test_that_found_something_is_not_tried_again():
    """It would find the same."""
    assert unfinished([result("a", NodeState.FAILED)]) == ()


def test_phase2_is_six_steps():
    """As people count them."""
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
    """Receivables age by it."""
    assert plan().dbt.variables == {"as_of": "2026-11-23"}
    spec = order().spec
    dated = spec.model_copy(update={"dbt": spec.dbt.model_copy(update={"vars": {"as_of": "2025-01-01"}})})
    given = order().model_copy(update={"spec": dated})
    assert plan_for(given, LAST, TODAY).dbt.variables == {"as_of": "2025-01-01"}


def test_the_variable_api_base_url_goes_before_the_order():
    """On a laptop the API is elsewhere than in the cluster."""
    cache = plan_for(order(), LAST, TODAY, "http://localhost:9000/").steps[-1]
    assert isinstance(cache, CacheStep)
    assert cache.base_url == "http://localhost:9000"
