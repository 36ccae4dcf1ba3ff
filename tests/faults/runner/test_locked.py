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
from support.scene import LABELS, Scene

ALL = "access exclusive"
READING = "access share"
WRITING = "exclusive"


@contextmanager
def locked(scene: Scene, table: str, mode: str) -> Iterator[int]:
    """Have somebody else keep a table locked; gives the number of the session."""
    eventually(lambda: scene.runner.database.rows(f"select to_regclass('{table}') is not null") == [(True,)], within=60)
    with psycopg.connect(scene.runner.database.dsn, application_name="somebody") as connection:
        connection.execute(
            psycopg.sql.SQL("lock table {} in {} mode").format(psycopg.sql.Identifier(*table.split(".")), psycopg.sql.SQL(mode))
        )
        yield connection.info.backend_pid


def impatient(scene: Scene) -> Json:
    """A refresh whose steps wait seven seconds for a lock, half of the time that each has."""
    spec = scene.spec(timeout="40s")
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
def test_before_the_run(scene: Scene, run: str, step: str, table: str, mode: str, reason: Reason):
    """A migration that nobody committed, or a reader who went home."""
    before = scene.live()
    with locked(scene, table, mode) as session:
        ran = scene.runner.run(impatient(scene), RUN_ID=run)
        assert scene.live() == before
    assert_it_names(ran, reason, table, session)
    assert f"waits for {table}, held by session {session}" in ran.messages
    waiting = scene.runner.database.rows(f"select step, message from dbt_refresh_step where run_id = '{run}' and state = 'Failed'")
    assert [name for name, message in waiting if table in str(message)] == [step]
    scene.assert_it_goes_on(run)


@pytest.mark.parametrize(
    ("busy", "table", "reason"),
    [
        ("facts", "dwh_facts.fait_jours", Reason.LAYER_FAILED),
        ("marts", "dwh_marts__next.mart_b", Reason.TESTS_FAILED),
        ("tests", "dwh_marts__next.mart_b", Reason.DEADLINE_EXCEEDED),
    ],
)
def test_in_its_midst(scene: Scene, run: str, busy: str, table: str, reason: Reason):
    """What is made in one step is locked while that has not ended, and the next one wants it: marts, tests and validation."""
    before = scene.live()
    spec = impatient(scene)
    process = scene.start_until(busy, run, 5, **spec)
    with locked(scene, table, ALL) as session:
        # Until a step has failed by it: the tests leave the marts there for the validation, which would wait as well.
        failed = f"select from dbt_refresh_step where run_id = '{run}' and state = 'Failed'"
        eventually(lambda: scene.runner.database.rows(failed) or process.poll() is not None, within=90)
        assert scene.live() == before
    ran = scene.runner.wait_for_exit(process, within=60)
    assert scene.live() == before
    assert_it_names(ran, reason, table, session)
    if reason is Reason.DEADLINE_EXCEEDED:
        assert ran.termination_message is not None
        assert (ran.termination_message.message or "").startswith(
            f"not done within 40s: ended during {LABELS['validation']}, which waited for {table}, "
        )
    scene.assert_it_goes_on(run)


@pytest.mark.parametrize("mode", [READING, WRITING])
def test_a_live_mart(scene: Scene, run: str, mode: str):
    """Who changes it keeps rows from being written; who reads it, another table from taking its place. Readers see it as it was."""
    before = scene.live()
    if mode is READING:
        # Of another shape than what is built, so that it must be moved.
        scene.runner.database.run("alter table dwh_marts.mart_a add column of_before integer")
    with locked(scene, "dwh_marts.mart_a", mode) as session:
        ran = scene.runner.run(scene.spec(timeout="16s"), RUN_ID=run)
        assert scene.live() == before
    assert_it_names(ran, Reason.PUBLISH_FAILED, "dwh_marts.mart_a", session)
    scene.assert_it_goes_on(run)


def test_what_is_free_again_is_told_no_longer(scene: Scene, run: str):
    """The positive control: the same table is locked for a while; the run waits, says so while it does and no longer, and succeeds."""
    shown = f"select message from dbt_refresh_step where run_id = '{run}' and step = 'facts'"
    # Its other model, so that the step goes on for a while.
    scene.pause("facts", 40)
    with locked(scene, "dwh_facts.fait_jours", ALL) as session:
        process = scene.runner.start_process(scene.spec(), RUN_ID=run)
        says = f"waits for dwh_facts.fait_jours, held by session {session} "
        eventually(lambda: scene.runner.database.rows(shown) and says in str(scene.runner.database.rows(shown)), within=60)
    running = f"{shown} and state = 'Running'"
    eventually(
        lambda: scene.runner.database.rows(running) == [(None,)], within=30, context=lambda: str(scene.runner.database.rows(running))
    )
    ran = scene.runner.wait_for_exit(process, within=60)
    assert ran.code == 0, ran.output
    assert scene.runner.database.rows(shown) == [("2 models built",)]
    assert scene.live() == {scene.generation}
    scene.assert_all_well_after(run, rows=1)
