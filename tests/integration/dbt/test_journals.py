"""Incremental facts equal full builds: changes of the sources are found, or everything is built."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest

from refresh_examples.load import load
from refresh_examples.sources import Sources
from support.dbt_project import Dbt
from support.eventually import eventually
from support.postgres import Database

from .histories import FACTS, append, drawn, files, lines, wrong

DAY = datetime(2026, 6, 30, tzinfo=UTC)
JOURNALS = ("demandes_implantation", "indemnisations", "emplois", "factures", "paiements")


@pytest.fixture
def built(fresh_database: Database, dbt: Dbt) -> Database:
    """A database with 600 records per source and all models built."""
    database = fresh_database
    with database.connect() as connection:
        load(connection, Sources(600, 5, DAY.date()))
    dbt.succeed(database, "run", variables={"as_of": "2026-06-30"})
    return database


def refresh(dbt: Dbt, database: Database, day: datetime = DAY) -> set[str]:
    """Build facts and marts; return the facts that were built in full."""
    before = files(database)
    dbt.succeed(database, "run", "--select", "tag:facts", "tag:marts,tag:P2", variables={"as_of": day.date().isoformat()})
    after = files(database)
    return {fact for fact in FACTS if before[fact] != after[fact]}


@pytest.mark.slow
def test_only_what_has_further_lines_is_made_anew(dbt: Dbt, built: Database) -> None:
    """Lines of every kind, some from a transaction that began before the build and committed after it; then one is missed on purpose."""
    draw = Random(5)
    with built.connect() as slow, slow.transaction(), slow.transaction():
        append(slow, "factures", drawn(draw, lines(built, "factures"), 10))
        with built.connect() as connection:
            for table in JOURNALS:
                append(connection, table, drawn(draw, lines(built, table), 10))
        assert refresh(dbt, built) == set()
        assert wrong(built, DAY) == {}
    assert refresh(dbt, built) == set()
    assert wrong(built, DAY) == {}
    # Positive control: a line is deleted without the journal's knowledge.
    alone = "select emploi_id from sigeti.emplois group by 1 having count(*) = 1 and min(nb_crees) > 0 and count(deleted_at) = 0"
    built.run(f"delete from sigeti.emplois where emploi_id = (select min(emploi_id) from ({alone}) as records)")
    built.run("update dwh_facts.reperes set lignes = lignes - 1 where journal = 'stg_emplois_crees'")
    assert refresh(dbt, built) == set()
    assert set(wrong(built, DAY)) == {"mart_emplois_crees"}


def test_what_was_changed_is_no_longer_planned_as_if_a_vacuum_had_just_been(dbt: Dbt, built: Database) -> None:
    """PostgreSQL's statistics must know that pages changed, or it may read millions of rows by an index, one by one."""
    changed = "select relallvisible < relpages from pg_class where relpages > 0 and oid = 'dwh_facts.fait_emplois_crees'::regclass"

    def vacuumed() -> bool:
        built.run("vacuum dwh_facts.fait_emplois_crees")
        return built.rows(changed) == [(False,)]

    # While any session may see the state before the build, no page is all-visible.
    eventually(vacuumed, within=20)
    with built.connect() as connection:
        append(connection, "emplois", drawn(Random(5), lines(built, "emplois"), 10))
    assert refresh(dbt, built) == set()
    assert built.rows(changed) == [(True,)]


@pytest.mark.slow
def test_a_changed_model_or_view_is_built_whole(dbt: Dbt, built: Database) -> None:
    """Even with unchanged sources the facts must follow the changed definition."""
    due = "select count(*) from dwh_facts.fait_factures where date_echeance = date_emission + 31"
    model = dbt.manifest(built).nodes["model.sigeti.fait_factures"]
    before, code = built.rows(due), model.raw_code
    model.raw_code = code.replace("date_emission + 30", "date_emission + 31")
    try:
        assert refresh(dbt, built) == {"fait_factures"}
    finally:
        model.raw_code = code
    assert built.rows(due) > before
    assert refresh(dbt, built) == {"fait_factures"}
    view = "(select rtrim(pg_get_viewdef('dwh_staging.stg_emplois_crees'::regclass), '; '))"
    replaced = f"'create or replace view dwh_staging.stg_emplois_crees as select * from (' || {view} || ') as v where emploi_id % 2 = 0'"
    built.run(f"do $$ begin execute {replaced}; end $$")
    assert refresh(dbt, built) == {"fait_emplois_crees"}
    assert built.rows("select count(*) from dwh_facts.fait_emplois_crees where emploi_id % 2 = 1") == [(0,)]
    assert refresh(dbt, built) == set()
