"""Which session holds a lock, as far as the warehouse's user may see it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from refresh_examples.embedded import EmbeddedPostgres, remove
from refresh_runner.postgres import blocking
from refresh_runner.postgres.blocking import LockMonitor, find_blocker
from refresh_runner.postgres.catalog import Relation
from support.eventually import eventually
from support.postgres import start_server
from support.runner_harness import RunnerHarness, warehouse_connection

MART = Relation("dwh_marts", "mart_a")
ROLE = "sans-droits"


@pytest.fixture
def modest(runner: RunnerHarness) -> Iterator[psycopg.Connection]:
    """A session of a role that may not see what others do."""
    runner.database.run(
        f"""create schema dwh_marts; create table dwh_marts.mart_a (id integer); create role "{ROLE}" login;
        grant usage on schema dwh_marts to "{ROLE}" """
    )
    with psycopg.connect(runner.database.dsn, autocommit=True) as connection:
        connection.execute(f'set session authorization "{ROLE}"'.encode())
        yield connection
    runner.database.run(f'drop schema dwh_marts cascade; drop role "{ROLE}"')


def test_who_reads_a_mart_is_named(runner: RunnerHarness, modest: psycopg.Connection):
    """Everybody may see pid, user and name of the session, but not what it does. Once it has ended, nobody is named."""
    with psycopg.connect(runner.database.dsn, autocommit=True) as us, psycopg.connect(runner.database.dsn, application_name="bi") as reader:
        assert find_blocker(us, [MART]) == ""
        reader.execute("select from dwh_marts.mart_a")
        pid, user = reader.info.backend_pid, reader.info.user
        assert find_blocker(modest, [MART]) == f"dwh_marts.mart_a, held by session {pid} ({user}, bi)"
        told = find_blocker(us, [Relation("dwh_marts", "not there"), MART])
        assert told.startswith(f"dwh_marts.mart_a, held by session {pid} ({user}, bi), idle in transaction, in a transaction since 20")
        reader.rollback()
        assert find_blocker(us, [MART]) == ""


@pytest.fixture(scope="module")
def preparing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server with prepared transactions and a mart. By default PostgreSQL does not allow prepared transactions."""
    folder: Path = tmp_path_factory.mktemp("preparing")
    with start_server(folder) as server:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("create schema dwh_marts; create table dwh_marts.mart_a (id integer)")
            connection.execute("alter system set max_prepared_transactions = 2")
        server.stop()
        server.start_again()
        yield server
    remove(folder)


def test_prepared_transactions_are_named(preparing: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch):
    """They hold locks without a session, forever.

    They are named while a run waits for them, and in the error of a publish, until they end.
    """
    monkeypatch.setattr(blocking, "_INTERVAL", 0.1)
    says = "dwh_marts.mart_a, held by prepared transaction '{}' (refresh), prepared at 20"
    told: list[str] = []
    with (
        psycopg.connect(preparing.dsn, autocommit=True) as other,
        warehouse_connection(preparing.env, "a-run") as ours,
        LockMonitor(ours, told.append) as watch,
    ):
        for name in ("half a transfer", "its other half"):
            other.execute(f"begin; lock table dwh_marts.mart_a in row exclusive mode; prepare transaction '{name}'".encode())
        assert find_blocker(other, [MART]).startswith(says.format("half a transfer"))
        with psycopg.connect(preparing.dsn, application_name="a-run") as run:
            wants = threading.Thread(target=run.execute, args=["lock table dwh_marts.mart_a"])
            wants.start()
            eventually(lambda: told, within=10)
            assert watch.current_blocker.startswith(says.format("half a transfer"))
            other.execute("rollback prepared 'half a transfer'")
            eventually(lambda: told[1:], within=10)
            assert watch.current_blocker.startswith(says.format("its other half"))
            other.execute("rollback prepared 'its other half'")
            wants.join(10)
            assert not wants.is_alive()
            eventually(lambda: told[2:], within=10)
        assert find_blocker(other, [MART]) == ""
    assert told[1:] == [f"waiting for {watch.last_blocker}", ""]
    assert watch.current_blocker == ""


def test_a_row_of_a_prepared_transaction_is_waited_for(preparing: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch):
    """The run then waits for the transaction itself, for which PostgreSQL names no table."""
    monkeypatch.setattr(blocking, "_INTERVAL", 0.1)
    told: list[str] = []
    with (
        psycopg.connect(preparing.dsn, autocommit=True) as other,
        warehouse_connection(preparing.env, "a-run") as ours,
        LockMonitor(ours, told.append),
    ):
        other.execute("insert into dwh_marts.mart_a values (1)")
        other.execute("begin; update dwh_marts.mart_a set id = 2; prepare transaction 'a row'")
        with psycopg.connect(preparing.dsn, application_name="a-run") as run:
            wants = threading.Thread(target=run.execute, args=["update dwh_marts.mart_a set id = 3"])
            wants.start()
            eventually(lambda: told, within=10)
            other.execute("rollback prepared 'a row'")
            wants.join(10)
            assert not wants.is_alive()
    assert told[0].startswith("waiting for a lock, held by prepared transaction 'a row' (refresh), prepared at 20")
