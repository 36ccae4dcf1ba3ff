"""Facts built incrementally equal facts built in full, over many random histories of the sources. Some changes force a full build."""

from __future__ import annotations

from random import Random

import pytest

from integration.dbt.histories import FACTS, append, drawn, files, lines, wrong
from integration.dbt.test_journals import DAY, JOURNALS, built, refresh
from refresh_examples.load import load
from refresh_examples.sources import Sources
from support.dbt_project import Dbt
from support.postgres import Database

__all__ = ["built"]  # a fixture


@pytest.mark.parametrize("seed", range(8))
def test_a_history_ends_in_the_truth(dbt: Dbt, fresh_database: Database, seed: int) -> None:
    """After each of five sets of changes the marts equal the truth, facts were built incrementally, and a full build changes no row."""
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


def test_what_can_t_be_told_from_further_lines_is_built_whole(dbt: Dbt, built: Database) -> None:
    """An update in place, a deletion beside an insert, a reloaded table, another day, a view for a table: incremental would be wrong."""
    built.run("update sigeti.indemnisations set montant_du = montant_du + 1 where ctid = '(0,1)'")
    built.run(
        "insert into sigeti.emplois select * from sigeti.emplois where ctid = '(0,1)'; delete from sigeti.emplois where ctid = '(0,2)'"
    )
    built.run("create table other as table sigeti.paiements; truncate sigeti.paiements; insert into sigeti.paiements table other")
    assert refresh(dbt, built) == {"fait_indemnisations", "fait_emplois_crees", "fait_factures"}
    assert wrong(built, DAY) == {}
    earlier = DAY.replace(month=3)
    assert refresh(dbt, built, earlier) == set(FACTS)
    assert wrong(built, earlier) == {}
    built.run("alter table sigeti.emplois rename to registre; create view sigeti.emplois as table sigeti.registre")
    assert refresh(dbt, built, earlier) == {"fait_emplois_crees"}
    assert wrong(built, earlier) == {}


def _rows(database: Database) -> dict[str, list[tuple[object, ...]]]:
    return {fact: database.rows(f"select * from dwh_facts.{fact} order by 1") for fact in FACTS}
