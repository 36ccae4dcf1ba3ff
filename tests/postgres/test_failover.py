"""A failover in mid-run: the primary crashes, its standby is promoted, and the same address leads to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from refresh_api.run_request import ExitCode
from support.eventually import eventually
from support.managed import PASSWORD, ROLE, Warehouse, full_build, prepare, set_up
from support.postgres import Database, create_database
from support.proxy import Proxy
from support.runner_harness import RunnerHarness
from support.standby import Pair, pair
from support.webserver import WebServer


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Pair]:
    """A primary and its standby."""
    with pair(tmp_path / "servers", build=full_build()) as started:
        yield started


@pytest.fixture
def address(servers: Pair) -> Iterator[Proxy]:
    """The address of the service."""
    with Proxy(servers.primary.host, servers.primary.port) as proxy:
        yield proxy


@pytest.fixture
def replicated(servers: Pair, address: Proxy, project: Path, tmp_path: Path) -> Iterator[Warehouse]:
    """A warehouse on both servers, after its first run. Connections need no TLS here: the wheel's pg_basebackup has none."""
    database = create_database(servers.primary, "entrepot")
    set_up(database)
    with WebServer() as web:
        runner = RunnerHarness(tmp_path, project, database, web.url)
        secret = {"host": "127.0.0.1", "port": str(address.port), "dbname": database.name, "user": ROLE, "password": PASSWORD}
        runner.secrets["warehouse"] = secret
        warehouse = Warehouse(database, runner, tmp_path, sslmode="prefer")
        prepare(warehouse)
        warehouse.grant()
        warehouse.run()
        warehouse.change_rows(1)
        yield warehouse


def test_the_next_attempt_finishes_a_run_whose_primary_was_lost(replicated: Warehouse, servers: Pair, address: Proxy) -> None:
    """Each attempt in between ends with the exit code of transient errors. Readers of the new primary see the old version meanwhile."""
    runner = replicated.runner
    replicated.as_admin("update src.lignes set nap = 30 where id = 11")
    servers.caught_up()
    process = runner.start_process(runner.spec(), RUN_ID="failover")
    eventually(lambda: runner.running_queries("pg_sleep(nap)"), 60)
    servers.primary.stop("immediate")
    address.lead(servers.standby.host, servers.standby.port)
    lost = runner.wait_for_exit(process, within=120)
    assert lost.code == ExitCode.RETRY, lost.output
    waiting = runner.run(failures=1, RUN_ID="failover")
    assert waiting.code == ExitCode.RETRY
    assert "is a standby" in waiting.messages
    with psycopg.connect(servers.standby.dsn, autocommit=True) as connection:
        assert connection.execute("select pg_promote()").fetchone() == (True,)
    promoted = replace(replicated, database=Database(servers.standby, replicated.database.name))
    assert promoted.live() == [(1, 100)] * 2
    promoted.as_admin("update src.lignes set nap = 0")
    ran = runner.run(runner.spec(retries=3), failures=2, RUN_ID="failover")
    assert ran.code == 0, ran.output
    assert promoted.live() == [(11, 100)] * 2
    log = "select outcome, attempt from dbt_refresh_run where run_id = 'failover'"
    assert promoted.database.rows(log) == [("Succeeded", 3)]
