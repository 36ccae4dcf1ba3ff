"""The dashboard API serves the marts' numbers, caches them for five minutes, and reports what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

import httpx
import psycopg
import pytest

from refresh_examples.dashboard_api import LIFETIME, application
from refresh_examples.embedded import EmbeddedPostgres
from refresh_examples.summaries import DASHBOARDS, Dashboard
from support.postgres import Database, create_database, drop_database

from .conftest import Refreshed

NO_RESUME = {"Cache-Control": "no-cache"}


@dataclass
class Hands:
    """A clock in seconds that only the test moves."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Served:
    """The API on a database of this test."""

    client: httpx.AsyncClient
    database: Database
    clock: Hands


def serve(database: Database) -> Served:
    """Return the API on this database."""
    clock = Hands()
    transport = httpx.ASGITransport(application(lambda: psycopg.connect(database.dsn), clock))
    return Served(httpx.AsyncClient(transport=transport, base_url="http://api"), database, clock)


@pytest.fixture
def served(postgres: EmbeddedPostgres, refreshed: Callable[[int, int, date], Refreshed]) -> Iterator[Served]:
    """The API on a copy of refreshed data."""
    copy = create_database(postgres, "vitrine", template=refreshed(3, 60, date(2026, 6, 30)).database.name)
    yield serve(copy)
    drop_database(copy)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)
async def test_a_summary_adds_up_to_its_mart(served: Served, dashboard: Dashboard) -> None:
    """Rows and totals are the mart's, and every breakdown adds up to them."""
    said = (await served.client.get(f"/api/{dashboard.name}/summary")).json()
    sums = ", ".join(f"sum({measure})::float" for measure in dashboard.measures)
    (row,) = served.database.rows(f"select count(*), {sums} from {dashboard.schema}.{dashboard.mart}")
    assert (said["rows"], *said["totals"].values()) == pytest.approx(row)
    for breakdown in dashboard.breakdowns:
        assert sum(part["rows"] for part in said[breakdown]) == said["rows"]
        for measure in dashboard.measures:
            assert sum(part[measure] for part in said[breakdown]) == pytest.approx(said["totals"][measure])


async def test_a_summary_says_which_data_it_serves(served: Served) -> None:
    """The data version that was live when it was computed, also while it is cached; None before the first publish."""
    url = "/api/creances-agees/summary"
    assert "X-Data-Version" not in (await served.client.get(url)).headers
    served.database.run("""
        create table dbt_refresh_version (refresh text, version text, published_at timestamptz, marts jsonb);
        insert into dbt_refresh_version values ('phase2', 'run-7', now(), '{"dwh_marts_financier.mart_creances_agees": {}}');
    """)
    assert (await served.client.get(url, headers=NO_RESUME)).headers["X-Data-Version"] == "run-7"
    served.database.run("update dbt_refresh_version set version = 'run-8'")
    assert (await served.client.get(url)).headers["X-Data-Version"] == "run-7"
    assert (await served.client.get(url, headers=NO_RESUME)).headers["X-Data-Version"] == "run-8"


async def test_a_summary_is_kept_for_five_minutes(served: Served) -> None:
    """Changed data are visible after five minutes and not before."""
    url = "/api/creances-agees/summary"
    rows = (await served.client.get(url)).json()["rows"]
    served.database.run("delete from dwh_marts_financier.mart_creances_agees")
    served.clock.now = LIFETIME - 1
    kept = await served.client.get(url)
    assert (kept.json()["rows"], kept.headers["X-Cache"], kept.headers["Age"]) == (rows, "HIT", "299")
    served.clock.now = LIFETIME
    assert (await served.client.get(url)).json()["rows"] == 0


async def test_a_request_past_the_cache_renews_it_for_all(served: Served) -> None:
    """`Cache-Control: no-cache` recomputes the summary, and the next reader gets that one."""
    url = "/api/emplois-crees/summary"
    assert (await served.client.get(url)).json()["rows"] > 0
    served.database.run("delete from dwh_marts_operationnel.mart_emplois_crees")
    assert (await served.client.get(url, headers=NO_RESUME)).headers["X-Cache"] == "MISS"
    again = await served.client.get(url)
    assert (again.json()["rows"], again.headers["X-Cache"]) == (0, "HIT")


async def test_a_missing_mart_is_said(fresh_database: Database) -> None:
    """Before the first refresh the answer is a clear 503, while health stays good."""
    served = serve(fresh_database)
    answer = await served.client.get("/api/indemnisations/summary")
    assert answer.status_code == 503
    assert answer.json()["error"] == "dwh_marts_operationnel.mart_indemnisations does not exist yet"
    assert (await served.client.get("/health")).json() == {"status": "ok"}


async def test_a_warehouse_that_is_away_is_said_and_its_password_is_not(postgres: EmbeddedPostgres) -> None:
    """A failed connection results in a 503 without secrets."""
    served = serve(Database(postgres, "nowhere"))
    answer = await served.client.get("/api/indemnisations/summary")
    assert answer.status_code == 503
    assert answer.json() == {"error": "the warehouse does not answer", "hint": "OperationalError"}
