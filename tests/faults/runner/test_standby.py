"""Readers on a streaming standby: what cancels their queries, what protects them, and a run that waits for replay.

With max_standby_streaming_delay = 0 every conflicting query is cancelled at once.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from refresh_api.status import Outcome, Reason
from refresh_runner.cli.parse import cache_project
from refresh_runner.core.clock import Clock
from refresh_runner.model.plan import DbtSettings
from refresh_runner.postgres.replay_lag import ReplayMonitor
from refresh_runner.postgres.standbys import Standby, attached_standbys, wal_position
from support.eventually import eventually
from support.postgres import create_database
from support.runner_harness import RunnerHarness, RunResult, in_background, warehouse_connection, write_project
from support.standby import Pair, follow, pair
from support.webserver import WebServer

CLOCK = Clock(lambda: datetime.now(UTC), time.monotonic, time.sleep)
CANCELLED = "canceling statement due to conflict with recovery"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A warehouse without autovacuum, and a standby that cancels conflicting queries at once."""
    impatient = {"max_standby_streaming_delay": "0"}
    with pair(tmp_path_factory.mktemp("standby"), settings=impatient, primary_settings={"autovacuum": "off"}) as started:
        yield started


@pytest.fixture(scope="module")
def shared_runner(servers: Pair, tmp_path_factory: pytest.TempPathFactory) -> RunnerHarness:
    """A small project, parsed once, on that warehouse."""
    place = tmp_path_factory.mktemp("runs")
    project = write_project(place / "project")
    cache_project(project, DbtSettings(8, "prod", "dwh", {}), lambda _line: None)
    return RunnerHarness(place, project, create_database(servers.primary, "petit"), api="")


@pytest.fixture
def web() -> Iterator[WebServer]:
    """An API that responds with 200."""
    with WebServer() as server:
        yield server


@pytest.fixture
def runner(shared_runner: RunnerHarness, servers: Pair, web: WebServer) -> RunnerHarness:
    """The runner after one publish that the standby has replayed. The next publish writes a thousand rows."""
    servers.let(hot_standby_feedback="off")
    shared_runner.reset()
    shared_runner.api = web.url
    assert shared_runner.run().code == 0
    change(shared_runner)
    servers.caught_up()
    eventually(lambda: [each.has_feedback for each in standbys(servers)] == [False], 15)
    return shared_runner


def change(runner: RunnerHarness) -> None:
    """Make all rows of the next publish new."""
    runner.database.run(
        "update src.lignes set id = id + 1000; insert into src.lignes select n, n, 1, 0 from generate_series(10000, 11000) n"
    )


def standbys(servers: Pair) -> list[Standby]:
    with servers.connect() as connection:
        return attached_standbys(connection)


@dataclass
class Query:
    """A query on the standby that runs while a test does something else."""

    errors: list[str] = field(default_factory=list)


@contextmanager
def slow_query(servers: Pair, runner: RunnerHarness) -> Iterator[Query]:
    """Run a query on a mart of the standby that begins before the block and ends after it."""
    found, over = Query(), threading.Event()

    def read() -> None:
        with psycopg.connect(servers.standby.dsn_of(runner.database.name), autocommit=True, application_name="dashboard") as connection:
            try:
                connection.execute("select count(*), pg_sleep(60) from dwh_marts.mart_a")
            except psycopg.Error as error:
                if not over.is_set():
                    found.errors.append(str(error))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    eventually(lambda: servers.read("select from pg_stat_activity where application_name = 'dashboard' and wait_event = 'PgSleep'"), 10)
    try:
        yield found
    finally:
        over.set()
        servers.read("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'dashboard'")
        thread.join(10)


def seen_on_the_standby(servers: Pair, runner: RunnerHarness) -> None:
    """Return the data version that readers of the standby see."""
    live = [(f"petit-{runner.run_count}",)]
    eventually(lambda: servers.read("select version from dbt_refresh_version", runner.database.name) == live, 20)


def vacuums(runner: RunnerHarness) -> int:
    """Return how often the marts were vacuumed."""
    ((count,),) = runner.database.rows("select sum(vacuum_count)::int from pg_stat_user_tables where schemaname = 'dwh_marts'")
    return int(str(count))


