"""Cached statements of data tests: on what two rehearsals must agree, and what each run fills in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from refresh_runner.dbt.test_templates import RenderContext, agreed

ONE = RenderContext("entrepot", "2000-01-31", {})
OTHER = RenderContext("another", "2031-12-01", {'"another"."marts"."mart_a"': '"another"."marts__next"."mart_a"'})
RUN = RenderContext("warehouse", "2026-11-25", {'"warehouse"."marts"."mart_a"': '"warehouse"."marts__next"."mart_a"'})
PLAIN_ONE = RenderContext("entrepot", "2000-01-31", {})
PLAIN_OTHER = RenderContext("another", "2031-12-01", {"another.marts.Mart_a": "another.marts__next.Mart_a"})
PLAIN_RUN = RenderContext("warehouse", "2026-11-25", {"warehouse.marts.Mart_a": "warehouse.marts__next.Mart_a"})


def _kept(ones: str, others: str) -> str | None:
    return agreed(ONE, {"test.a": ones}, OTHER, {"test.a": others}).get("test.a")


def test_a_statement_is_filled_with_what_is_the_runs_own() -> None:
    """The database, the date, and the staging relation of a mart."""
    kept = _kept(
        """select 1 from "entrepot"."marts"."mart_a" where jour < date '2000-01-31'""",
        """select 1 from "another"."marts__next"."mart_a" where jour < date '2031-12-01'""",
    )
    assert kept is not None
    assert RUN.render(kept) == """select 1 from "warehouse"."marts__next"."mart_a" where jour < date '2026-11-25'"""
    assert replace(RUN, staged={}).render(kept) == """select 1 from "warehouse"."marts"."mart_a" where jour < date '2026-11-25'"""


def test_names_without_quotes_are_whole_names() -> None:
    """A name that is the beginning or end of another one is not replaced in it; neither is a text that only looks like the database."""
    text = (
        "select {0}.a from {1}.marts{2}.Mart_a, {1}.marts.Mart_ab, {1}.marts.Mart_a_b, x.{0}.marts.Mart_a, {0}_x.marts.t where y = 'marts'"
    )
    ones, others = text.format("t", "entrepot", ""), text.format("t", "another", "__next")
    kept = agreed(PLAIN_ONE, {"test.a": ones}, PLAIN_OTHER, {"test.a": others})["test.a"]
    assert PLAIN_RUN.render(kept) == text.format("t", "warehouse", "__next")
    assert replace(PLAIN_RUN, staged={}).render(kept) == text.format("t", "warehouse", "")


@pytest.mark.parametrize(
    ("ones", "others"),
    [
        pytest.param("select date '2000-01-31'", "select date '2000-01-31'", id="a date of its own that happens to be the rehearsal's"),
        pytest.param("select 2000", "select 2031", id="what is made from the date"),
        pytest.param("select * from t where s = 'marts'", "select * from t where s = 'marts__next'", id="a schema as a value"),
        pytest.param("select 'nobody'", "select 'somebody'", id="who is connected"),
        pytest.param(
            'select 1 from "entrepot"."entrepot"."t"', 'select 1 from "another"."entrepot"."t"', id="a schema named as the database"
        ),
    ],
)
def test_a_statement_that_differs_in_anything_else_is_not_kept(ones: str, others: str) -> None:
    """dbt then compiles it in each run."""
    assert _kept(ones, others) is None


def test_what_one_rehearsal_did_not_send_is_not_kept() -> None:
    """For example, because it sent two statements."""
    assert agreed(ONE, {"test.a": "select 1", "test.b": "select 2"}, OTHER, {"test.a": "select 1"}) == {"test.a": "select 1"}


@pytest.mark.parametrize(
    ("as_of", "plain"), [("2026-11-25", True), ("2026-11-25' or true --", False), ("current_date", False), ("", False)]
)
def test_only_a_plain_date_is_filled_in(as_of: str, plain: bool) -> None:
    """Users may set the variable, and templates may do anything with it."""
    assert replace(RUN, as_of=as_of).can_render is plain
