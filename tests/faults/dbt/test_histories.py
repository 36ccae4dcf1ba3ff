"""Over many drawn histories of the sources the facts, made anew in part, stay what they would be if built whole."""

from __future__ import annotations

from random import Random

import pytest

from integration.dbt.histories import FACTS, append, drawn, files, lines, wrong
from integration.dbt.test_journals import DAY, JOURNALS, refresh
from refresh_examples.load import load
from refresh_examples.sources import Sources
from support.dbt_project import Dbt
from support.postgres import Database


@pytest.mark.parametrize("seed", range(8))
def test_a_history_ends_in_the_truth(dbt: Dbt, fresh_database: Database, seed: int) -> None:
    """After each of five sets of changes the marts equal the truth, the facts were not built whole, and a whole build changes no row."""
    draw = Random(seed)
    with fresh_database.connect() as connection:
        load(connection, Sources(700, seed, DAY.date()))
    dbt.succeed(fresh_database, "run", variables={"as_of": "2026-06-30"})
    for _ in range(5):
        with fresh_database.connect() as connection:
            for table in draw.sample(JOURNALS, 3):
                append(connection, table, drawn(draw, lines(fresh_database, table), draw.choice([1, 5, 40])))
        assert refresh(dbt, fresh_database) == set()
        assert wrong(fresh_database, DAY) == {}
    before, in_part = files(fresh_database), _rows(fresh_database)
    dbt.succeed(fresh_database, "run", "--full-refresh", "--select", "tag:facts", variables={"as_of": "2026-06-30"})
    assert not set(before.items()) & set(files(fresh_database).items())
    assert _rows(fresh_database) == in_part


def _rows(database: Database) -> dict[str, list[tuple[object, ...]]]:
    return {fact: database.rows(f"select * from dwh_facts.{fact} order by 1") for fact in FACTS}
