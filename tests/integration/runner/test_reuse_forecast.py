"""`refresh-runner plan` for `unchangedPolicy: Reuse`: the same decisions as those of the run that follows, and nothing is written."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from refresh_examples.embedded import EmbeddedPostgres
from refresh_runner.core.clock import Clock
from refresh_runner.postgres.connection import WarehouseConnection
from refresh_runner.postgres.conninfo import from_variables
from refresh_runner.postgres.yielding import yielding
from support.postgres import Database, create_database, drop_database
from support.reuse_project import ReuseProject
from support.runner_harness import HAS_OPTIONAL_PATCHES, RunnerHarness

pytestmark = pytest.mark.skipif(not HAS_OPTIONAL_PATCHES, reason="without the optional patches of dbt everything is built")

MODELS = {"s_a", "f_a", "f_b", "f_c", "f_now", "codes", "m_a", "m_b", "m_c", "m_now"}
TESTS = {"not_null_m_a_id", "unique_m_a_id", "unique_m_b_id"}
NODES = MODELS | TESTS
ALWAYS = {"f_c", "f_now"}


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReuseProject]:
    """The project in a database of its own."""
    folder = tmp_path_factory.mktemp("forecast")
    database = create_database(postgres, "forecast")
    yield ReuseProject.create(RunnerHarness(folder, folder / "project", database, api=""))
    drop_database(database)


@pytest.fixture(params=["Swap"])
def stands(shared: ReuseProject, request: pytest.FixtureRequest) -> ReuseProject:
    """The project after its first run."""
    shared.reset(request.param)
    shared.run()
    return shared


def agrees(stands: ReuseProject, **changes: object) -> None:
    """Check a forecast against the run that follows: nodes, and the words about them."""
    forecast = stands.forecast("refresh", **changes)
    built = stands.run("refresh", **changes)
    certain, uncertain = forecast.built, forecast.open
    assert certain.keys() <= built, "would be built, and was not"
    assert built <= certain.keys() | uncertain.keys(), "would be reused, and was not"
    for line in certain.values():
        assert line in stands.log
    reused = NODES - certain.keys() - uncertain.keys()
    counted = f"{len(reused & MODELS)} of 10 models and {len(reused & TESTS)} of 3 tests would be reused"
    assert forecast.lines[1] == counted


CHANGES = {
    "nothing": ("", ALWAYS, {"m_c", "m_now"}),
    "a corrected row": (
        "update src.a set v = 6 where id = 7",
        {"f_a", *ALWAYS},
        {"m_a", "not_null_m_a_id", "unique_m_a_id", "m_c", "m_now"},
    ),
    "a fact changed by others": ("update dwh_facts.f_a set v = v + 1", {"f_a", *ALWAYS}, None),
    "a mart changed by others": ("delete from dwh_marts.m_b where id = 1", {"m_b", *ALWAYS}, {"unique_m_b_id", "m_c", "m_now"}),
    "a dropped mart": ("drop table dwh_marts.m_b", {"m_b", *ALWAYS}, None),
    "an index of a mart": ("create index on dwh_marts.m_b (id)", {"m_b", *ALWAYS}, None),
    "a seed's row": ("update dwh_facts.codes set nom = 'x' where id = 1", {"codes", *ALWAYS}, {"m_b", "unique_m_b_id", "m_c", "m_now"}),
    "another view": ("create or replace view dwh_facts.s_a as select id, v + 0 as v from src.a", {"s_a", *ALWAYS}, None),
    "a column of the source": ("alter table src.a add column autre int", {"s_a", "f_a", *ALWAYS}, None),
    "the same rows again": (
        "create table kept as table src.a; truncate src.a; insert into src.a table kept; drop table kept",
        ALWAYS,
        {"m_c", "m_now"},
    ),
    "a new function": ("create or replace function public.f(int) returns int language sql as 'select 1'", NODES, set[str]()),
    "no table of results": ("drop table dbt_refresh_result", NODES, set[str]()),
}
QUICK = ("a corrected row",)


@pytest.mark.parametrize("case", [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in CHANGES])
def test_a_plan_says_what_the_run_does(stands: ReuseProject, case: str) -> None:
    """What is certain happens, in the same words. What only the run can know is said to be open, not guessed."""
    change, certain, uncertain = CHANGES[case]
    stands.runner.database.run(change or "select 1")
    try:
        forecast = stands.forecast()
        assert forecast.built.keys() == certain
        if uncertain is not None:
            assert forecast.open.keys() == uncertain
        agrees(stands)
    finally:
        stands.runner.database.run("drop function if exists public.f(int)")


@pytest.mark.slow
def test_a_plan_of_an_edited_project(stands: ReuseProject) -> None:
    """SQL, a macro, a variable and a seed: certain for the edited models, open for what reads them."""
    stands.edit("models/marts/m_a.sql", lambda text: "-- un commentaire\n" + text)
    agrees(stands)
    stands.edit("models/marts/m_a.sql", lambda text: text.replace("v >= 0", "v >= 4"))
    assert "m_a" in stands.forecast().built
    agrees(stands)
    stands.edit("macros/macros.sql", lambda text: text.replace("* 2", "* 3"))
    forecast = stands.forecast()
    assert ("f_b" in forecast.built, "m_b" in forecast.open) == (True, True)
    agrees(stands)
    agrees(stands, dbt={"vars": {"factor": 5}})
    stands.edit("seeds/codes.csv", lambda text: text.replace("deux", "zwei"))
    agrees(stands, dbt={"vars": {"factor": 5}})


@pytest.mark.slow
def test_sql_that_is_made_of_the_warehouses_contents(stands: ReuseProject) -> None:
    """A model that queries a table while it is compiled may be another one in the run, if the run builds that table."""
    query = "{% set n = run_query('select max(v) from ' ~ ref('f_a')).columns[0].values()[0] if execute else 0 %}"
    head = "-- depends_on: {{ ref('f_a') }}\n" + query
    stands.edit("models/marts/m_b.sql", lambda text: head + text.replace("f.w,", "f.w + {{ n }} as w,"))
    stands.run()
    stands.run()
    assert "m_b" not in stands.forecast().built.keys() | stands.forecast().open.keys()
    stands.runner.database.run("update src.a set v = 60 where id = 7")
    assert stands.forecast().open["m_b"] == "building m_b if dwh_facts.f_a changes"
    assert "m_b" in stands.run()
    # The control: a table that the query does not read.
    stands.runner.database.run("update src.c set x = x + 1 where id = 1")
    assert "m_b" not in stands.forecast().open


@pytest.mark.parametrize("case", [pytest.param("a corrected row", marks=pytest.mark.slow)])
def test_a_forecast_that_ignores_what_the_run_builds_is_found_wrong(
    stands: ReuseProject, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """The control of the tests above: without this rule a plan would promise that a mart is reused."""
    monkeypatch.setattr("refresh_runner.reuse.forecast.Forecast._changing_inputs", lambda *_: [])
    stands.runner.database.run(CHANGES[case][0])
    with pytest.raises(AssertionError, match="would be reused, and was not"):
        agrees(stands)


@pytest.mark.slow
def test_a_plan_writes_nothing(stands: ReuseProject) -> None:
    """Not one transaction in the whole server has had an ID, which any write needs. A macro that writes is refused, and the plan says so.

    The control is a run.
    """
    stands.runner.database.run("insert into src.a values (51, 3)")
    assert any(_transactions(stands) == (stands.forecast() and _transactions(stands)) for _ in range(3)), "or autovacuum ran three times"
    before = _transactions(stands)
    stands.run()
    assert _transactions(stands) != before
    stands.edit("models/marts/m_b.sql", lambda text: "{% do run_query('create table public.ecrit (id int)') if execute %}" + text)
    forecast = stands.forecast()
    assert any(line.startswith("cannot tell about m_b: ") and "read-only" in line for line in forecast.lines)
    assert stands.runner.database.rows("select to_regclass('public.ecrit')") == [(None,)]


def _transactions(stands: ReuseProject) -> object:
    return stands.runner.database.rows("select pg_snapshot_xmax(pg_current_snapshot())::text")


@pytest.mark.slow
def test_modes_and_rules_of_tests(stands: ReuseProject) -> None:
    """A mode that builds everything, and a refresh whose tests always run."""
    assert stands.forecast("full-refresh").lines[1:] == ["builds everything: the run's mode is full-refresh"]
    tests = {"select": ["fqn:*"], "retries": 0, "reuse": "Never"}
    assert stands.forecast(tests=tests).built["unique_m_a_id"] == "testing unique_m_a_id: tests.reuse is Never"


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A database with one table."""
    database = create_database(postgres, "cede")
    database.run("create table occupied as select 1 as n")
    yield database
    drop_database(database)


