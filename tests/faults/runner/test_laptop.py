"""The two sample refreshes on generated sources with the dashboard API: everything that `make run` promises."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from refresh_examples.embedded import EmbeddedPostgres
from refresh_examples.load import load
from refresh_examples.sources import Sources
from support.laptop import ROOT, SAMPLES, dashboard_api, runner
from support.postgres import Database, create_database

ENDPOINTS = ["implantation-suivi", "indemnisations", "emplois-crees", "creances-agees"]


@dataclass(frozen=True)
class Laptop:
    """A warehouse with sources but no models yet, and its API."""

    database: Database
    api: str
    workdir: Path

    def run(self, sample: str) -> subprocess.CompletedProcess[str]:
        """Run a sample as a user does."""
        places = ["--project", str(ROOT / "dbt_project"), "--workdir", str(self.workdir)]
        command = runner("run", str(SAMPLES / f"{sample}.yaml"), *places)
        env = {"PATH": "/usr/bin:/bin", "API_BASE_URL": self.api, **self.database.env}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)

    def summaries(self) -> list[str]:
        """Return the API's summaries as a dashboard requests them."""
        return [httpx.get(f"{self.api}/api/{name}/summary", trust_env=False, timeout=20).text for name in ENDPOINTS]


@pytest.fixture(scope="module")
def laptop(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """One laptop for all tests of this module, which depend on their order."""
    database = create_database(postgres, "laptop")
    with database.connect() as connection:
        load(connection, Sources(300, 1, datetime.now(UTC).date()))
    with dashboard_api(database.env) as address:
        yield Laptop(database, address, tmp_path_factory.mktemp("laptop"))


def test_phase2_before_main_says_which_refresh_to_run_first(laptop: Laptop):
    """Users run samples in any order; the message names the missing one, and nothing is built."""
    ran = laptop.run("phase2")
    assert ran.returncode == 1
    assert "fait_factures needs dwh_staging.stg_factures, which is not in the warehouse: run `main` once" in ran.stdout
    assert laptop.database.rows("select to_regclass('dwh_staging.stg_implantations')") == [(None,)]


def test_main_then_phase2_refresh_the_dashboards(laptop: Laptop):
    """4/4 marts, six steps, the log row, and four endpoints that serve new numbers at once instead of after five minutes."""
    assert laptop.run("main").returncode == 0
    first = laptop.run("phase2")
    assert first.returncode == 0, first.stdout
    assert [f"{number}/6" for number in range(1, 7) if f"{number}/6 " not in first.stdout] == []
    before = laptop.summaries()
    laptop.database.run("delete from sigeti.demandes_implantation where zone_id = 1; delete from sigeti.indemnisations where zone_id = 1;")
    laptop.database.run("delete from sigeti.emplois where zone_id = 1; delete from sigeti.factures where zone_id = 1;")
    assert laptop.summaries() == before
    assert laptop.run("phase2").returncode == 0
    assert [name for name, old, new in zip(ENDPOINTS, before, laptop.summaries(), strict=True) if json.loads(old) == json.loads(new)] == []
    rows = laptop.database.rows("select success, models_updated, notes from dbt_refresh_log order by refresh_id desc limit 2")
    assert rows == [(True, 4, "Phase 2 refresh - 4/4 marts validated")] * 2
