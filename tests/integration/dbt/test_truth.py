"""Every mart equals, cell by cell, what plain Python computes from the same records."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal

import pytest

from refresh_examples.truth import truth
from support.dbt_project import Dbt
from support.postgres import create_database, drop_database

from .comparing import MARTS, differences, found
from .conftest import Refreshed

LAST = date(2026, 6, 30)
EARLIER = date(2026, 2, 28)
"""A day before the end of the generated data: later records must not be visible."""


@pytest.mark.parametrize(("seed", "rows", "as_of"), [(1, 2_000, LAST), (2, 2_000, EARLIER), (3, 60, LAST)])
def test_every_mart_equals_the_truth(refreshed: Callable[[int, int, date], Refreshed], seed: int, rows: int, as_of: date) -> None:
    """No row and no cell differs, whatever the seed, the size and the day."""
    case = refreshed(seed, rows, as_of)
    expected = truth(case.sources.tables(), as_of)
    assert expected.keys() == MARTS.keys()
    wrong = {mart: differences(rows_, found(case.database, mart)) for mart, rows_ in expected.items()}
    assert not any(wrong.values()), {mart: said[:5] for mart, said in wrong.items() if said}


def test_a_day_earlier_changes_the_marts(refreshed: Callable[[int, int, date], Refreshed]) -> None:
    """Positive control of `as_of`: the truth of another day differs."""
    case = refreshed(1, 2_000, LAST)
    expected = truth(case.sources.tables(), EARLIER)
    assert all(differences(rows, found(case.database, mart)) for mart, rows in expected.items())


def test_a_planted_error_is_caught(refreshed: Callable[[int, int, date], Refreshed], dbt: Dbt) -> None:
    """Positive control: a wrong amount, a lost row and a forgotten correction are found."""
    case = refreshed(3, 60, LAST)
    expected = truth(case.sources.tables(), LAST)
    database = create_database(case.database.server, "plante", template=case.database.name)
    database.run("update dwh_marts_operationnel.mart_indemnisations set montant_du = montant_du + 0.01 where ctid = '(0,1)'")
    database.run("delete from dwh_marts_operationnel.mart_emplois_crees where ctid = '(0,1)'")
    macro = "create or replace view dwh_staging.stg_factures as select distinct on (facture_id) facture_id, zone_id::integer as zone_id,"
    macro += " entreprise_id, date_emission, date_echeance, montant_ttc, updated_at from sigeti.factures order by facture_id, updated_at"
    database.run(macro)
    dbt.succeed(database, "run", "--select", "fait_factures", "mart_creances_agees", variables={"as_of": LAST.isoformat()})
    said = {mart: differences(expected[mart], found(database, mart)) for mart in MARTS}
    drop_database(database)
    assert len(said["mart_indemnisations"]) == 1
    assert len(said["mart_emplois_crees"]) == 1
    assert said["mart_creances_agees"]
    assert not said["mart_implantation_suivi"]


def test_the_generated_data_hold_what_real_data_hold(refreshed: Callable[[int, int, date], Refreshed]) -> None:
    """Duplicate, corrected, tied, withdrawn, restored, late and missing records are all among the lines."""
    database = refreshed(1, 2_000, LAST).database
    (counts,) = database.rows(
        """
        select count(*) filter (where n > 1),
               count(*) filter (where n > 1 and dates = 1),
               count(*) filter (where withdrawn = n),
               count(*) filter (where withdrawn > 0 and n > withdrawn + 1),
               count(*) filter (where late)
        from (
            select count(*) n, count(distinct updated_at) dates, count(deleted_at) withdrawn,
                   bool_or(updated_at > date_emission + interval '5 days') late
            from sigeti.factures group by facture_id
        ) x
        """
    )
    several, same_time, _, restored, late = counts
    assert Decimal(str(several)) > 50
    assert min(int(str(same_time)), int(str(restored)), int(str(late))) > 0
