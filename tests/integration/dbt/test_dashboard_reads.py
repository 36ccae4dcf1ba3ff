"""The front end's queries: filters, breakdowns and records, each answer from one data version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import date

import httpx
import psycopg
import pytest

from refresh_examples.dashboard_api import application
from refresh_examples.embedded import EmbeddedPostgres
from refresh_examples.live import Live
from refresh_examples.reads import BOARDS, Board
from support.postgres import Database, create_database, drop_database

from .conftest import Refreshed

MONTHLY = [board for board in BOARDS if board.filters[0].name == "zone"]
PUBLISHED = """
    create table dbt_refresh_version (refresh text, version text, published_at timestamptz, marts jsonb);
    insert into dbt_refresh_version values ('phase2', 'run-7', '2026-06-30T08:30:00Z',
        '{"dwh_marts_operationnel.mart_indemnisations": {}}');
"""


def reader(database: Database) -> httpx.AsyncClient:
    """Return the API on a database."""
    api = application(lambda: psycopg.connect(database.dsn), lambda: 0.0)
    return httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://api")


@pytest.fixture(scope="module")
def shown(postgres: EmbeddedPostgres, refreshed: Callable[[int, int, date], Refreshed]) -> Iterator[Database]:
    """A copy of refreshed data."""
    copy = create_database(postgres, "vitrine_lue", template=refreshed(3, 60, date(2026, 6, 30)).database.name)
    copy.run(PUBLISHED)
    yield copy
    drop_database(copy)


@pytest.mark.parametrize("board", MONTHLY, ids=lambda board: board.dashboard.name)
async def test_a_zone_and_a_year_narrow_a_dashboard_down(shown: Database, board: Board) -> None:
    """Totals and breakdowns are those of the filtered rows; the list of choices stays complete."""
    relation, measure = board.dashboard.relation, board.dashboard.measures[0]
    rows = shown.rows(f"select zone_id, annee, sum({measure})::float from {relation} where zone_id > 0 and annee > 0 group by 1, 2")
    zones = shown.rows(f"select count(distinct coalesce(zone_id, -1)) from {relation}")
    for zone, year, value in rows[:3]:
        said = (await reader(shown).get(f"/api/{board.dashboard.name}", params={"zone": str(zone), "annee": str(year)})).json()
        assert said["totals"][measure] == pytest.approx(value)
        assert {part["zone_id"] for part in said["by_zone"]} == {zone}
        assert {part["annee"] for part in said["by_period"]} == {year}
        assert len(said["choices"]["zone"]) == zones[0][0]


@pytest.mark.parametrize("board", MONTHLY, ids=lambda board: board.dashboard.name)
async def test_the_records_behind_a_month_add_up_to_it(shown: Database, board: Board) -> None:
    """As many as the mart counts, also where zone and date are unknown."""
    relation, count = board.dashboard.relation, board.records.count
    cells = shown.rows(
        f"select zone_id, annee, mois, {count} from {relation} where {count} > 0 order by annee nulls first, zone_id nulls first"
    )
    assert cells[0][1] is None
    for zone, year, month, number in cells[:4]:
        asked = {name: "inconnu" if value is None else str(value) for name, value in (("zone", zone), ("annee", year), ("mois", month))}
        said = (await reader(shown).get(f"/api/{board.dashboard.name}/records", params=asked)).json()
        assert (said["total"], len(said["records"]), said["matches_mart"]) == (number, number, True)


async def test_receivables_are_narrowed_by_age_and_risk_and_lead_to_the_invoices(shown: Database) -> None:
    """The receivables' mart has no zones."""
    tranche, risk, invoices = shown.rows(
        "select tranche_anciennete, niveau_risque, nb_factures from dwh_marts_financier.mart_creances_agees"
    )[0]
    said = (await reader(shown).get("/api/creances-agees", params={"tranche": str(tranche), "risque": str(risk)})).json()
    assert (said["rows"], said["totals"]["nb_factures"]) == (1, invoices)
    listed = (await reader(shown).get("/api/creances-agees/records", params={"tranche": str(tranche), "rows": 2})).json()
    assert (listed["matches_mart"], len(listed["records"])) == (True, min(2, listed["total"]))


