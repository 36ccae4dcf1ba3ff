"""Generated source data built once per session by dbt, for all tests that only read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from refresh_examples.embedded import EmbeddedPostgres
from refresh_examples.load import load
from refresh_examples.sources import Sources
from support.dbt_project import Dbt
from support.postgres import Database, create_database


@dataclass(frozen=True)
class Refreshed:
    """A database with generated data and all models built as of a day."""

    database: Database
    sources: Sources
    as_of: date


@pytest.fixture(scope="session")
def dbt(tmp_path_factory: pytest.TempPathFactory) -> Dbt:
    """dbt with its profile, writing outside the project."""
    place: Path = tmp_path_factory.mktemp("dbt")
    return Dbt(place)


@pytest.fixture(scope="session")
def refreshed(postgres: EmbeddedPostgres, dbt: Dbt) -> Callable[[int, int, date], Refreshed]:
    """Return a function that gives data of a seed and size, built as of a day; each combination is built once."""
    made: dict[tuple[int, int, date], Refreshed] = {}

    def refresh(seed: int, rows: int, as_of: date) -> Refreshed:
        if (seed, rows, as_of) not in made:
            database = create_database(postgres, f"dwh_{seed}_{rows}_{as_of:%Y%m%d}")
            sources = Sources(rows, seed, date(2026, 6, 30))
            with database.connect() as connection:
                load(connection, sources)
            dbt.succeed(database, "run", variables={"as_of": as_of.isoformat()})
            made[seed, rows, as_of] = Refreshed(database, sources, as_of)
        return made[seed, rows, as_of]

    return refresh
