"""Reuse in random histories of a warehouse, compared cell by cell with a build of the whole. The long version is in tests/faults."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings

from refresh_examples.embedded import EmbeddedPostgres
from refresh_runner.postgres.table_state import table_state
from support.postgres import create_database, drop_database
from support.reuse_histories import Action, NodeShape, Place, Step, Warehouse, check_history, shapes, steps


@pytest.fixture(scope="module")
def warehouse(postgres: EmbeddedPostgres) -> Iterator[Warehouse]:
    """A database for all histories, one after the other."""
    database = create_database(postgres, "histories")
    warehouse = Warehouse.open(Place.of(database))
    yield warehouse
    warehouse.close()
    drop_database(database)


@pytest.mark.slow
@settings(max_examples=25, deadline=timedelta(minutes=1), suppress_health_check=list(HealthCheck), derandomize=True)
@given(nodes=shapes(), story=steps())
def test_a_history_ends_in_the_truth(warehouse: Warehouse, nodes: list[NodeShape], story: list[Step]) -> None:
    """After any changes, writers beside the runs, failed and killed runs, a run leaves what a build of the whole would give."""
    check_history(warehouse, nodes, story)


CHAIN = [NodeShape("table", (0, 0), 0), NodeShape("table", (3, 0), 0)]
"""A table of a source, and a table of that table."""
BETWEEN = {
    "recording what was built": (
        Action("added by others", 0, 0, "built"),
        "refresh_runner.reuse.contents._written_whole",
        lambda connection, place, found, moment, _rows: table_state(connection, place, found, moment, None, with_counter=False)[0],
    ),
    "recording what was built, in all rows": (
        Action("written by others", 0, 0, "built"),
        "refresh_runner.reuse.contents._written_whole",
        lambda connection, place, found, moment, _rows: table_state(connection, place, found, moment, None, with_counter=False)[0],
    ),
    "observing a table and reading it": (
        Action("added by others", 0, 1, "decision"),
        "refresh_runner.reuse.contents.Contents.changed_since_observed",
        lambda *_: False,
    ),
}


def interrupted(warehouse: Warehouse, action: Action) -> None:
    """Have somebody else add a row in the midst of a run that builds both tables, and take it away after that run if it was read."""
    warehouse.begin(CHAIN)
    warehouse.run(Step((), (action,), (), "finished", 0, moves=False))
    if action.at == 1:
        warehouse.act(Action("and taken away", 0))
    warehouse.run()


@pytest.mark.parametrize("case", BETWEEN)
def test_a_writer_in_the_midst_of_a_run(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """What others write while a run builds is not taken for what the run has built or read. The control: it would be."""
    action, where, broken = BETWEEN[case]
    interrupted(warehouse, action)
    assert warehouse.wrong() == {}
    monkeypatch.setattr(where, broken)
    interrupted(warehouse, action)
    assert warehouse.wrong() != {}


def test_a_row_of_a_source_that_came_and_went_while_a_run_read_it(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source has the rows that the run observed before, and what was built of it has one more. The control: it would be reused."""

    def came_and_went() -> None:
        warehouse.begin(CHAIN)
        warehouse.run(Step((), (Action("a row comes", 0, 0, "decision"),), (), "finished", 0, moves=False))
        warehouse.act(Action("and goes", 0))
        warehouse.run()

    came_and_went()
    assert warehouse.wrong() == {}
    monkeypatch.setattr("refresh_runner.reuse.contents.write_count", lambda *_: 0)
    monkeypatch.setattr("refresh_runner.postgres.table_state.write_count", lambda *_: 0)
    came_and_went()
    assert warehouse.wrong().keys() == {"n0", "n1"}


def test_a_view_of_a_mart_shows_the_live_rows_until_the_publish(warehouse: Warehouse) -> None:
    """A test that reads such a view sees other rows than those that the run has built, so that its verdict is not kept with these."""
    warehouse.begin([NodeShape("mart", (0, 0), 0)])
    warehouse.run()
    warehouse.execute("create view dwh.of_mart as table dwh.n0")
    warehouse.tested = "dwh.of_mart"
    warehouse.run()
    warehouse.execute("update src.s0 set g = 0")
    warehouse.run()
    # Both assert that a verdict that is kept is what the test would find.
    warehouse.run()
    warehouse.run()


def test_a_view_that_others_replace_in_the_midst_of_a_run(warehouse: Warehouse) -> None:
    """What was built of it is built again, although the run after that finds the view as the project defines it."""
    warehouse.begin([NodeShape("view", (0, 0), 0), NodeShape("table", (3, 0), 0)])
    warehouse.run(Step((), (Action("another definition", 0, 1, "decision"),), (), "finished", 0, moves=False))
    warehouse.run()
    assert warehouse.wrong() == {}
