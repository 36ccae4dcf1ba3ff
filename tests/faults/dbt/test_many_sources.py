"""Every mart equals the truth for many seeds, sizes from one record up, and days at the ends of months and years."""

from __future__ import annotations

from datetime import date
from itertools import cycle, islice

import pytest

from integration.dbt.comparing import MARTS, differences, found
from refresh_examples.embedded import EmbeddedPostgres
from refresh_examples.load import load
from refresh_examples.sources import Sources
from refresh_examples.truth import truth
from support.dbt_project import Dbt
from support.postgres import Database

MADE = date(2026, 6, 30)
"""Last day of the source data; `as_of` may be earlier."""
SIZES = (1, 5, 40, 300, 2_500)
DAYS = (MADE, date(2026, 6, 29), date(2026, 1, 1), date(2025, 12, 31), date(2024, 2, 29), date(2024, 3, 1), date(2023, 7, 15))
SEEDS = range(100, 135)
"""One seed for each pair of a size and a day."""
CASES = list(zip(SEEDS, islice(cycle(SIZES), len(SEEDS)), islice(cycle(DAYS), len(SEEDS)), strict=True))


@pytest.fixture(scope="module")
def database(postgres: EmbeddedPostgres) -> Database:
    """One database for all cases; sources are replaced and models rebuilt."""
    return Database(postgres, postgres.access.database)


@pytest.mark.parametrize(("seed", "rows", "as_of"), CASES)
def test_every_mart_equals_the_truth(dbt: Dbt, database: Database, seed: int, rows: int, as_of: date) -> None:
    """The truth is computed in Python, independent of the SQL."""
    sources = Sources(rows, seed, MADE)
    variables = {"as_of": as_of.isoformat()}
    with database.connect() as connection:
        load(connection, sources)
    dbt.succeed(database, "run", variables=variables)
    expected = truth(sources.tables(), as_of)
    assert expected.keys() == MARTS.keys()
    wrong = {mart: differences(lines, found(database, mart)) for mart, lines in expected.items()}
    assert not any(wrong.values()), {mart: said[:5] for mart, said in wrong.items() if said}


def test_the_cases_are_many(database: Database) -> None:
    """The control: every size met every day, and the last case has rows, so that not everything was empty."""
    assert len({(rows, as_of) for _, rows, as_of in CASES}) == len(SIZES) * len(DAYS)
    assert database.rows("select count(*) > 0 from dwh_marts_operationnel.mart_emplois_crees") == [(True,)]
