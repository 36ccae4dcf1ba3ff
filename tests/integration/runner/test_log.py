"""The table dbt_refresh_log: created once, migrated, and written once per run."""

from __future__ import annotations

import threading

import pytest

from refresh_runner.core.errors import RunFailedError
from refresh_runner.report.outcome import LogEntry
from refresh_runner.runlog import legacy_log
from support.postgres import Database
from support.runner_harness import warehouse_connection

ENTRY = LogEntry(True, 4, "Phase 2 refresh - 4/4 marts validated", "phase2-dashboards-refresh", "phase2-1")
COLUMNS = """select column_name, data_type from information_schema.columns
    where table_name = 'dbt_refresh_log' order by ordinal_position"""


def log(database: Database, *entries: LogEntry) -> None:
    """Write log rows."""
    with warehouse_connection(database.env) as ours:
        for entry in entries:
            legacy_log.write(ours, entry)


def test_the_columns_are_those_of_the_old_flow_and_two_more(fresh_database: Database):
    """In the first schema of the search path."""
    log(fresh_database, ENTRY)
    assert fresh_database.rows(COLUMNS) == [
        ("refresh_id", "integer"),
        ("run_date", "timestamp with time zone"),
        ("success", "boolean"),
        ("models_updated", "integer"),
        ("notes", "text"),
        ("refresh", "text"),
        ("run_id", "text"),
    ]


def test_the_old_queries_work(fresh_database: Database):
    """The queries that users have saved must not change."""
    log(fresh_database, ENTRY)
    day = fresh_database.rows("SELECT * FROM dbt_refresh_log WHERE run_date >= NOW() - INTERVAL '24 hours' ORDER BY run_date DESC")
    last = fresh_database.rows("SELECT * FROM dbt_refresh_log ORDER BY run_date DESC LIMIT 1")
    assert day == last
    assert last[0][2:] == (True, 4, ENTRY.notes, ENTRY.refresh, ENTRY.run_id)


def test_a_run_has_one_row_however_often_it_is_logged(fresh_database: Database):
    """The row's ID must not change either."""
    log(fresh_database, *(LogEntry(True, 1, "", "r", run) for run in ("a", "a", "b", "b", "c")))
    rows = fresh_database.rows("select run_id, rank() over (order by refresh_id) from dbt_refresh_log order by run_date")
    assert rows == [("a", 1), ("b", 2), ("c", 3)]


def test_the_old_flows_table_is_migrated_and_keeps_its_rows(fresh_database: Database):
    """The old flow's table lacks two columns."""
    fresh_database.run(
        "create table dbt_refresh_log (refresh_id serial primary key, run_date timestamptz default now(), success boolean,"
        " models_updated integer, notes text);"
        "insert into dbt_refresh_log (success, models_updated, notes) values (true, 4, 'old')"
    )
    log(fresh_database, ENTRY)
    assert fresh_database.rows("select notes, run_id from dbt_refresh_log order by refresh_id") == [
        ("old", None),
        (ENTRY.notes, "phase2-1"),
    ]


def test_many_can_make_the_table_at_once(fresh_database: Database):
    """`if not exists` alone would fail for some of them."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(8)

    def log_one(number: int) -> None:
        try:
            with warehouse_connection(fresh_database.env) as ours:
                ours.connect()
                barrier.wait(20)
                legacy_log.write(ours, LogEntry(True, number, "", "r", f"run-{number}"))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=log_one, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert fresh_database.rows("select count(*) from dbt_refresh_log") == [(8,)]


def test_a_log_that_may_not_be_written_says_so(fresh_database: Database):
    """The error names the missing privilege."""
    fresh_database.run("create view dbt_refresh_log as select 1 as refresh_id")
    with pytest.raises(RunFailedError, match="cannot write dbt_refresh_log"):
        log(fresh_database, ENTRY)