def outcome(ran: RunResult) -> tuple[Outcome | None, Reason | None]:
    assert ran.termination_message is not None, ran.output
    return ran.termination_message.outcome, ran.termination_message.reason


def test_a_run_cancels_no_query_of_a_standby_without_feedback(runner: RunnerHarness, servers: Pair) -> None:
    """Dead rows are kept until the query ends, and vacuum is deferred; with `vacuum: Immediate` the same query is cancelled."""
    with slow_query(servers, runner) as kept:
        ran = runner.run()
        seen_on_the_standby(servers, runner)
        assert (ran.code, kept.errors) == (0, []), ran.output
    assert "keeping dead rows until the run ends (the standby replica: no hot_standby_feedback)" in ran.messages
    assert "leaving dead rows to the next publish, or to autovacuum" in ran.messages
    change(runner)
    servers.caught_up()
    with slow_query(servers, runner) as lost:
        assert runner.run(runner.spec(vacuum="Immediate")).code == 0
        seen_on_the_standby(servers, runner)
        assert CANCELLED in lost.errors[0]


def test_with_feedback_marts_are_vacuumed_at_once_and_no_query_is_cancelled(runner: RunnerHarness, servers: Pair) -> None:
    """The standby reports its xmin by its session or by its slot, so that vacuum cannot remove what it needs."""
    servers.let(hot_standby_feedback="on")
    eventually(lambda: standbys(servers)[0].has_feedback, 20)
    before = vacuums(runner)
    with slow_query(servers, runner) as kept:
        # The standby reports its xmin every ten seconds; it never goes back before the query's beginning.
        ran = runner.run()
        seen_on_the_standby(servers, runner)
        assert (ran.code, kept.errors) == (0, [])
    assert "dead rows" not in ran.messages
    eventually(lambda: vacuums(runner) == before + 2, 10)


def test_a_mart_that_takes_anothers_place_cancels_its_readers_whatever_the_feedback(runner: RunnerHarness, servers: Pair) -> None:
    """The ACCESS EXCLUSIVE lock of a swap is replayed on the standby. Merging takes no such lock and is preferred."""
    servers.let(hot_standby_feedback="on")
    eventually(lambda: standbys(servers)[0].has_feedback, 20)
    runner.database.run("alter table dwh_marts.mart_a add column ancienne integer")
    servers.caught_up()
    with slow_query(servers, runner) as lost:
        ran = runner.run()
        seen_on_the_standby(servers, runner)
        assert "dwh_marts.mart_a is live: 1101 rows, 1101 of them written (swap)" in ran.messages
        assert "User was holding a relation lock for too long" in lost.errors[0]


def test_a_transaction_on_a_standby_with_feedback_finds_no_mart_empty(runner: RunnerHarness, servers: Pair) -> None:
    """A swapped-in mart would look empty to an older transaction, so that a swap waits until that has ended."""
    servers.let(hot_standby_feedback="on")
    eventually(lambda: standbys(servers)[0].has_feedback, 20)
    runner.database.run("alter table dwh_marts.mart_a add column ancienne integer")
    servers.caught_up()
    seen: list[object] = []

    def read() -> None:
        """Begin before the run builds anything, and read the mart only when it is about to be replaced."""
        with psycopg.connect(servers.standby.dsn_of(runner.database.name)) as reader:
            reader.execute("set transaction isolation level repeatable read")
            reader.execute("select 1")
            begun.set()
            eventually(
                lambda: runner.database.rows("select from pg_stat_activity where query like '%age(needs)%' and pid <> pg_backend_pid()"), 60
            )
            seen.extend(reader.execute("select count(*) from dwh_marts.mart_a").fetchone() or ())

    begun = threading.Event()
    with in_background(read):
        assert begun.wait(10)
        ran = runner.run()
    assert seen == [100]
    assert "dwh_marts.mart_a is live: 1101 rows, 1101 of them written (swap)" in ran.messages
    assert "older transactions are open" not in ran.messages


