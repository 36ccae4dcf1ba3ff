"""Somebody keeps a table locked that a step wants: the run ends in time, and says which table it was and whose session."""

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
    """Have somebody else keep a table locked; gives the number of the session."""
    eventually(lambda: slow_refresh.runner.database.rows(f"select to_regclass('{table}') is not null") == [(True,)], within=60)
    with psycopg.connect(slow_refresh.runner.database.dsn, application_name="somebody") as connection:
        connection.execute(
            psycopg.sql.SQL("lock table {} in {} mode").format(psycopg.sql.Identifier(*table.split(".")), psycopg.sql.SQL(mode))
        )
        yield connection.info.backend_pid


def impatient(slow_refresh: SlowRefresh) -> Json:
    """A refresh whose steps wait seven seconds for a lock, half of the time that each has."""
    spec = slow_refresh.spec(timeout="40s")
    for part in (spec["sources"], *spec["layers"], spec["tests"]):
        part["timeout"] = "14s"
    return spec


def assert_it_names(ran: RunResult, reason: Reason, table: str, session: int) -> None:
    """The message says what was waited for and whose that is, the log said it while it lasted; another attempt is worth it."""
    assert ran.termination_message is not None, ran.output
    assert (ran.code, ran.termination_message.reason) == (ExitCode.RETRY, reason), ran.output
    assert f"{table}, held by session {session} (" in (ran.termination_message.message or ""), ran.output
    assert ", somebody), idle in transaction, in a transaction since 20" in (ran.termination_message.message or "")


@pytest.mark.parametrize(
    ("step", "table", "mode", "reason"),
    [
        ("sources", "src.lignes", ALL, Reason.SOURCES_STALE),
        # dbt puts the new view, or table, in the old one's place, and so waits for those who read that.
        ("staging", "dwh_staging.stg_lignes", READING, Reason.LAYER_FAILED),
        ("facts", "dwh_facts.fait_jours", READING, Reason.LAYER_FAILED),
    ],
)
def test_before_the_run(slow_refresh: SlowRefresh, run: str, step: str, table: str, mode: str, reason: Reason):
    """A migration that nobody committed, or a reader who went home."""
    before = slow_refresh.live_generations()
    with locked(slow_refresh, table, mode) as session:
        ran = slow_refresh.runner.run(impatient(slow_refresh), RUN_ID=run)
        assert slow_refresh.live_generations() == before
    assert_it_names(ran, reason, table, session)
    assert f"waits for {table}, held by session {session}" in ran.messages
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
    """What is made in one step is locked while that has not ended, and the next one wants it: marts, tests and validation."""
    before = slow_refresh.live_generations()
    spec = impatient(slow_refresh)
    process = slow_refresh.start_until_in_step(busy, run, 5, **spec)
    with locked(slow_refresh, table, ALL) as session:
        # Until a step has failed by it: the tests leave the marts there for the validation, which would wait as well.
        failed = f"select from dbt_refresh_step where run_id = '{run}' and state = 'Failed'"
        eventually(lambda: slow_refresh.runner.database.rows(failed) or process.poll() is not None, within=90)
        assert slow_refresh.live_generations() == before
    ran = slow_refresh.runner.wait_for_exit(process, within=60)
    assert slow_refresh.live_generations() == before
    assert_it_names(ran, reason, table, session)
    if reason is Reason.DEADLINE_EXCEEDED:
        assert ran.termination_message is not None
        assert (ran.termination_message.message or "").startswith(
            f"not done within 40s: ended during {LABELS['validation']}, which waited for {table}, "
        )
    slow_refresh.assert_next_attempt_succeeds(run)


@pytest.mark.parametrize("mode", [READING, WRITING])
def test_a_live_mart(slow_refresh: SlowRefresh, run: str, mode: str):
    """Who changes it keeps rows from being written; who reads it, another table from taking its place. Readers see it as it was."""
    before = slow_refresh.live_generations()
    if mode is READING:
        # Of another shape than what is built, so that it must be moved.
        slow_refresh.runner.database.run("alter table dwh_marts.mart_a add column of_before integer")
    with locked(slow_refresh, "dwh_marts.mart_a", mode) as session:
        ran = slow_refresh.runner.run(slow_refresh.spec(timeout="16s"), RUN_ID=run)
        assert slow_refresh.live_generations() == before
    assert_it_names(ran, Reason.PUBLISH_FAILED, "dwh_marts.mart_a", session)
    slow_refresh.assert_next_attempt_succeeds(run)


def test_what_is_free_again_is_told_no_longer(slow_refresh: SlowRefresh, run: str):
    """The positive control: the same table is locked for a while; the run waits, says so while it does and no longer, and succeeds."""
    shown = f"select message from dbt_refresh_step where run_id = '{run}' and step = 'facts'"
    # Its other model, so that the step goes on for a while.
    slow_refresh.slow_down("facts", 40)
    with locked(slow_refresh, "dwh_facts.fait_jours", ALL) as session:
        process = slow_refresh.runner.start_process(slow_refresh.spec(), RUN_ID=run)
        says = f"waits for dwh_facts.fait_jours, held by session {session} "
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
