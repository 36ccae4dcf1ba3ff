"""Reuse in thousands of random histories of a warehouse, compared cell by cell with a build of the whole (an hour on one core)."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from refresh_examples.embedded import EmbeddedPostgres
from support.postgres import create_database, drop_database
from support.reuse_histories import ACTIONS, OTHERS, NodeShape, Step, Warehouse, check_history, shapes, steps

COUNT = int(os.environ.get("HISTORIES", "5000"))
SEED = int(os.environ.get("HISTORIES_SEED") or random.randrange(1_000_000))
PARTS = 10
UNHURRIED = settings(
    deadline=timedelta(minutes=5), suppress_health_check=list(HealthCheck), database=None, phases=[Phase.generate, Phase.shrink]
)


@pytest.fixture(scope="module")
def warehouse(postgres: EmbeddedPostgres) -> Iterator[Warehouse]:
    """A database for all histories, one after the other."""
    database = create_database(postgres, "long_histories")
    warehouse = Warehouse.open(database)
    yield warehouse
    warehouse.close()
    drop_database(database)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(PARTS))
def test_thousands_of_histories_end_in_the_truth(warehouse: Warehouse, part: int) -> None:
    """The seed is printed; HISTORIES_SEED repeats it, HISTORIES says how many. Much must have been reused, or nothing was tested."""
    runs, reused = warehouse.runs, warehouse.reused

    @seed(SEED + part)
    @settings(UNHURRIED, max_examples=COUNT // PARTS)
    @given(nodes=shapes(), story=steps())
    def histories(nodes: list[NodeShape], story: list[Step]) -> None:
        check_history(warehouse, nodes, story)

    print(f"histories: {COUNT // PARTS} of {COUNT}, HISTORIES_SEED={SEED}")
    histories()
    print(f"{warehouse.runs - runs} runs, {warehouse.reused - reused} nodes reused")
    assert warehouse.reused - reused > (warehouse.runs - runs) / 2
    print(", ".join(f"{name}: {warehouse.happened[name]}" for name in (*ACTIONS, *OTHERS)))
    assert all(warehouse.happened[name] for name in (*ACTIONS, *OTHERS)) or COUNT < 500


BROKEN = {
    "what a node reads": ("refresh_runner.reuse.decision.changed_input", lambda *_: ""),
    "whether a table is as it was built": ("refresh_runner.reuse.contents.Contents.change_since", lambda *_: ""),
    "whether rows are the same": ("refresh_runner.reuse.contents.row_digest", lambda *_: "the same"),
    "which transactions wrote rows": ("refresh_runner.postgres.table_state._change", lambda *_: ""),
}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("proof", BROKEN)
def test_without_a_part_of_the_proof_histories_fail(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, proof: str) -> None:
    """The control: each part of the proof is needed, and the histories above notice if it is missing.

    What only other writers in the midst of a run show is in tests/integration/runner/test_reuse_histories.py.
    """
    monkeypatch.setattr(*BROKEN[proof])

    @seed(SEED)
    @settings(UNHURRIED, max_examples=COUNT, phases=[Phase.generate])
    @given(nodes=shapes(), story=steps())
    def histories(nodes: list[NodeShape], story: list[Step]) -> None:
        check_history(warehouse, nodes, story)

    with pytest.raises(AssertionError):
        histories()
