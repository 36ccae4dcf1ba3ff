"""When the rows that a publish has replaced are vacuumed: at once, or later for readers on standbys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from refresh_api.spec import Vacuum
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.snapshot_holder import SnapshotHolder
from refresh_runner.postgres.standbys import attached_standbys, vacuum_dead_rows
from refresh_runner.publish.live import publish, vacuum_analyze
from refresh_runner.publish.options import Mart, PublishOptions
from support.eventually import eventually
from support.postgres import Database
from support.runner_harness import warehouse_connection

A = Mart(Relation("marts", "a"))
TERMS = PublishOptions(timedelta(seconds=20), lambda: None)


@contextmanager
def snapshot(database: Database, vacuum: Vacuum) -> Iterator[None]:
    """The snapshot holder of a run."""
    with warehouse_connection(database.env) as warehouse:
        held = SnapshotHolder(warehouse, vacuum)
        held.acquire()
        try:
            yield
        finally:
            held.release()


def bytes_left(database: Database) -> int:
    """Return the size of a table after all its rows were deleted and it was vacuumed."""
    database.run("drop table if exists gone; create table gone as select generate_series(1, 1000) n")
    database.run("delete from gone")
    database.run("vacuum gone")
    ((size,),) = database.rows("select pg_relation_size('gone')")
    return int(str(size))


def test_rows_that_die_during_a_run_are_kept_where_that_is_asked_for(fresh_database: Database) -> None:
    """From the start of the run to its end. By default none are kept if no standby is attached."""
    for vacuum in (Vacuum.AUTO, Vacuum.IMMEDIATE):
        with snapshot(fresh_database, vacuum):
            assert bytes_left(fresh_database) == 0
    with snapshot(fresh_database, Vacuum.DEFERRED):
        assert bytes_left(fresh_database) > 0
    assert bytes_left(fresh_database) == 0


def test_whoever_waits_for_older_snapshots_is_given_way_to(fresh_database: Database) -> None:
    """An index is soon created concurrently. The control: the snapshot of another session blocks it."""
    fresh_database.run("create table t as select 1 as n")
    with fresh_database.connect() as builder:
        builder.execute("set statement_timeout = '10s'")
        with snapshot(fresh_database, Vacuum.DEFERRED):
            builder.execute("create index concurrently on t (n)")
        with closing(fresh_database.connect()) as stubborn:
            stubborn.execute("begin isolation level repeatable read")
            stubborn.execute("select 1")
            builder.execute("set statement_timeout = '1s'")
            with pytest.raises(psycopg.errors.QueryCanceled):
                builder.execute("create index concurrently on t (n)")


def test_a_deferred_vacuum_comes_before_a_later_publish_and_statistics_come_at_once(fresh_database: Database) -> None:
    """Rows that have just died are kept. If the vacuum is not deferred, both happen right after the publish."""
    about = "select pg_stat_get_vacuum_count(oid), reltuples from pg_class where oid = 'marts.a'::regclass"

    def put_live(connection: psycopg.Connection, rows: int, vacuum: Vacuum) -> None:
        rows_of = f"select n, {rows} as gen from generate_series(1, {rows}) n"
        connection.execute(f"create schema if not exists marts__next; create table marts__next.a as {rows_of}".encode())
        live = publish(connection, [A], lambda _live: None, replace(TERMS, vacuum=vacuum))
        assert vacuum_analyze(connection, live, vacuum) == ([] if vacuum is Vacuum.DEFERRED else None)

    with fresh_database.connect() as holder:
        put_live(holder, 10, Vacuum.AUTO)
        put_live(holder, 20, Vacuum.DEFERRED)
        eventually(lambda: fresh_database.rows(about) == [(0, 20)], 10)
        vacuum_dead_rows(holder, [A.relation])
        assert fresh_database.rows(about) == [(0, 20)]
        # Queried in the session that wrote: in PostgreSQL 14, a session reports its counters only at the end of a statement.
        eventually(lambda: holder.execute("select where pg_stat_get_dead_tuples('marts.a'::regclass) > 0").fetchall(), 10)
        vacuum_dead_rows(holder, [A.relation], timedelta(0))
        eventually(lambda: fresh_database.rows(about) == [(1, 20)], 10)
        put_live(holder, 30, Vacuum.IMMEDIATE)
        eventually(lambda: fresh_database.rows(about) == [(2, 30)], 10)


def test_a_role_that_may_not_ask_for_standbys_publishes_as_if_there_were_none(fresh_database: Database) -> None:
    """The view was revoked from everybody. The transaction that queries it continues."""
    fresh_database.run("create role aveugle login password 'aveugle'; revoke select on pg_stat_replication from public")
    try:
        with psycopg.connect(fresh_database.dsn, user="aveugle", password="aveugle") as connection:
            assert attached_standbys(connection) == []
            assert connection.execute("select 1").fetchone() == (1,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("select from pg_stat_replication")
    finally:
        fresh_database.run("grant select on pg_stat_replication to public; drop role aveugle")