async def test_records_come_in_pages(shown: Database) -> None:
    """All pages together contain every record once."""
    seen: list[int] = []
    for page in range(1, 8):
        said = (await reader(shown).get("/api/emplois-crees/records", params={"rows": 10, "page": page})).json()
        seen += [record["emploi_id"] for record in said["records"]]
    assert len(seen) == len(set(seen)) == said["total"] == shown.rows("select count(*) from dwh_facts.fait_emplois_crees")[0][0]


async def test_facts_that_are_ahead_of_the_marts_are_said_to_be(
    postgres: EmbeddedPostgres, refreshed: Callable[[int, int, date], Refreshed]
) -> None:
    """A running or failed refresh has built facts already that the marts do not have yet."""
    copy = create_database(postgres, "vitrine_devant", template=refreshed(3, 60, date(2026, 6, 30)).database.name)
    assert (await reader(copy).get("/api/indemnisations/records")).json()["matches_mart"] is True
    copy.run("delete from dwh_facts.fait_indemnisations where ctid = (select min(ctid) from dwh_facts.fait_indemnisations)")
    assert (await reader(copy).get("/api/indemnisations/records")).json()["matches_mart"] is False
    drop_database(copy)


async def test_an_answer_says_of_which_version_it_is(shown: Database) -> None:
    """The version and its time; None where nothing was published."""
    version = {"name": "run-7", "published_at": "2026-06-30T08:30:00+00:00"}
    assert (await reader(shown).get("/api/indemnisations")).json()["version"] == version
    assert (await reader(shown).get("/api/indemnisations/records")).json()["version"] == version
    assert (await reader(shown).get("/api/emplois-crees")).json()["version"] is None


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("indemnisations?zone=1;drop table x", "zone must be a whole number"),
        ("indemnisations?zone=1&zone=2", "zone is given twice"),
        ("indemnisations?annee=99999999999", "annee must be a whole number"),
        ("indemnisations?region=Nord", "'region' is not a filter of this dashboard; its filters are: zone, annee, mois"),
        ("creances-agees?zone=1", "its filters are: tranche, risque"),
        ("creances-agees?tranche=%00", "tranche must be at most 100 characters of text"),
        ("creances-agees/records?risque=faible", "its filters are: tranche"),
        ("indemnisations/records?rows=201", "rows must be a whole number from 1 to 200"),
        ("indemnisations/records?page=0", "page must be a whole number from 1"),
    ],
)
async def test_what_can_not_be_is_refused_in_words(shown: Database, address: str, said: str) -> None:
    """422, before the warehouse is queried."""
    answer = await reader(shown).get(f"/api/{address}")
    assert answer.status_code == 422
    assert said in answer.json()["error"]


async def test_a_value_is_a_value_and_no_sql(shown: Database) -> None:
    """Parameters are bound; the control: a real value finds rows."""
    assert (await reader(shown).get("/api/creances-agees", params={"tranche": "' or ''='"})).json()["rows"] == 0
    assert (await reader(shown).get("/api/creances-agees", params={"tranche": "0-30"})).json()["rows"] > 0


async def test_listeners_hear_of_a_new_version_and_of_a_warehouse_that_is_away(fresh_database: Database) -> None:
    """One connection serves all listeners, and it is closed with the last one."""
    fresh_database.run(PUBLISHED)
    connected: list[psycopg.Connection] = []

    def connect() -> psycopg.Connection:
        connected.append(psycopg.connect(fresh_database.dsn))
        return connected[-1]

    live = Live(connect)
    listeners = [live.events() for _ in range(3)]

    async def next_words() -> list[str]:
        return [await asyncio.wait_for(anext(each), 20) for each in listeners]

    assert set(await next_words()) == {"retry: 1000\n\n"}
    assert all('"name": "run-7"' in words for words in await next_words())
    fresh_database.run("update dbt_refresh_version set version = 'run-8', published_at = now()")
    assert all('"name": "run-8"' in words for words in await next_words())
    assert len(connected) == 1
    fresh_database.run(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    )
    assert set(await next_words()) == {"event: away\ndata: {}\n\n"}
    assert all('"name": "run-8"' in words for words in await next_words())
    for each in listeners:
        await each.aclose()
    await asyncio.sleep(0)
    assert len(connected) == 2
