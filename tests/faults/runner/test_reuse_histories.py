"""Reuse in thousands of random histories of a warehouse, compared cell by cell with a build of the whole (an hour on two busy cores)."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from refresh_examples.embedded import EmbeddedPostgres
from support.postgres import create_database, drop_database
from support.reuse_histories import ACTIONS, OTHERS, Place, tell

COUNT = int(os.environ.get("HISTORIES", "5000"))
SEED = int(os.environ.get("HISTORIES_SEED") or random.randrange(1_000_000_000))
PARTS = 10
WORKERS = 2
_ENOUGH = 500
"""Histories in which each kind of action takes place."""


@pytest.fixture(scope="module")
def places(postgres: EmbeddedPostgres) -> Iterator[list[Place]]:
    """A database for each process that tells histories."""
    databases = [create_database(postgres, f"long_histories_{number}") for number in range(WORKERS)]
    yield [Place.of(database) for database in databases]
    for database in databases:
        drop_database(database)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(PARTS if COUNT >= PARTS else 1))
def test_thousands_of_histories_end_in_the_truth(places: list[Place], part: int) -> None:
    """HISTORIES says how many. The seed is printed: with HISTORIES_SEED set to that of a failure, HISTORIES=1 repeats it.

    Much must have been reused, and each kind of action must have taken place, or nothing was tested.
    """
    count = max(COUNT // PARTS, 1)
    seeds = range(SEED + part * count, SEED + (part + 1) * count)
    print(f"histories: {count} of {COUNT}, HISTORIES_SEED={SEED}")
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        told = list(pool.map(tell, places, [seeds[number::WORKERS] for number in range(WORKERS)]))
    assert not (failures := [each.failure for each in told if each.failure]), "\n\n".join(failures)
    runs, reused = sum(each.runs for each in told), sum(each.reused for each in told)
    happened = sum((each.happened for each in told), Counter[str]())
    print(f"{runs} runs, {reused} nodes reused; " + ", ".join(f"{name}: {happened[name]}" for name in (*ACTIONS, *OTHERS)))
    if count >= _ENOUGH:
        assert reused > runs / 2
        # PostgreSQL refuses to replace a table by a view, so that this one takes place in one of 150 histories.
        assert happened.keys() >= {*ACTIONS, *OTHERS} - {"another definition"}


BROKEN = {
    "what a node reads": ("refresh_runner.reuse.decision.changed_input", "", 0),
    "whether a table is as it was built": ("refresh_runner.reuse.contents.Contents.change_since", "", 0),
    "whether rows are the same": ("refresh_runner.reuse.contents.row_digest", "the same", 0),
    "which transactions wrote rows": ("refresh_runner.postgres.table_state._change", "", 0),
    "whether views are the same": ("refresh_runner.reuse.contents.view_digest", "the same", 110),
}
"""Parts of the proof, what stands in place of each, and a seed near which a history notices."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("proof", BROKEN)
def test_without_a_part_of_the_proof_histories_fail(places: list[Place], monkeypatch: pytest.MonkeyPatch, proof: str) -> None:
    """The control: each part of the proof is needed, and the histories above notice if it is missing.

    What only writers in the midst of a run show is in tests/integration/runner/test_reuse_histories.py.
    """
    where, value, first = BROKEN[proof]
    monkeypatch.setattr(where, lambda *_: value)
    assert tell(places[0], range(first, first + 100)).failure.startswith("HISTORIES_SEED=")