def test_the_cache_waits_for_replicas_and_warns_where_they_take_too_long(runner: RunnerHarness, servers: Pair, web: WebServer) -> None:
    """The cache is still called. The message names the standby and its lag. A standby that has caught up causes no wait."""
    spec = runner.spec(cache={"baseURL": web.url, "endpoints": ["/a"], "waitForReplicas": "2s"})
    web.asked.clear()
    with servers.paused():
        late = runner.run(spec)
        assert web.paths() == ["/a"]
    assert outcome(late) == (Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS)
    assert re.search(r"waited for replicas: the standby replica has [0-9.]+ kB to replay after [2-9]s", late.messages), late.messages
    servers.caught_up()
    assert outcome(runner.run(spec)) == (Outcome.SUCCEEDED, Reason.SUCCEEDED)


def test_an_endpoint_that_reads_a_lagging_standby_has_the_time_that_the_standby_needs(
    runner: RunnerHarness, servers: Pair, web: WebServer
) -> None:
    """The endpoint's timeout alone would have expired. The control: without a lagging standby, it has."""
    spec = runner.spec(cache={"baseURL": web.url, "endpoints": ["/a"], "timeout": "1s", "version": {"header": "X-Data-Version"}})

    def serve() -> None:
        """Pause replay on the standby until the endpoint's timeout is long over."""
        web.headers["X-Data-Version"] = f"petit-{runner.run_count}"
        eventually(lambda: len(web.asked) > 6, 60)
        servers.read("select pg_wal_replay_resume()")
        seen_on_the_standby(servers, runner)
        web.headers["X-Data-Version"] = f"petit-{runner.run_count}"

    web.asked.clear()
    web.headers["X-Data-Version"] = f"petit-{runner.run_count}"
    with servers.paused(), in_background(serve):
        ran = runner.run(spec)
    assert outcome(ran) == (Outcome.SUCCEEDED, Reason.SUCCEEDED), ran.messages
    web.asked.clear()
    ran = runner.run(spec)
    assert outcome(ran) == (Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS)
    assert f"/a: serves the data of petit-{runner.run_count - 1}; petit-{runner.run_count} is live" in ran.messages
    assert len(web.asked) < 6


def test_a_role_that_may_not_see_how_far_a_standby_is_hears_what_to_grant(runner: RunnerHarness, servers: Pair) -> None:
    """Without pg_read_all_stats the role sees the standby but not its lag; the message says what to grant."""
    runner.database.run("create role simple login password 'simple'")
    env = {**runner.database.env, "PGUSER": "simple", "PGPASSWORD": "simple"}
    with warehouse_connection(env) as warehouse, servers.paused():
        before = wal_position(warehouse.connect())
        replay = ReplayMonitor(warehouse, CLOCK, None)
        runner.database.run("create table plus as select generate_series(1, 1000)")
        assert attached_standbys(warehouse.connect(), before) == [Standby("replica", has_feedback=False, replay_lag_bytes=None)]
        lag = replay.wait(timedelta(seconds=1))
        assert (bool(lag), lag.is_hidden) == (False, True)
        assert lag.text == 'role simple cannot see how far the standby replica has replayed: grant pg_read_all_stats to "simple"'
        runner.database.run("grant pg_read_all_stats to simple")
        assert "the standby replica has" in replay.lag().text
    runner.database.run("drop table plus; revoke pg_read_all_stats from simple; drop role simple")


def test_a_standby_behind_a_slot_gives_its_feedback_there(servers: Pair, tmp_path: Path) -> None:
    """With a slot, the xmin of the standby's queries is in the slot and not in its session."""
    with follow(servers.primary, tmp_path / "zweite", {"hot_standby_feedback": "on"}, slot="zweite"):
        found = eventually(lambda: [each for each in standbys(servers) if each.name == "zweite" and each.has_feedback], 20)
        assert len(found) == 1
        with servers.connect() as connection:
            ((own, slots),) = connection.execute(
                "select (select count(backend_xmin) from pg_stat_replication where application_name = 'zweite'),"
                " (select count(xmin) from pg_replication_slots where slot_name = 'zweite')"
            ).fetchall()
        assert (own, slots) == (0, 1)
    with servers.connect() as connection:
        eventually(lambda: connection.execute("select from pg_replication_slots where active").fetchall() == [], 10)
        connection.execute("select pg_drop_replication_slot('zweite')")
