"""A table that a step needs is locked by another session: the run ends in time and names table and session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from refresh_api.run_request import ExitCode
from refresh_api.status import Reason
from support.eventually import eventually
from support.runner_harness import Json, RunResult
from support.slow_refresh import LABELS, SlowRefresh

ALL = "access exclusive"
READING = "access share"
WRITING = "exclusive"


@contextmanager
def locked(slow_refresh: SlowRefresh, table: str, mode: str) -> Iterator[int]:
    """Lock a table from another session while the block runs; yields its process id."""
    eventually(lambda: slow_refresh.runner.database.rows(f"select to_regclass('{table}') is not null") == [(True,)], within=60)
    with psycopg.connect(slow_refresh.runner.database.dsn, application_name="somebody") as connection:
        connection.execute(
            psycopg.sql.SQL("lock table {} in {} mode").format(psycopg.sql.Identifier(*table.split(".")), psycopg.sql.SQL(mode))
        )
        yield connection.info.backend_pid


def impatient(slow_refresh: SlowRefresh) -> Json:
    """A refresh whose steps wait seven seconds for a lock, half of their timeout."""
    spec = slow_refresh.spec(timeout="40s")
    for part in (spec["sources"], *spec["layers"], spec["tests"]):
        part["timeout"] = "14s"
    return spec


def assert_it_names(ran: RunResult, reason: Reason, table: str, session: int) -> None:
    """Assert that log and message name the table and the session that holds it, and that the error is transient."""
    assert ran.termination_message is not None, ran.output
    assert (ran.code, ran.termination_message.reason) == (ExitCode.RETRY, reason), ran.output
    assert f"{table}, held by session {session} (" in (ran.termination_message.message or ""), ran.output
    assert ", somebody), idle in transaction, in a transaction since 20" in (ran.termination_message.message or "")


@pytest.mark.parametrize(
    ("step", "table", "mode", "reason"),
    [
        ("sources", "src.lignes", ALL, Reason.SOURCES_STALE),
        # dbt renames the new relation to the name of the old one, and so waits for readers of the old one.
        ("staging", "dwh_staging.stg_lignes", READING, Reason.LAYER_FAILED),
        ("facts", "dwh_facts.fait_jours", READING, Reason.LAYER_FAILED),
    ],
)
def test_before_the_run(slow_refresh: SlowRefresh, run: str, step: str, table: str, mode: str, reason: Reason):
    """An uncommitted migration, or a reader with an open transaction, must not block a run forever."""
    before = slow_refresh.live_generations()
    with locked(slow_refresh, table, mode) as session:
        ran = slow_refresh.runner.run(impatient(slow_refresh), RUN_ID=run)
        assert slow_refresh.live_generations() == before
    assert_it_names(ran, reason, table, session)
    assert f"waiting for {table}, held by session {session}" in ran.messages
    waiting = slow_refresh.runner.database.rows(f"select step, message from dbt_refresh_step where run_id = '{run}' and state = 'Failed'")
    assert [name for name, message in waiting if table in str(message)] == [step]
    slow_refresh.assert_next_attempt_succeeds(run)


@pytest.mark.parametrize(
    ("busy", "table", "reason"),
    [
        ("facts", "dwh_facts.fait_jours", Reason.LAYER_FAILED),
        ("marts", "dwh_marts__next.mart_b", Reason.TESTS_FAILED),
        ("tests", "dwh_marts__next.mart_b", Reason.DEADLINE_EXCEEDED),
    ],
)
def test_in_its_midst(slow_refresh: SlowRefresh, run: str, busy: str, table: str, reason: Reason):
    """A relation built in one step is locked before the next one needs it: marts, tests and validation."""
    before = slow_refresh.live_generations()
    spec = impatient(slow_refresh)
    process = slow_refresh.start_until_in_step(busy, run, 5, **spec)
    with locked(slow_refresh, table, ALL) as session:
        # Until a step fails because of it: the tests do not read the marts, and the validation would wait as well.
        failed = f"select from dbt_refresh_step where run_id = '{run}' and state = 'Failed'"
        eventually(lambda: slow_refresh.runner.database.rows(failed) or process.poll() is not None, within=90)
        assert slow_refresh.live_generations() == before
    ran = slow_refresh.runner.wait_for_exit(process, within=60)
    assert slow_refresh.live_generations() == before
    assert_it_names(ran, reason, table, session)
    if reason is Reason.DEADLINE_EXCEEDED:
        assert ran.termination_message is not None
        assert (ran.termination_message.message or "").startswith(
            f"timed out after 40s: stopped during {LABELS['validation']}, which waited for {table}, "
        )
    slow_refresh.assert_next_attempt_succeeds(run)


@pytest.mark.parametrize("mode", [READING, WRITING])
def test_a_live_mart(slow_refresh: SlowRefresh, run: str, mode: str):
    """A writer blocks a merge of rows, a reader blocks a swap; readers see the mart unchanged."""
    before = slow_refresh.live_generations()
    if mode is READING:
        # With another schema than the new table, so that it is swapped, not merged.
        slow_refresh.runner.database.run("alter table dwh_marts.mart_a add column of_before integer")
    with locked(slow_refresh, "dwh_marts.mart_a", mode) as session:
        ran = slow_refresh.runner.run(slow_refresh.spec(timeout="16s"), RUN_ID=run)
        assert slow_refresh.live_generations() == before
    assert_it_names(ran, Reason.PUBLISH_FAILED, "dwh_marts.mart_a", session)
    slow_refresh.assert_next_attempt_succeeds(run)


def test_what_is_free_again_is_told_no_longer(slow_refresh: SlowRefresh, run: str):
    """The positive control: the table is locked only for a while. The run waits, reports this meanwhile, and succeeds."""
    shown = f"select message from dbt_refresh_step where run_id = '{run}' and step = 'facts'"
    # The step's other model, so that the step continues for a while.
    slow_refresh.slow_down("facts", 40)
    with locked(slow_refresh, "dwh_facts.fait_jours", ALL) as session:
        process = slow_refresh.runner.start_process(slow_refresh.spec(), RUN_ID=run)
        says = f"waiting for dwh_facts.fait_jours, held by session {session} "
        eventually(lambda: slow_refresh.runner.database.rows(shown) and says in str(slow_refresh.runner.database.rows(shown)), within=60)
    running = f"{shown} and state = 'Running'"
    eventually(
        lambda: slow_refresh.runner.database.rows(running) == [(None,)],
        within=30,
        context=lambda: str(slow_refresh.runner.database.rows(running)),
    )
    ran = slow_refresh.runner.wait_for_exit(process, within=60)
    assert ran.code == 0, ran.output
    assert slow_refresh.runner.database.rows(shown) == [("2 models built",)]
    assert slow_refresh.live_generations() == {slow_refresh.generation}
    slow_refresh.assert_clean_after(run, rows=1)
