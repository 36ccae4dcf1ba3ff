"""The warehouse's disk is full: the message contains PostgreSQL's words, and another attempt with space succeeds."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from refresh_api.run_request import ExitCode
from refresh_api.status import Reason
from refresh_examples.unprivileged import account_for
from support.postgres import Database
from support.runner_harness import RunnerHarness
from support.slow_refresh import LABELS, SLOW_COMMIT, SlowRefresh

TOO_MANY = 6_000_000
"""Rows of 14 bytes whose sort exceeds the disk; a sixth of them also spills to disk and fits."""


@pytest.fixture(scope="module")
def small_disk(shared_slow_refresh: SlowRefresh) -> Iterator[Database]:
    """A database on a separate disk of a few megabytes."""
    if os.geteuid() != 0:
        pytest.skip("a small disk is mounted by root alone")
    place = Path(tempfile.mkdtemp(prefix="refresh-small-disk-"))
    account = account_for(0)
    options = f"size=48m,mode=755,uid={account.uid},gid={account.gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
    place.parent.chmod(place.parent.stat().st_mode | 0o011)
    server = shared_slow_refresh.runner.database.server
    server.start_again()
    with psycopg.connect(server.dsn_of("postgres"), autocommit=True) as connection:
        try:
            connection.execute(psycopg.sql.SQL("create tablespace small location {}").format(str(place)))
            connection.execute("create database small tablespace small")
            yield Database(server, "small")
        finally:
            connection.execute("drop database if exists small with (force)")
            connection.execute("drop tablespace if exists small")
            subprocess.run(["umount", str(place)], check=True)
            place.rmdir()


@pytest.fixture(scope="module")
def small_stage(shared_slow_refresh: SlowRefresh, small_disk: Database, tmp_path_factory: pytest.TempPathFactory) -> SlowRefresh:
    """A refresh on the small disk."""
    slow_refresh = SlowRefresh(
        RunnerHarness(tmp_path_factory.mktemp("small"), shared_slow_refresh.runner.project, small_disk, api=shared_slow_refresh.web.url),
        shared_slow_refresh.web,
    )
    slow_refresh.prepare()
    slow_refresh.runner.database.run(SLOW_COMMIT)
    return slow_refresh


@pytest.fixture
def cramped(small_stage: SlowRefresh) -> SlowRefresh:
    """The same refresh with the next version of the sources."""
    small_stage.speed_up()
    small_stage.next_generation()
    return small_stage


def fill(database: Database) -> None:
    """Fill the disk up to one megabyte."""
    database.run("create schema ballast")
    for number in range(200):
        try:
            database.run(f"create table ballast.b{number} as select repeat('x', 1000) from generate_series(1, 250)")
        except psycopg.errors.DiskFull:
            database.run(f"drop table ballast.b{number - 1}, ballast.b{number - 2}, ballast.b{number - 3}")
            return
    raise AssertionError("the disk is not full")


def test_by_others(cramped: SlowRefresh, run: str):
    """The disk was full before the run: not even a table can be created."""
    database = cramped.runner.database
    database.run("insert into src.lignes select n, n, 1, 0 from generate_series(101, 20000) n")
    fill(database)
    ran = cramped.runner.run(cramped.spec(), RUN_ID=run)
    assert ran.termination_message is not None, ran.output
    assert (ran.code, ran.termination_message.reason) == (ExitCode.RETRY, Reason.LAYER_FAILED), ran.output
    assert "No space left on device" in (ran.termination_message.message or "")
    assert cramped.live_generations() == {cramped.generation - 1}
    database.run("drop schema ballast cascade; delete from src.lignes where id > 100")
    cramped.assert_next_attempt_succeeds(run)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("sources", Reason.SOURCES_STALE),
        ("staging", Reason.LAYER_FAILED),
        ("facts", Reason.LAYER_FAILED),
        ("marts", Reason.LAYER_FAILED),
        ("tests", Reason.TESTS_FAILED),
        ("validation", Reason.VALIDATION_FAILED),
        ("commit", Reason.PUBLISH_FAILED),
    ],
)
def test_by_what_the_step_writes(cramped: SlowRefresh, run: str, step: str, reason: Reason):
    """The step's own sort fills the disk, also within the commit that publishes: readers see the previous data."""
    before = cramped.live_generations()
    cramped.spill_to_disk(step, TOO_MANY)
    ran = cramped.runner.run(cramped.spec(), RUN_ID=run)
    assert ran.termination_message is not None, ran.output
    assert (ran.code, ran.termination_message.reason) == (ExitCode.RETRY, reason), ran.output
    assert "No space left on device" in (ran.termination_message.message or "")
    assert cramped.live_generations() == before
    cramped.assert_next_attempt_succeeds(run)


def test_a_disk_with_room(cramped: SlowRefresh, run: str):
    """The positive control: the same sort of fewer rows spills to disk in each step and fits."""
    for step in (*LABELS, "commit"):
        cramped.spill_to_disk(step, TOO_MANY // 6)
    ran = cramped.runner.run(cramped.spec(), RUN_ID=run)
    assert ran.code == 0, ran.output
    assert cramped.live_generations() == {cramped.generation}
    cramped.assert_clean_after(run, rows=1)