def locked_within(database: Database, seconds: float) -> bool:
    """Return whether a session gets the table for itself, as a publish does."""
    with database.connect() as connection, connection.transaction():
        connection.execute("select set_config('lock_timeout', %s, true)", [f"{seconds}s"])
        try:
            connection.execute("lock table occupied in access exclusive mode")
        except psycopg.errors.LockNotAvailable:
            return False
    return True


def test_a_plan_yields_to_who_waits_for_it(database: Database) -> None:
    """A slow query of a plan holds a lock on what it reads, for which a publish would wait. The control: without the rule it does."""
    warehouse = WarehouseConnection(
        from_variables(database.env), "refresh-plan", Clock(lambda: datetime.now(UTC), time.monotonic, time.sleep)
    )
    ended: list[type[Exception] | None] = []

    def look() -> None:
        with warehouse.new_connection("reuse") as connection:
            try:
                connection.execute("select pg_sleep(3) from occupied")
                ended.append(None)
            except psycopg.Error as error:
                ended.append(type(error))

    def while_looking(seconds: float) -> bool:
        thread = threading.Thread(target=look)
        thread.start()
        time.sleep(0.5)
        try:
            return locked_within(database, seconds)
        finally:
            thread.join()

    assert not while_looking(1)
    with yielding(warehouse):
        assert while_looking(1)
    assert ended == [None, psycopg.errors.QueryCanceled]
